-- Reconciling voices: what a provider lists against our rows. A run keeps how far the list was read and what it had, so that a command that
-- was killed goes on where it stopped, and holds no more than a page in memory. Compared is only what did not change since the run began.
-- docs/decisions/0089-reconciling-voices.md

create table voice_clone.reconciliations (
  id uuid primary key default gen_random_uuid(),
  provider text not null,
  region text not null,
  accounts text[] not null,
  phase text not null default 'list' check (phase in ('list', 'confirm', 'compare')),
  cursor text,
  started_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (provider, region)
);
comment on table voice_clone.reconciliations is 'runs that did not end yet; one that stopped an hour ago is not continued';
comment on column voice_clone.reconciliations.phase is
  'list: the list is read; confirm: voices that it did not have are looked up; compare: everything is known';
comment on column voice_clone.reconciliations.cursor is 'where the next page of the list begins, in the words of the provider''s adapter';

create table voice_clone.listed_voices (
  run uuid not null references voice_clone.reconciliations (id) on delete cascade,
  provider_voice_id text not null,
  label text,
  target_model text,
  requires_verification boolean not null default false,
  is_there boolean not null default true,
  primary key (run, provider_voice_id)
);
comment on column voice_clone.listed_voices.is_there is 'false: the list did not have it, and the provider does not know its id';
create index listed_voices_label_idx on voice_clone.listed_voices (run, label) where label is not null;

alter table voice_clone.reconciliations enable row level security;
alter table voice_clone.listed_voices enable row level security;
revoke all on voice_clone.reconciliations, voice_clone.listed_voices from public, anon, authenticated, service_role;

-- The run of this provider: the one that stopped, or a new one. Another key has other voices, so it begins again.
create function operations.begin_reconciliation(p_provider text, p_region text, p_accounts text[], p_restart boolean default false)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.reconciliations;
begin
  delete from voice_clone.reconciliations x
  where x.updated_at < now() - interval '1 hour'
    or x.provider = p_provider and x.region = p_region and (p_restart or x.accounts <> p_accounts);
  insert into voice_clone.reconciliations as x (provider, region, accounts) values (p_provider, p_region, p_accounts)
  on conflict (provider, region) do update set updated_at = now()
  returning x.* into r;
  return jsonb_build_object(
    'id', r.id, 'phase', r.phase, 'cursor', r.cursor,
    'read', (select count(*) from voice_clone.listed_voices l where l.run = r.id));
end
$$;

-- The run, locked for a write in this phase and at this place of the list; VC007 where another command is ahead of the caller.
create function voice_clone.lock_reconciliation(p_run uuid, p_phase text, p_cursor text default null)
returns voice_clone.reconciliations
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.reconciliations;
begin
  select * into r from voice_clone.reconciliations x
  where x.id = p_run and x.phase = p_phase and x.cursor is not distinct from p_cursor for no key update;
  if not found then
    raise exception 'another command reconciles the same voices' using errcode = 'VC007', hint = 'Wait until it has ended.';
  end if;
  return r;
end
$$;

-- The voices in use that the run does not know to be there or gone. New ones may not be listed yet.
create function voice_clone.unlisted_voices(r voice_clone.reconciliations, p_limit int)
returns table (provider_voice_id text)
language sql stable security definer set search_path = ''
as $$
  select distinct v.provider_voice_id
  from public.voices v
  where v.tts_provider = r.provider and v.provider_region = r.region
    and v.deleted_at is null and v.lost_at is null and v.created_at <= r.started_at - interval '1 hour'
    and (v.provider_account = '' or v.provider_account = any (r.accounts))
    and not exists (select from voice_clone.listed_voices l where l.run = r.id and l.provider_voice_id = v.provider_voice_id)
  order by v.provider_voice_id limit p_limit
$$;

create function operations.unlisted_voices(p_run uuid, p_limit int default 100) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(u.provider_voice_id), '[]') from voice_clone.reconciliations r
  cross join lateral voice_clone.unlisted_voices(r, least(greatest(p_limit, 1), 1000)) u where r.id = p_run
$$;

-- A page of the list, which began at p_cursor: in three arrays of one length, and the ids of those that are not verified. p_next is null on the last one. Where a provider has no other way to look a voice up, the list is read a second time to confirm: what neither reading had is gone.
create function operations.add_listed_voices(
  p_run uuid, p_phase text, p_cursor text, p_voices text[], p_labels text[], p_target_models text[], p_unverified text[], p_next text)
returns text
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.reconciliations := voice_clone.lock_reconciliation(p_run, p_phase, p_cursor);
begin
  insert into voice_clone.listed_voices (run, provider_voice_id, label, target_model, requires_verification)
  select distinct on (v.id) r.id, v.id, v.label, v.target_model, v.id = any (p_unverified)
  from unnest(p_voices, p_labels, p_target_models) v (id, label, target_model)
  order by v.id
  on conflict (run, provider_voice_id) do nothing;
  if p_phase = 'confirm' and p_next is null then
    insert into voice_clone.listed_voices (run, provider_voice_id, is_there)
    select r.id, u.provider_voice_id, false from voice_clone.unlisted_voices(r, null) u;
  end if;
  update voice_clone.reconciliations x
  set cursor = p_next, updated_at = now(),
      phase = case when p_next is not null then p_phase when p_phase = 'list' then 'confirm' else 'compare' end
  where x.id = r.id returning * into r;
  return r.phase;
end
$$;

-- What the provider says of voices that were not listed. Without any left, the run compares.
create function operations.add_looked_up_voices(p_run uuid, p_there text[], p_gone text[], p_is_last boolean default false) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  r voice_clone.reconciliations := voice_clone.lock_reconciliation(p_run, 'confirm');
begin
  insert into voice_clone.listed_voices (run, provider_voice_id, is_there)
  select r.id, v.id, v.is_there
  from (select unnest(p_there) as id, true as is_there union select unnest(p_gone), false) v
  on conflict (run, provider_voice_id) do nothing;
  update voice_clone.reconciliations x
  set updated_at = now(), phase = case when p_is_last then 'compare' else x.phase end where x.id = r.id;
  return true;
end
$$;

-- Where the voices are that enrollments made or may have made, so that the command says where it did not look.
create function operations.places() returns table (provider text, region text, account text, enrollments bigint)
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.places() $$;

create function operations.end_reconciliation(p_run uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  delete from voice_clone.reconciliations r where r.id = p_run;
  return found;
end
$$;

revoke all on function
  operations.begin_reconciliation(text, text, text[], boolean),
  operations.add_listed_voices(uuid, text, text, text[], text[], text[], text[], text),
  operations.unlisted_voices(uuid, int),
  operations.add_looked_up_voices(uuid, text[], text[], boolean),
  operations.end_reconciliation(uuid),
  operations.places()
from public, anon, authenticated;
grant execute on function
  operations.begin_reconciliation(text, text, text[], boolean),
  operations.add_listed_voices(uuid, text, text, text[], text[], text[], text[], text),
  operations.unlisted_voices(uuid, int),
  operations.add_looked_up_voices(uuid, text[], text[], boolean),
  operations.end_reconciliation(uuid),
  operations.places()
to service_role, voice_clone_backend;
