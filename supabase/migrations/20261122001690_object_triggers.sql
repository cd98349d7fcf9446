-- Object triggers: an upload whose name and language were given when it was opened is finalized without a call. Storage's insert
-- of its object sends a message, in the same transaction; the handler then does what finalize does.

-- Only for an object that Storage wrote: its login owns the table. No other login, whatever its rights, starts an attempt.
create function voice_clone.receive_object() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if session_user <> (select pg_get_userbyid(c.relowner) from pg_catalog.pg_class c where c.oid = tg_relid) then
    return null;
  end if;
  perform voice_clone.send_messages('uploads', array[voice_clone.queue_message('uploads', a.id, a.version, a.reflection_id)], 0)
  from public.voice_samples s
  join public.voice_clone_attempts a on a.sample_id = s.id and a.status = 'awaiting_upload'
  join voice_clone.uploads u on u.attempt_id = a.id and u.name is not null
  where s.path = new.name and s.is_upload;
  return null;
end
$$;
create trigger voice_clone_receive_object after insert on storage.objects
  for each row when (new.bucket_id = 'voice-samples') execute function voice_clone.receive_object();

-- What finalize would be called with; no row where the attempt awaits no upload any more.
create function voice_clone.upload_to_finalize(p_attempt uuid)
returns table (id uuid, user_id uuid, status text, provider text, name text, language text, transcript text)
language sql stable security definer set search_path = '' rows 1
as $$
  select a.id, a.user_id, a.status, a.provider, u.name, u.language, u.transcript
  from public.voice_clone_attempts a join voice_clone.uploads u on u.attempt_id = a.id
  where a.id = p_attempt and a.status = 'awaiting_upload' and u.name is not null
$$;

-- Why the upload was refused, for its owner to read: nobody waits for an answer. Another file may be uploaded to the same URL.
create function voice_clone.refuse_upload(p_attempt uuid, p_error_code text, p_error_message text, p_message_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.acknowledge_messages('uploads', array[p_message_id]) where p_message_id is not null;
  update public.voice_clone_attempts a set error_code = p_error_code, error_message = p_error_message
  where a.id = p_attempt and a.status = 'awaiting_upload';
end
$$;

grant execute on function
  voice_clone.upload_to_finalize(uuid),
  voice_clone.refuse_upload(uuid, text, text, bigint)
to voice_clone_backend;
