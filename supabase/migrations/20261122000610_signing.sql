-- Signing and revoking by a user, and the locks that a use of a consent takes.

-- Nobody signs a text other than the one that they read.
create function voice_clone.require_current_statement(p_statement uuid, p_version int) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_current int;
begin
  select s.version into v_current from public.voice_consent_statements s where s.id = p_statement;
  if p_version is distinct from v_current then
    raise exception 'this is not the current version of the statement, which is %', v_current
      using errcode = 'VC007', hint = 'Show the current text, and send its version.',
            detail = jsonb_build_object('code', 'statement_outdated', 'field', 'version', 'current_version', v_current)::text;
  end if;
end
$$;
revoke all on function voice_clone.require_current_statement(uuid, int) from public, anon, authenticated, service_role;

-- For sign_consent, and for sign_spoken_consent with what was found.
create function voice_clone.record_signature(
  p_user uuid, p_statement uuid, p_subject_kind text, p_subject_id uuid, p_spoken jsonb
) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
begin
  if p_subject_kind = 'reflection' and not exists (
    select from public.reflections r where r.id = p_subject_id and r.user_id = p_user
  ) then
    raise exception 'there is no such reflection'
      using errcode = 'VC004', detail = '{"field": "subject"}';
  end if;
  return query
    insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id, spoken)
    values (p_user, p_statement, p_subject_kind, p_subject_id, p_spoken)
    returning *;
end
$$;

-- Raises where the version that the person read is not the latest one, or is not named.
create function voice_clone.sign_consent(
  p_user uuid, p_statement text, p_locale text, p_subject_kind text, p_subject_id uuid, p_version int
) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
declare
  v_statement uuid;
begin
  select s.id into v_statement
  from public.voice_consent_statements s
  where s.statement = p_statement and s.statement <> 'employee_voice_clone' and s.locale = p_locale
  order by s.version desc limit 1;
  if v_statement is null then
    raise exception 'there is no statement % in %', p_statement, p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "statement"}';
  end if;
  perform voice_clone.require_current_statement(v_statement, p_version);
  return query select * from voice_clone.record_signature(p_user, v_statement, p_subject_kind, p_subject_id, null);
end
$$;

-- Revokes a signature. A second call returns the first revocation.
create function voice_clone.revoke_consent(p_consent uuid, p_user uuid) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
begin
  return query select * from public.voice_consents c where c.revokes = p_consent and c.user_id = p_user;
  if found then
    return;
  end if;
  return query
    insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id, org_id, revokes)
    select c.user_id, c.statement_id, c.subject_kind, c.subject_id, c.org_id, c.id
    from public.voice_consents c
    where c.id = p_consent and c.user_id = p_user and c.revokes is null
    returning *;
  if not found then
    raise exception 'there is no such consent' using errcode = 'VC004';
  end if;
exception when unique_violation then -- another call was first
  return query select * from public.voice_consents c where c.revokes = p_consent and c.user_id = p_user;
end
$$;

-- The lock that the foreign key of a row of this user takes, before every other lock: the deletion of a user has locked the
-- user's row when it waits for the consents, the reflections and the attempts. A user that is gone is left to the foreign key.
create function voice_clone.lock_user(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from auth.users u where u.id = p_user for key share;
end
$$;

-- A new entry, the deletion of a voice and of a user take this lock; see lock_consents_shared. The id is of the user, or of the
-- employee whose consent it is; that of the user comes first.
create function voice_clone.lock_consents(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('consents:' || p_user::text, 0));
end
$$;

-- What takes lock_consents ends the use of voices; a caller that relies on a consent shares it, so that a consent
-- that was checked cannot be revoked before the transaction of the check ends. Taken before any lock on a reflection or an
-- attempt, because a revocation cancels attempts while it holds the lock.
create function voice_clone.lock_consents_shared(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('consents:' || p_user::text, 0));
end
$$;

-- Definer: it reads the whole ledger, past row level security.
create function voice_clone.is_consent_valid(p_consent uuid, p_user uuid, p_reflection uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
    select from public.voice_consents c
    where c.id = p_consent and c.user_id = p_user and c.revokes is null
      and (c.subject_kind = 'self' or (c.subject_kind = 'reflection' and c.subject_id = p_reflection))
      and not exists (select from public.voice_consents r where r.revokes = c.id));
end
$$;

-- Volatile, so that it sees the entry that it waited for.
create function voice_clone.check_consent(p_consent uuid, p_user uuid, p_reflection uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform voice_clone.lock_consents_shared(p_user);
  if not voice_clone.is_consent_valid(p_consent, p_user, p_reflection) then
    raise exception 'a sample needs a signed, unrevoked consent for this subject'
      using errcode = 'VC003', detail = '{"field": "consent_id"}',
            hint = 'Sign one with POST /v1/consents and send its id.';
  end if;
end
$$;

grant execute on function
  voice_clone.sign_consent(uuid, text, text, text, uuid, int),
  voice_clone.revoke_consent(uuid, uuid)
to voice_clone_backend;
