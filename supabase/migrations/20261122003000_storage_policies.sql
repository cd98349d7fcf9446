-- Storage: people read what lies in their own folder, and write nothing: only the service signs uploads,
-- for the path of an attempt it opened. What is being removed, or was taken down, cannot be read. Without a policy,
-- local-voices, reference-voices and consent-anchors are the service's alone.

create policy "People read their own samples, previews and speeches" on storage.objects
  for select to authenticated using (
    bucket_id in ('voice-samples', 'voice-previews', 'speeches')
    and (storage.foldername(name))[1] = (select auth.uid())::text
    and not voice_clone.is_being_removed(bucket_id, name)
    and not voice_clone.is_taken_down(bucket_id, name));
