-- Enrolling attempts: those that await their upload, are queued or are processed, to be counted by user, by organization and by
-- provider. They are apart from the attempts because an index there would make each attempt that becomes ready or fails write an
-- entry into every index of its table (HOT).

-- Without references: rows come and go with the status of their attempt, in its transaction, and attempts are not deleted.
create table voice_clone.enrolling_attempts (
  attempt_id uuid primary key,
  user_id uuid,
  org_id uuid,
  provider text not null,
  region text not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
create index enrolling_attempts_user_id_idx on voice_clone.enrolling_attempts (user_id) where user_id is not null;
create index enrolling_attempts_org_id_idx on voice_clone.enrolling_attempts (org_id) where org_id is not null;
create index enrolling_attempts_provider_idx on voice_clone.enrolling_attempts (provider, region);
alter table voice_clone.enrolling_attempts enable row level security;
revoke all on voice_clone.enrolling_attempts from public, anon, authenticated, service_role;

create function voice_clone.is_enrolling(p_status text) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  return p_status in ('awaiting_upload', 'queued', 'processing');
end
$$;

-- After a write: the row comes when the enrollment begins, goes when it ends, and follows the attempt to another provider.
create function voice_clone.track_enrolling() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into voice_clone.enrolling_attempts (attempt_id, user_id, org_id, provider, region)
    values (new.id, new.user_id, new.org_id, new.provider, new.region);
  elsif voice_clone.is_enrolling(new.status) then
    insert into voice_clone.enrolling_attempts as n (attempt_id, user_id, org_id, provider, region)
    values (new.id, new.user_id, new.org_id, new.provider, new.region)
    on conflict (attempt_id) do update
    set user_id = excluded.user_id, org_id = excluded.org_id, provider = excluded.provider, region = excluded.region
    where (n.user_id, n.org_id, n.provider, n.region)
      is distinct from (excluded.user_id, excluded.org_id, excluded.provider, excluded.region);
  else
    delete from voice_clone.enrolling_attempts n where n.attempt_id = new.id;
  end if;
  return null;
end
$$;
create trigger voice_clone_attempts_track_enrolling after insert on public.voice_clone_attempts
  for each row when (voice_clone.is_enrolling(new.status)) execute function voice_clone.track_enrolling();
create trigger voice_clone_attempts_track_enrolling_again after update of status, user_id, provider on public.voice_clone_attempts
  for each row when (
    (old.user_id, old.provider, old.region) is distinct from (new.user_id, new.provider, new.region)
    or voice_clone.is_enrolling(old.status) <> voice_clone.is_enrolling(new.status))
  execute function voice_clone.track_enrolling();
