-- Uploads: one row for each attempt that awaits its upload: until when it keeps its voice slot, and what
-- it is finalized with where that was said before. Without a foreign key, like deadlines.

create table voice_clone.uploads (
  attempt_id uuid primary key,
  reserved_until timestamptz not null,
  bytes bigint check (bytes > 0),
  name text check (length(name) between 1 and 120),
  language text check (language ~ '^[a-z]{2}$'),
  transcript text check (length(transcript) <= 4000),
  sweep_at timestamptz,
  constraint uploads_swept check ((sweep_at is null) = (name is null)),
  constraint uploads_details check ((name is null) = (language is null) and (transcript is null or name is not null))
) with (fillfactor = 70);
comment on column voice_clone.uploads.name is
  'of the voice, where the object that arrives is to be finalized without a call; the row goes when the attempt is queued';
comment on column voice_clone.uploads.reserved_until is 'an object that is uploaded renews it, and each inspection';
comment on column voice_clone.uploads.bytes is
  'what the object has, as declared; null once a file was refused for its content, because the next one is another recording';
comment on column voice_clone.uploads.sweep_at is 'when the sweep next looks whether the object is there and its message was lost';
create index uploads_sweep_at_idx on voice_clone.uploads (sweep_at) where sweep_at is not null;
alter table voice_clone.uploads enable row level security;
revoke all on voice_clone.uploads from public, anon, authenticated, service_role;

create function voice_clone.track_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into voice_clone.uploads (attempt_id, reserved_until, bytes)
    select new.id, now() + voice_clone.timeout('slot_reservation'), s.bytes from public.voice_samples s where s.id = new.sample_id;
  else
    delete from voice_clone.uploads u where u.attempt_id = new.id;
  end if;
  return null;
end
$$;
create trigger voice_clone_attempts_track_upload after insert on public.voice_clone_attempts
  for each row when (new.status = 'awaiting_upload') execute function voice_clone.track_upload();
create trigger voice_clone_attempts_untrack_upload after update of status on public.voice_clone_attempts
  for each row when (old.status = 'awaiting_upload' and new.status <> 'awaiting_upload')
  execute function voice_clone.track_upload();

-- Until when an attempt that awaits its upload keeps its slot.
create function voice_clone.slot_reserved_until(p_attempt uuid) returns timestamptz
language plpgsql stable set search_path = ''
as $$
declare
  v_until timestamptz;
begin
  select u.reserved_until into v_until from voice_clone.uploads u where u.attempt_id = p_attempt;
  if v_until <= now() then
    select greatest(v_until, o.updated_at + voice_clone.timeout('slot_reservation')) into v_until
    from public.voice_clone_attempts a
    join public.voice_samples s on s.id = a.sample_id
    left join storage.objects o on o.bucket_id = 'voice-samples' and o.name = s.path
    where a.id = p_attempt;
  end if;
  return v_until;
end
$$;

create function voice_clone.has_slot_reservation(p_attempt uuid) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce(voice_clone.slot_reserved_until(p_attempt) > now(), false);
end
$$;
