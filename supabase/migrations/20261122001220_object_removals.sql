-- Object removals: folders of Storage whose objects are to be removed. Only Storage's API removes an object with its file, so a
-- message asks the service for it. A folder is emptied twice: at once, and when no upload that was signed before can arrive, nor that of
-- a worker that lost its lease. The folder of an employee's recordings is used again: what came after the request stays.

create table voice_clone.object_removals (
  id uuid primary key default gen_random_uuid(),
  bucket text not null check (bucket in ('voice-samples', 'voice-previews', 'speeches', 'recordings')),
  folder text not null check (folder ~ '^[0-9a-f-]{36}(/[0-9a-f-]{36})?$'),
  requested_at timestamptz not null default now(),
  final_at timestamptz not null,
  sweep_at timestamptz not null,
  busy_until timestamptz,
  unique (bucket, folder)
);
comment on table voice_clone.object_removals is 'a row is deleted when its folder was emptied for the last time';
comment on column voice_clone.object_removals.folder is 'of one attempt, sample or speech job, <user>/<its id>, or all of a deleted user''s or employee''s';
comment on column voice_clone.object_removals.final_at is 'from then on no signed upload can write to the folder';
comment on column voice_clone.object_removals.busy_until is 'of recordings: no worker stores one before it, so that its object is not removed';
create index object_removals_sweep_at_idx on voice_clone.object_removals (sweep_at);
alter table voice_clone.object_removals enable row level security;
revoke all on voice_clone.object_removals from public, anon, authenticated, service_role;

-- A folder that cannot be one of ours is left alone.
create function voice_clone.request_object_removal(p_bucket text, p_folder text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  if p_folder is null or p_folder !~ '^[0-9a-f-]{36}(/[0-9a-f-]{36})?$' then
    return;
  end if;
  if p_bucket = 'recordings' then
    perform voice_clone.supersede_recordings(p_folder::uuid);
  end if;
  insert into voice_clone.object_removals as r (bucket, folder, final_at, sweep_at)
  values (
    p_bucket, p_folder, now() + voice_clone.timeout('object_removal'), now() + voice_clone.timeout('lost_message'))
  on conflict (bucket, folder) do update
  set requested_at = excluded.requested_at, final_at = excluded.final_at, sweep_at = excluded.sweep_at
  returning r.id into v_id;
  perform voice_clone.send_messages(
    'object_removal', array[voice_clone.queue_message('object_removal', v_id, 1, null)], 0);
end
$$;

-- Samples come after attempts and before voices in the common lock order, by their ids.
create function voice_clone.lock_samples(p_samples uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.voice_samples s where s.id = any (p_samples) order by s.id for no key update;
end
$$;

-- The samples of these that no attempt and no voice uses any more: unusable and unreadable at once, and a worker that inspects
-- one loses its lease; then their files go (voice_samples_follow). The transcript is what the recording says, so it goes as
-- well. A sample that its user keeps is removed only with p_kept.
create function voice_clone.remove_samples(p_samples uuid[], p_kept boolean default false) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_samples(p_samples);
  -- Without its reflection at once: a second update in the transaction that deletes the reflection would wait for the user's row.
  update public.voice_samples s
  set status = 'removed', transcript = null, reflection_id = null
  where s.id = any (p_samples) and s.status <> 'removed' and (p_kept or not s.is_kept)
    and not exists (
      select from public.voice_clone_attempts a
      where a.sample_id = s.id and (
        a.status in ('awaiting_upload', 'queued', 'processing', 'verifying', 'ready', 'failed')
        or exists (select from public.voices v where v.attempt_id = a.id and v.deleted_at is null)));
end
$$;

-- Whatever was uploaded for an attempt that ends before it is queued: nothing else can use it.
create function voice_clone.remove_unused_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.remove_samples(array[new.sample_id]);
  return null;
end
$$;
create trigger voice_clone_attempts_remove_unused after update of status on public.voice_clone_attempts
  for each row when (
    old.status = 'awaiting_upload' and new.status in ('expired', 'cancelled') and new.sample_id is not null)
  execute function voice_clone.remove_unused_upload();

-- The previews of attempts, each clip that was rendered, whether or not the attempt names it.
create function voice_clone.remove_previews(p_attempts uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.request_object_removal('voice-previews', coalesce(a.user_id, a.employee_id) || '/' || a.id)
  from public.voice_clone_attempts a where a.id = any (p_attempts) and a.preview_count > 0;
  delete from voice_clone.previews p where p.attempt_id = any (p_attempts);
end
$$;

-- For the policies of Storage: whether an object lies in a folder that is being removed.
create function voice_clone.is_being_removed(p_bucket text, p_name text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select from voice_clone.object_removals r
    where r.bucket = p_bucket
      and r.folder in (split_part(p_name, '/', 1), split_part(p_name, '/', 1) || '/' || split_part(p_name, '/', 2)))
$$;
grant execute on function voice_clone.is_being_removed(text, text) to authenticated;

-- What to empty; no row where the folder was emptied for the last time, where a recording is being stored in it, or under a legal hold.
create function voice_clone.begin_object_removal(p_removal uuid)
returns table (bucket text, folder text, is_final boolean)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  if exists (select from voice_clone.object_removals r where r.id = p_removal and voice_clone.is_folder_held(r.folder)) then
    return;
  end if;
  if voice_clone.may_remove_recording(r) from voice_clone.object_removals r where r.id = p_removal and r.bucket = 'recordings' then
    update voice_clone.object_removals r set busy_until = now() + voice_clone.timeout('recording_lease') where r.id = p_removal;
  end if;
  return query
    select r.bucket, r.folder, r.final_at <= now() from voice_clone.object_removals r
    where r.id = p_removal and (r.bucket <> 'recordings' or r.busy_until > now());
end
$$;

-- The folder was empty after the beginning of this call's removal; p_is_final is what the beginning said.
create function voice_clone.end_object_removal(p_removal uuid, p_is_final boolean, p_message_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.acknowledge_messages('object_removal', array[p_message_id]) where p_message_id is not null;
  delete from voice_clone.object_removals r where r.id = p_removal and p_is_final and r.final_at <= now();
  update voice_clone.object_removals r set sweep_at = greatest(r.final_at, now()), busy_until = null where r.id = p_removal;
end
$$;

-- Sends a message for each removal that is due, at most p_limit; the wait before the next message doubles. One with an error
-- is postponed. One under a legal hold gets no message, and is looked at again after the longest wait.
create function voice_clone.sweep_object_removals(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.object_removals;
  v_messages jsonb[] := '{}';
begin
  for r in
    select * from voice_clone.object_removals x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      update voice_clone.object_removals x
      set sweep_at = now() + least(
        greatest(voice_clone.timeout('lost_message'),
          now() - case when r.final_at <= now() then r.final_at else r.requested_at end),
        voice_clone.timeout('lost_message_cap'))
      where x.id = r.id;
      if voice_clone.is_folder_held(r.folder) then
        update voice_clone.object_removals x set sweep_at = now() + voice_clone.timeout('lost_message_cap') where x.id = r.id;
        continue;
      end if;
      v_messages := v_messages || voice_clone.queue_message('object_removal', r.id, 1, null);
    exception when others then
      perform voice_clone.postpone_row('object removal', r.id, sqlerrm, sqlstate);
    end;
  end loop;
  perform voice_clone.send_messages('object_removal', v_messages, 0);
  return cardinality(v_messages);
end
$$;

grant execute on function
  voice_clone.begin_object_removal(uuid),
  voice_clone.end_object_removal(uuid, boolean, bigint)
to voice_clone_backend;
