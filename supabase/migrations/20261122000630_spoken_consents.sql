-- Spoken consents: where the project asks for it, a user signs by reading a sentence aloud, and a sample is taken only if it is the one
-- that the signature was compared with. The service hears the words and compares the speakers; docs/decisions/0080-spoken-consents.md

-- Whether the project asks for it: one row.
create table voice_clone.spoken_consents (
  is_only boolean primary key default true check (is_only),
  is_required boolean not null default false
);
alter table voice_clone.spoken_consents enable row level security;
revoke all on voice_clone.spoken_consents from public, anon, authenticated, service_role;
insert into voice_clone.spoken_consents default values;

-- The sentence that a user is to read next: one row for a user, replaced by the next.
create table voice_clone.consent_challenges (
  user_id uuid primary key references auth.users (id) on delete cascade,
  id uuid not null unique default gen_random_uuid(),
  statement_id uuid not null references public.voice_consent_statements (id),
  sentence text not null check (length(sentence) between 1 and 300),
  expires_at timestamptz not null,
  taken_at timestamptz
);
create index consent_challenges_statement_id_idx on voice_clone.consent_challenges (statement_id);
create index consent_challenges_expires_at_idx on voice_clone.consent_challenges (expires_at);
comment on column voice_clone.consent_challenges.taken_at is 'when a recording was sent for it; then no other is taken';
alter table voice_clone.consent_challenges enable row level security;
revoke all on voice_clone.consent_challenges from public, anon, authenticated, service_role;

create function voice_clone.is_spoken_consent_required() returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (select s.is_required from voice_clone.spoken_consents s);
end
$$;

create function operations.require_spoken_consent(p_required boolean) returns boolean
language sql security definer set search_path = ''
as $$ update voice_clone.spoken_consents s set is_required = p_required returning s.is_required $$;

-- A new sentence for the statement that the user reads now; the one before is void.
create function voice_clone.open_challenge(p_user uuid, p_locale text, p_version int, p_sentence text)
returns table (id uuid, sentence text, expires_at timestamptz)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  v_statement uuid;
begin
  select s.id into v_statement from public.voice_consent_statements s
  where s.statement = 'voice_clone' and s.locale = p_locale order by s.version desc limit 1;
  if v_statement is null then
    raise exception 'there is no statement voice_clone in %', p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "locale"}';
  end if;
  perform voice_clone.require_current_statement(v_statement, p_version);
  perform voice_clone.lock_user(p_user);
  return query
    insert into voice_clone.consent_challenges as c (user_id, statement_id, sentence, expires_at)
    values (p_user, v_statement, p_sentence, now() + voice_clone.timeout('consent_challenge'))
    on conflict (user_id) do update
    set id = gen_random_uuid(), statement_id = excluded.statement_id, sentence = excluded.sentence,
        expires_at = excluded.expires_at, taken_at = null
    returning c.id, c.sentence, c.expires_at;
end
$$;

create function voice_clone.refuse_challenge() returns void
language plpgsql immutable set search_path = ''
as $$
begin
  raise exception 'this sentence was read already, or its time is over' using errcode = 'VC007',
    detail = '{"code": "challenge_invalid", "field": "challenge_id"}', hint = 'Ask for another with POST /v1/consent-challenges.';
end
$$;

-- Before a recording is examined: the sentence that it must hold. It is taken once, whatever is found.
create function voice_clone.take_challenge(p_user uuid, p_challenge uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_sentence text;
begin
  update voice_clone.consent_challenges c set taken_at = now()
  where c.user_id = p_user and c.id = p_challenge and c.taken_at is null and c.expires_at > now()
  returning c.sentence into v_sentence;
  if not found then
    perform voice_clone.refuse_challenge();
  end if;
  return v_sentence;
end
$$;

-- Signs with what was found in the recording of a sentence that was taken. The statement may have no newer version by now.
create function voice_clone.sign_spoken_consent(
  p_user uuid, p_challenge uuid, p_subject_kind text, p_subject_id uuid, p_proof jsonb
) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.consent_challenges;
  v_version int;
begin
  perform voice_clone.lock_user(p_user);
  perform voice_clone.lock_consents(p_user);
  delete from voice_clone.consent_challenges x
  where x.user_id = p_user and x.id = p_challenge and x.taken_at is not null returning * into c;
  if not found then
    perform voice_clone.refuse_challenge();
  end if;
  select s.version into v_version from public.voice_consent_statements s where s.id = c.statement_id;
  perform voice_clone.require_current_statement(l.id, v_version)
  from public.voice_consent_statements s
  join public.voice_consent_statements l on (l.statement, l.locale) = (s.statement, s.locale)
  where s.id = c.statement_id order by l.version desc limit 1;
  return query
    select * from voice_clone.record_signature(
      p_user, c.statement_id, p_subject_kind, p_subject_id, p_proof || jsonb_build_object('sentence', c.sentence));
end
$$;

-- Of a user's sample: where the project asks for it, the consent was spoken. An employee consents by the link of an invitation.
create function voice_clone.require_spoken_consent(p_consent uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if voice_clone.is_spoken_consent_required()
    and not exists (select from public.voice_consents c where c.id = p_consent and c.spoken is not null)
  then
    raise exception 'a sample needs a consent that its user has spoken' using errcode = 'VC003',
      detail = '{"code": "consent_not_spoken", "field": "consent_id"}', hint = 'Sign one with POST /v1/consents/spoken.';
  end if;
end
$$;

-- What a new sample requires of its consent.
create function voice_clone.check_sample_consent(p_consent uuid, p_user uuid, p_reflection uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform voice_clone.check_consent(p_consent, p_user, p_reflection);
  perform voice_clone.require_spoken_consent(p_consent);
end
$$;

-- The hash that the file of this consent's sample must have; null where any may.
create function voice_clone.spoken_sample(p_consent uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
begin
  return (
    select coalesce(c.spoken ->> 'sample', '') from public.voice_consents c
    where c.id = p_consent and voice_clone.is_spoken_consent_required());
end
$$;

-- For the sweep: sentences that nobody read.
create function voice_clone.expire_challenges(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_count int;
begin
  delete from voice_clone.consent_challenges c where c.user_id in (
    select x.user_id from voice_clone.consent_challenges x where x.expires_at <= now() - interval '1 hour'
    order by x.expires_at limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

grant execute on function
  voice_clone.is_spoken_consent_required(),
  voice_clone.open_challenge(uuid, text, int, text),
  voice_clone.take_challenge(uuid, uuid),
  voice_clone.sign_spoken_consent(uuid, uuid, text, uuid, jsonb)
to voice_clone_backend;
revoke all on function operations.require_spoken_consent(boolean) from public, anon, authenticated;
grant execute on function operations.require_spoken_consent(boolean) to service_role;
