-- Object triggers: an upload whose name and language were given when it was opened is finalized without a call. Storage's insert
-- of its object sends a message, in the same transaction; the handler then does what finalize does.

-- The second folder of an object, <owner>/<folder>/…, where it is an id; otherwise null.
create function voice_clone.folder_id(p_name text) returns uuid
language plpgsql immutable set search_path = ''
as $$
begin
  return substring(p_name from '^[^/]+/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/')::uuid;
end
$$;

-- Only for an object that Storage wrote: its login owns the table. No other login, whatever its rights, starts an attempt.
create function voice_clone.receive_object() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if session_user <> (select pg_get_userbyid(c.relowner) from pg_catalog.pg_class c where c.oid = tg_relid) then
    return null;
  end if;
  perform voice_clone.send_messages('uploads', array[voice_clone.queue_message('uploads', a.id, a.version, a.reflection_id)], 0)
  from public.voice_clone_attempts a
  join public.voice_samples s on s.id = a.sample_id and s.path = new.name and s.is_upload
  join voice_clone.uploads u on u.attempt_id = a.id and u.name is not null
  where a.id = voice_clone.folder_id(new.name) and a.status = 'awaiting_upload';
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

-- Whether the object of an upload is there, and was not refused since it came.
create function voice_clone.has_unread_object(p_attempt uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
    select from public.voice_clone_attempts a
    join public.voice_samples s on s.id = a.sample_id
    join storage.objects o on o.bucket_id = 'voice-samples' and o.name = s.path
    where a.id = p_attempt and a.status = 'awaiting_upload' and (a.error_code is null or o.created_at > a.updated_at));
end
$$;

-- Sends the message of each object again that nobody has read, at most p_limit. An upload is looked at until it expires, each time after
-- twice the wait, because the trigger does not say that an object came. One with an error is postponed, and stops no other.
create function voice_clone.sweep_uploads(p_limit int) returns setof text
language plpgsql security definer set search_path = ''
as $$
declare
  u record;
begin
  for u in
    select x.attempt_id, a.created_at, a.version
    from voice_clone.uploads x join public.voice_clone_attempts a on a.id = x.attempt_id
    where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.attempt_id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update of x skip locked
  loop
    begin
      update voice_clone.uploads x
      set sweep_at = now() + least(
        greatest(voice_clone.timeout('lost_message'), now() - u.created_at), voice_clone.timeout('lost_message_cap'))
      where x.attempt_id = u.attempt_id;
      if voice_clone.has_unread_object(u.attempt_id) then
        perform voice_clone.send_messages('uploads', array[voice_clone.queue_message('uploads', u.attempt_id, u.version, null)], 0);
        return next 'upload_sent';
      end if;
    exception when others then
      perform voice_clone.postpone_row('upload', u.attempt_id, sqlerrm, sqlstate);
    end;
  end loop;
end
$$;

grant execute on function
  voice_clone.upload_to_finalize(uuid),
  voice_clone.refuse_upload(uuid, text, text, bigint)
to voice_clone_backend;
