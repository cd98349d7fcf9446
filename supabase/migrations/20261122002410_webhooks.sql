-- Webhooks: addresses that get the transitions of their owner's attempts, and one delivery for each of them and event. A
-- transition inserts its deliveries and sends a message for each webhook in its own transaction; without a webhook it does
-- neither, after one look-up by an index.

-- The owner is a user or an organization: a column for each, because their ids may be equal. The events of an organization are those of
-- attempts for its employees. Its webhooks are its admins' to read, as an address may have a secret in it.
create table public.webhooks (
  id uuid primary key,
  user_id uuid references auth.users (id),
  org_id uuid,
  url text not null check (length(url) between 1 and 2000),
  created_at timestamptz not null default now(),
  status text not null default 'enabled' check (status in ('enabled', 'disabled')),
  disabled_reason text check (disabled_reason in ('failing', 'gone')),
  disabled_at timestamptz,
  failing_since timestamptz,
  failure_count int not null default 0,
  not_before timestamptz,
  lease_epoch int not null default 0,
  lease_owner text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  constraint webhooks_owner check (num_nonnulls(user_id, org_id) = 1),
  constraint webhooks_disabled check (num_nulls(disabled_reason, disabled_at) = case status when 'disabled' then 0 else 2 end),
  constraint webhooks_lease check (num_nulls(lease_owner, leased_at, lease_expires_at) in (0, 3)),
  constraint webhooks_failing check ((failing_since is null) = (failure_count = 0))
) with (fillfactor = 70);
comment on column public.webhooks.org_id is 'without a reference, as the table may be an application''s: a trigger deletes them with their organization';
comment on column public.webhooks.disabled_reason is
  'failing: no delivery succeeded for as long as the timeout webhook; gone: its server answered 410';
comment on column public.webhooks.failing_since is 'of the first delivery that failed with no other that succeeded since';
comment on column public.webhooks.not_before is 'the backoff of the whole webhook: its server was away or could not answer';
comment on column public.webhooks.lease_epoch is 'one worker at a time delivers to a webhook';
create index webhooks_user_id_idx on public.webhooks (user_id, created_at desc, id desc);
create index webhooks_enabled_idx on public.webhooks (user_id, id) where status = 'enabled';
create index webhooks_org_id_idx on public.webhooks (org_id, created_at desc, id desc) where org_id is not null;
create index webhooks_org_enabled_idx on public.webhooks (org_id, id) where status = 'enabled' and org_id is not null;

alter table public.webhooks enable row level security;
revoke all on public.webhooks from public, anon, authenticated, service_role;
grant select on public.webhooks to service_role;
-- A new column is not shown to the owner until it is named here.
grant select (id, user_id, org_id, url, created_at, status, disabled_reason, disabled_at, failing_since, not_before)
  on public.webhooks to authenticated;
create policy "Owners read their webhooks" on public.webhooks
  for select to authenticated
  using (user_id = (select auth.uid()) or org_id = any (array(select voice_clone.admin_organizations())));

