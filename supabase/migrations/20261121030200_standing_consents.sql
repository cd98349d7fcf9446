-- Standing consents: a consent that is checked cannot be withdrawn before the check's transaction ends.
--
-- Without this, an attempt made while its consent was being withdrawn was seen by neither: not by the check, which
-- could not see the withdrawal yet, and not by the withdrawal, which could not see the attempt.

-- Entries of a person's ledger take this lock alone (seal_consent); whoever relies on one shares it. Before any
-- lock on an attempt, for a withdrawal cancels attempts while it has it.
create function voice_clone.hold_consents(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('consents:' || p_user::text, 0));
end
$$;

-- Definer: the ledger is read whole, whoever asks.
create function voice_clone.is_standing(p_consent uuid, p_user uuid, p_reflection uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
    select from public.consents c
    where c.id = p_consent and c.user_id = p_user and c.revokes is null
      and (c.subject_kind = 'self' or c.subject_id = p_reflection)
      and not exists (select from public.consents r where r.revokes = c.id));
end
$$;

-- Volatile, so that it sees what it waited for.
create or replace function voice_clone.check_consent(p_consent uuid, p_user uuid, p_reflection uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform voice_clone.hold_consents(p_user);
  if not voice_clone.is_standing(p_consent, p_user, p_reflection) then
    raise exception 'a sample needs a signed, unrevoked consent for this subject'
      using errcode = 'VC003', detail = '{"field": "consent_id"}',
            hint = 'Sign one with POST /v1/consents and send its id.';
  end if;
end
$$;
