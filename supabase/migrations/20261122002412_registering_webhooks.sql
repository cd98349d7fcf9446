-- Registering webhooks: what their owner asks for.

create function voice_clone.is_admin_of(p_org uuid, p_user uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return p_org is not null and exists (
    select from public.organization_members m where m.org_id = p_org and m.user_id = p_user and m.role::text = 'admin');
end
$$;

-- VC004 for anyone who is no member, VC009 for a member who is no admin.
create function voice_clone.require_admin(p_org uuid, p_user uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if voice_clone.is_admin_of(p_org, p_user) then
    return;
  elsif exists (
    select from public.organization_members m where m.org_id = p_org and m.user_id = p_user and m.role::text = 'member')
  then
    raise exception 'only an admin of the organization may do this' using errcode = 'VC009';
  end if;
  raise exception 'there is no such organization' using errcode = 'VC004', detail = '{"field": "organization_id"}';
end
$$;

-- A webhook of this user, or of an organization that they are an admin of; VC004 where there is none. Locked, so that two calls of
-- its owner come one after the other.
create function voice_clone.require_webhook(p_webhook uuid, p_user uuid) returns public.webhooks
language plpgsql security definer set search_path = ''
as $$
declare
  w public.webhooks;
begin
  select * into w from public.webhooks x
  where x.id = p_webhook and (x.user_id = p_user or voice_clone.is_admin_of(x.org_id, p_user)) for no key update;
  if not found then
    raise exception 'there is no such webhook' using errcode = 'VC004', detail = '{"field": "webhook_id"}';
  end if;
  return w;
end
$$;

-- Of the user, or of the organization. The same id again is the same webhook. VC007 where the owner has as many as is allowed.
create function voice_clone.create_webhook(p_webhook uuid, p_user uuid, p_url text, p_secret text, p_org uuid default null)
returns setof public.webhooks
language plpgsql security definer set search_path = ''
as $$
declare
  c_limit constant int := 10;
  v_user uuid := case when p_org is null then p_user end;
begin
  perform voice_clone.lock_user(p_user);
  if p_org is not null then
    perform voice_clone.require_admin(p_org, p_user);
    perform from public.organizations o where o.id = p_org for key share; -- else its deletion would not see the new row
  end if;
  perform voice_clone.lock_webhooks_of(v_user, p_org);
  return query select * from public.webhooks w where w.id = p_webhook and (w.user_id = v_user or w.org_id = p_org);
  if found then
    return;
  end if;
  if (select count(*) from public.webhooks w where w.user_id = v_user or w.org_id = p_org) >= c_limit then
    raise exception 'there are % webhooks already', c_limit using errcode = 'VC007',
      detail = jsonb_build_object('code', 'too_many_webhooks', 'limit', c_limit)::text, hint = 'Delete one of them first.';
  end if;
  return query insert into public.webhooks (id, user_id, org_id, url) values (p_webhook, v_user, p_org, p_url) returning *;
  insert into voice_clone.webhook_secrets (webhook_id, secret) values (p_webhook, p_secret);
end
$$;

-- With the organization, in its transaction: nobody can read them any more.
create function voice_clone.delete_webhooks_of_organization() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.webhooks w where w.org_id = old.id;
  return null;
end
$$;
create trigger voice_clone_delete_webhooks after delete on public.organizations
  for each row execute function voice_clone.delete_webhooks_of_organization();

-- With its secrets and deliveries. False where there is none.
create function voice_clone.delete_webhook(p_webhook uuid, p_user uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.webhooks w
  where w.id = p_webhook and (w.user_id = p_user or voice_clone.is_admin_of(w.org_id, p_user));
  return found;
end
$$;

-- The secrets before sign beside the new one until the time that is returned. One more than the present is kept: the answer to
-- the rotation before this one may have been lost.
create function voice_clone.rotate_webhook_secret(p_webhook uuid, p_user uuid, p_secret text) returns timestamptz
language plpgsql security definer set search_path = ''
as $$
declare
  v_until timestamptz := now() + voice_clone.timeout('webhook_secret');
begin
  perform voice_clone.require_webhook(p_webhook, p_user);
  delete from voice_clone.webhook_secrets s
  where s.webhook_id = p_webhook and s.expires_at is not null and s.secret not in (
    select x.secret from voice_clone.webhook_secrets x
    where x.webhook_id = p_webhook and x.expires_at > now() order by x.created_at desc limit 1);
  update voice_clone.webhook_secrets s set expires_at = v_until where s.webhook_id = p_webhook and s.expires_at is null;
  insert into voice_clone.webhook_secrets (webhook_id, secret) values (p_webhook, p_secret);
  return v_until;
end
$$;

-- Enabled again, at once and without a memory of its failures. What happened while it was disabled was not queued.
create function voice_clone.enable_webhook(p_webhook uuid, p_user uuid) returns setof public.webhooks
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.require_webhook(p_webhook, p_user);
  update public.webhooks w
  set status = 'enabled', disabled_reason = null, disabled_at = null, failing_since = null, failure_count = 0, not_before = null
  where w.id = p_webhook;
  update public.webhook_deliveries d set due_at = now() where d.webhook_id = p_webhook and d.status = 'pending' and d.due_at > now();
  perform voice_clone.send_webhook(p_webhook);
  return query select * from public.webhooks w where w.id = p_webhook;
end
$$;

-- Delivers an event of the owner's once more, whether or not it was delivered here before. VC004 where there is no such event,
-- VC007 where the webhook is disabled.
create function voice_clone.replay_event(p_webhook uuid, p_user uuid, p_event bigint) returns setof public.webhook_deliveries
language plpgsql security definer set search_path = ''
as $$
declare
  w public.webhooks := voice_clone.require_webhook(p_webhook, p_user);
begin
  if w.status <> 'enabled' then
    raise exception 'this webhook is disabled' using errcode = 'VC007', detail = '{"code": "webhook_disabled"}',
      hint = 'Enable it first.';
  end if;
  insert into public.webhook_deliveries as d (
    webhook_id, event_id, user_id, org_id, attempt_id, reflection_id, employee_id, voice_id, version, events, recorded_at)
  select p_webhook, e.id, a.user_id, a.org_id, a.id, a.reflection_id, a.employee_id, a.voice_id, e.version, e.events, e.recorded_at
  from public.voice_clone_attempts a join voice_clone.events e on e.attempt_id = a.id and e.id = p_event
  where (a.user_id = w.user_id or a.org_id = w.org_id) and e.events <> '{verification_pending}'
  on conflict (webhook_id, event_id) do nothing;
  return query
    update public.webhook_deliveries d
    set status = 'pending', queued_at = now(), due_at = now(), sweep_at = null,
        try_count = case d.status when 'pending' then d.try_count else 0 end
    where d.webhook_id = p_webhook and d.event_id = p_event
    returning *;
  if not found then
    raise exception 'there is no such event' using errcode = 'VC004', detail = '{"field": "event_id"}';
  end if;
  perform voice_clone.send_webhook(p_webhook);
end
$$;

grant execute on function
  voice_clone.require_admin(uuid, uuid),
  voice_clone.create_webhook(uuid, uuid, text, text, uuid),
  voice_clone.delete_webhook(uuid, uuid),
  voice_clone.rotate_webhook_secret(uuid, uuid, text),
  voice_clone.enable_webhook(uuid, uuid),
  voice_clone.replay_event(uuid, uuid, bigint)
to voice_clone_backend;