-- Of each webhook the present secret, and for a while after a rotation the one before.
create table voice_clone.webhook_secrets (
  webhook_id uuid not null references public.webhooks (id) on delete cascade,
  secret text not null check (secret ~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$'),
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  primary key (webhook_id, secret)
);
comment on column voice_clone.webhook_secrets.expires_at is 'null of the present secret';
create unique index webhook_secrets_present_idx on voice_clone.webhook_secrets (webhook_id) where expires_at is null;
alter table voice_clone.webhook_secrets enable row level security;
revoke all on voice_clone.webhook_secrets from public, anon, authenticated, service_role;

-- It keeps what its body says, ids and the names of edges, so each try sends the same bytes, also when the event log of that
-- month was dropped. No foreign key to the event log, which is partitioned, nor to the attempt, which stays.
create table public.webhook_deliveries (
  webhook_id uuid not null references public.webhooks (id) on delete cascade,
  event_id bigint not null,
  user_id uuid,
  org_id uuid,
  attempt_id uuid not null,
  reflection_id uuid,
  employee_id uuid,
  voice_id uuid not null,
  version bigint not null,
  events text[] not null,
  recorded_at timestamptz not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  queued_at timestamptz not null default now(),
  try_count int not null default 0,
  tried_at timestamptz,
  response_status int,
  error_code text,
  finished_at timestamptz,
  due_at timestamptz not null default now(),
  sweep_at timestamptz,
  primary key (webhook_id, event_id),
  constraint webhook_deliveries_owner check (num_nonnulls(user_id, org_id) = 1),
  constraint webhook_deliveries_pending check ((status = 'pending') = (finished_at is null) and (status = 'pending') = (sweep_at is not null)),
  constraint webhook_deliveries_failed check (status <> 'failed' or error_code is not null)
) with (fillfactor = 80);
comment on column public.webhook_deliveries.user_id is 'the owner of the webhook is repeated, for row level security';
comment on column public.webhook_deliveries.queued_at is 'when it was made, or replayed: it fails when the timeout webhook has passed since';
comment on column public.webhook_deliveries.response_status is 'of the last try; null where no answer came';
comment on column public.webhook_deliveries.sweep_at is 'when the sweep next sends a message for it';
create index webhook_deliveries_pending_idx on public.webhook_deliveries (webhook_id, event_id) where status = 'pending';
create index webhook_deliveries_attempt_id_idx on public.webhook_deliveries (webhook_id, attempt_id, event_id) where status = 'pending';
create index webhook_deliveries_sweep_at_idx on public.webhook_deliveries (sweep_at) where status = 'pending';
create index webhook_deliveries_finished_at_idx on public.webhook_deliveries (finished_at) where status <> 'pending';

alter table public.webhook_deliveries enable row level security;
revoke all on public.webhook_deliveries from public, anon, authenticated, service_role;
grant select on public.webhook_deliveries to service_role, authenticated;
create policy "Owners read the deliveries to their webhooks" on public.webhook_deliveries
  for select to authenticated
  using (user_id = (select auth.uid()) or org_id = any (array(select voice_clone.admin_organizations())));

-- Before a write: the edge exists, and an event stays what it was.
create function voice_clone.check_delivery_transition() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.require_edge('delivery', '', new.status, new.webhook_id);
  elsif (new.webhook_id, new.event_id, new.user_id, new.org_id, new.attempt_id, new.version, new.events, new.recorded_at)
    is distinct from (old.webhook_id, old.event_id, old.user_id, old.org_id, old.attempt_id, old.version, old.events, old.recorded_at)
  then
    raise exception 'the event of a delivery never changes' using errcode = 'VC001';
  elsif new.status <> old.status then
    perform voice_clone.require_edge('delivery', old.status, new.status, new.webhook_id);
  end if;
  if new.status <> 'pending' then
    new.finished_at := case when tg_op = 'UPDATE' and old.status = new.status then old.finished_at else now() end;
    new.sweep_at := null;
  else
    new.finished_at := null;
    new.sweep_at := coalesce(new.sweep_at, greatest(new.due_at, now()) + voice_clone.timeout('lost_message'));
  end if;
  return new;
end
$$;
create trigger webhook_deliveries_check_transition before insert or update on public.webhook_deliveries
  for each row execute function voice_clone.check_delivery_transition();

-- One change of an owner's webhooks at a time.
create function voice_clone.lock_webhooks_of(p_user uuid, p_org uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(coalesce('webhooks of organization:' || p_org, 'webhooks:' || p_user), 0));
end
$$;

create function voice_clone.send_webhook(p_webhook uuid, p_delay_seconds int default 0) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.send_messages('webhooks', array[voice_clone.queue_message('webhooks', p_webhook, 1, null)], p_delay_seconds);
end
$$;

-- After a transition, in its transaction. A webhook that is being deleted is skipped, so that no transition waits for it or
-- fails with it. A renewed lease or a backoff does not lock out the key that is shared here.
create function voice_clone.queue_deliveries(e voice_clone.events, a public.voice_clone_attempts) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_webhook uuid;
  v_webhooks uuid[];
begin
  if a.org_id is null then
    v_webhooks := array(
      select w.id from public.webhooks w where w.user_id = a.user_id and w.status = 'enabled' order by w.id for key share skip locked);
  else
    v_webhooks := array(
      select w.id from public.webhooks w where w.org_id = a.org_id and w.status = 'enabled' order by w.id for key share skip locked);
  end if;
  foreach v_webhook in array v_webhooks loop
    insert into public.webhook_deliveries (
      webhook_id, event_id, user_id, org_id, attempt_id, reflection_id, employee_id, voice_id, version, events, recorded_at)
    values (v_webhook, e.id, a.user_id, a.org_id, a.id, a.reflection_id, a.employee_id, a.voice_id, e.version, e.events, e.recorded_at);
    perform voice_clone.send_webhook(v_webhook);
  end loop;
end
$$;
