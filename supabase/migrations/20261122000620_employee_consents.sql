-- Consents of employees. An admin invites an employee by a link; the employee signs with it alone, or also signed in as a user,
-- and revokes with the same link. Only a hash of the link's token is stored.

create table voice_clone.consent_invitations (
  id uuid primary key default gen_random_uuid(),
  employee_id uuid not null references public.employees (id) on delete cascade,
  org_id uuid not null,
  token_hash bytea not null unique check (octet_length(token_hash) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  consent_id uuid unique references public.voice_consents (id)
);
comment on column voice_clone.consent_invitations.expires_at is 'until when it signs; it revokes without an end';
comment on column voice_clone.consent_invitations.consent_id is 'what was signed with it; a link signs once';
-- One link that can be signed for an employee: a new one replaces it.
create unique index consent_invitations_open_idx on voice_clone.consent_invitations (employee_id) where consent_id is null;
create index consent_invitations_employee_id_idx on voice_clone.consent_invitations (employee_id);
alter table voice_clone.consent_invitations enable row level security;
revoke all on voice_clone.consent_invitations from public, anon, authenticated, service_role;

-- The employee, for a member of their organization; with p_as_admin, for an admin. VC004 for anyone else, VC009 for a member who is no admin.
create function voice_clone.require_employee(p_employee uuid, p_user uuid, p_as_admin boolean) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_org uuid;
  v_role text;
begin
  select e.org_id, m.role::text into v_org, v_role
  from public.employees e
  join public.organization_members m on m.org_id = e.org_id and m.user_id = p_user and m.role::text in ('member', 'admin')
  where e.id = p_employee
  order by m.role::text limit 1;
  if v_org is null then
    raise exception 'there is no such employee' using errcode = 'VC004', detail = '{"field": "employee_id"}';
  elsif p_as_admin and v_role <> 'admin' then
    raise exception 'only an admin of the organization may do this' using errcode = 'VC009';
  end if;
  return v_org;
end
$$;

-- A link for an employee. One that was not signed yet is of no use from now on.
create function voice_clone.invite_employee(p_employee uuid, p_user uuid, p_token_hash bytea, p_seconds int)
returns table (id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' rows 1
as $$
#variable_conflict use_column
declare
  v_org uuid := voice_clone.require_employee(p_employee, p_user, true);
begin
  perform from public.employees e where e.id = p_employee for key share;
  return query
    insert into voice_clone.consent_invitations as i (employee_id, org_id, token_hash, expires_at)
    values (p_employee, v_org, p_token_hash, now() + make_interval(secs => p_seconds))
    on conflict (employee_id) where consent_id is null do update
      set id = gen_random_uuid(), org_id = excluded.org_id, token_hash = excluded.token_hash, created_at = now(),
          expires_at = excluded.expires_at
    returning i.id, i.expires_at;
end
$$;

-- The invitation of a link, or VC004: it is unknown, of another employee, replaced, or too old to be signed, or the employee is not in
-- that organization any more.
create function voice_clone.require_invitation(p_employee uuid, p_token_hash bytea) returns voice_clone.consent_invitations
language plpgsql security definer set search_path = ''
as $$
declare
  i voice_clone.consent_invitations;
begin
  select x.* into i from voice_clone.consent_invitations x
  join public.employees e on e.id = x.employee_id and e.org_id = x.org_id
  where x.employee_id = p_employee and x.token_hash = p_token_hash and (x.consent_id is not null or x.expires_at > now());
  if not found then
    raise exception 'this link is not valid' using errcode = 'VC004', detail = '{"code": "invitation_invalid"}',
      hint = 'Ask the organization for a new one.';
  end if;
  return i;
end
$$;

-- The invitation of a link, also of one that only revokes; null for any other.
create function voice_clone.find_invitation(p_employee uuid, p_token_hash bytea) returns uuid
language sql stable security definer set search_path = ''
as $$
  select i.id from voice_clone.consent_invitations i where i.employee_id = p_employee and i.token_hash = p_token_hash
$$;

-- What the employee reads before and after they sign.
create function voice_clone.read_invitation(p_employee uuid, p_token_hash bytea, p_locale text)
returns table (id uuid, full_name text, organization text, statement text, version int, locale text, body text,
  expires_at timestamptz, signed_at timestamptz, revoked_at timestamptz)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  i voice_clone.consent_invitations := voice_clone.require_invitation(p_employee, p_token_hash);
begin
  return query
    select i.id, left(to_jsonb(e) ->> 'full_name', 120), left(to_jsonb(o) ->> 'name', 120), s.statement, s.version, s.locale, s.body,
      i.expires_at, c.recorded_at, r.recorded_at
    from public.employees e
    join public.organizations o on o.id = e.org_id
    left join public.voice_consents c on c.id = i.consent_id
    left join public.voice_consents r on r.revokes = c.id
    join public.voice_consent_statements s
      on s.id = c.statement_id or (c.id is null and s.statement = 'employee_voice_clone' and s.locale = p_locale)
    where e.id = p_employee
    order by s.version desc limit 1;
  if not found then
    raise exception 'there is no statement in %', p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "locale"}';
  end if;
end
$$;

-- Where a user signs, they are the employee: the confirmed address of their account is the employee's, if it is known.
create function voice_clone.require_signer(p_employee uuid, p_signer uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if exists (
    select from public.employees e, auth.users u
    where e.id = p_employee and u.id = p_signer and to_jsonb(e) ->> 'email' <> ''
      and (u.email_confirmed_at is null or lower(u.email) is distinct from lower(to_jsonb(e) ->> 'email'))
  ) then
    raise exception 'this invitation is for another person than the one who is signed in'
      using errcode = 'VC009', detail = '{"code": "not_the_employee"}', hint = 'Sign in as the employee, or sign without an account.';
  end if;
end
$$;

-- Signs the latest statement. A link signs once.
create function voice_clone.sign_invitation(
  p_employee uuid, p_token_hash bytea, p_locale text, p_signer uuid, p_version int)
returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
declare
  i voice_clone.consent_invitations;
  c public.voice_consents;
  v_statement uuid;
begin
  perform voice_clone.lock_user(p_signer);
  perform voice_clone.lock_consents(p_signer) where p_signer is not null;
  perform voice_clone.lock_consents(p_employee);
  perform from public.employees e where e.id = p_employee for share;
  i := voice_clone.require_invitation(p_employee, p_token_hash);
  if i.consent_id is not null then
    raise exception 'this link was used: it only revokes what was signed with it' using errcode = 'VC004',
      detail = '{"code": "invitation_invalid"}', hint = 'Ask the organization for a new one to sign again.';
  end if;
  perform voice_clone.require_signer(p_employee, p_signer);
  select s.id into v_statement from public.voice_consent_statements s
  where s.statement = 'employee_voice_clone' and s.locale = p_locale order by s.version desc limit 1;
  if v_statement is null then
    raise exception 'there is no statement in %', p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "locale"}';
  end if;
  perform voice_clone.require_current_statement(v_statement, p_version);
  insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id, org_id, method)
  values (p_signer, v_statement, 'employee', p_employee, i.org_id, case when p_signer is null then 'invitation' else 'account' end)
  returning * into c;
  update voice_clone.consent_invitations x set consent_id = c.id where x.id = i.id;
  return next c;
end
$$;

-- Revokes what was signed with the link. A second call returns the first revocation.
create function voice_clone.revoke_by_invitation(p_employee uuid, p_token_hash bytea) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
declare
  v_consent uuid;
  v_user uuid;
begin
  select c.id, c.user_id into v_consent, v_user
  from voice_clone.consent_invitations i join public.voice_consents c on c.id = i.consent_id
  where i.employee_id = p_employee and i.token_hash = p_token_hash;
  if not found then
    raise exception 'nothing was signed with this link' using errcode = 'VC004', detail = '{"code": "invitation_invalid"}';
  end if;
  perform voice_clone.lock_user(v_user);
  perform voice_clone.lock_consents(v_user) where v_user is not null;
  perform voice_clone.lock_consents(p_employee);
  insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id, org_id, method, revokes)
  select c.user_id, c.statement_id, c.subject_kind, c.subject_id, c.org_id, 'invitation', c.id
  from public.voice_consents c
  where c.id = v_consent and not exists (select from public.voice_consents r where r.revokes = v_consent);
  return query select * from public.voice_consents r where r.revokes = v_consent;
end
$$;

-- The consents that cover an employee now, the latest first.
create function voice_clone.employee_consents(p_employee uuid) returns setof uuid
language sql stable security definer set search_path = ''
as $$
  select c.id from public.voice_consents c
  join public.employees e on e.id = p_employee and e.org_id = c.org_id
  where c.subject_kind = 'employee' and c.subject_id = p_employee and c.revokes is null
    and (c.user_id is not null or c.method = 'invitation') -- else the account that signed was deleted
    and not exists (select from public.voice_consents r where r.revokes = c.id)
  order by c.recorded_at desc
$$;

-- Definer, and volatile, as check_consent: it sees the entry that it waited for.
create function voice_clone.check_employee_consent(p_consent uuid, p_employee uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_consents_shared(p_employee);
  if not exists (select from voice_clone.employee_consents(p_employee) c where c = p_consent) then
    raise exception 'the employee has not consented' using errcode = 'VC003',
      hint = 'Invite them with POST /v1/employees/{id}/consent-invitations.';
  end if;
end
$$;

grant execute on function
  voice_clone.require_employee(uuid, uuid, boolean),
  voice_clone.invite_employee(uuid, uuid, bytea, int),
  voice_clone.find_invitation(uuid, bytea),
  voice_clone.read_invitation(uuid, bytea, text),
  voice_clone.sign_invitation(uuid, bytea, text, uuid, int),
  voice_clone.revoke_by_invitation(uuid, bytea)
to voice_clone_backend;
