-- Consents: an append-only ledger, hash-chained for each person. A revocation is an entry like a signature.
--
-- The chain names a person by an id that is found nowhere else. The user's own id is beside it and in no hash, so it goes when
-- the user is deleted, and the chain stays verifiable.

create table public.voice_consent_statements (
  id uuid primary key default gen_random_uuid(),
  statement text not null,
  version int not null,
  locale text not null,
  body text not null,
  unique (statement, version, locale)
);
alter table public.voice_consent_statements enable row level security;
revoke all on public.voice_consent_statements from public, anon, authenticated, service_role;
grant select on public.voice_consent_statements to anon, authenticated, service_role;
create policy "Anyone reads the statements" on public.voice_consent_statements
  for select to anon, authenticated using (true);

insert into public.voice_consent_statements (statement, version, locale, body) values
  ('voice_clone', 1, 'en', 'I am the person who speaks in this recording, or I have that person''s written permission. I agree that a synthetic copy of this voice is made from it and used to speak text on my behalf. I can withdraw this at any time; the copy is then no longer used.'),
  ('voice_clone', 1, 'de', 'Ich bin die Person, die in dieser Aufnahme spricht, oder habe deren schriftliche Erlaubnis. Ich stimme zu, dass daraus eine synthetische Kopie dieser Stimme erstellt und in meinem Namen zum Sprechen von Texten verwendet wird. Ich kann dies jederzeit widerrufen; die Kopie wird dann nicht mehr verwendet.'),
  ('voice_clone', 1, 'zh', '本人即录音中的讲话者，或已获得该讲话者的书面许可。本人同意以此录音制作该声音的合成副本，并以本人名义朗读文本。本人可随时撤回同意，撤回后该副本不再使用。');

create table voice_clone.consent_chains (
  person_id uuid primary key default gen_random_uuid(),
  user_id uuid unique references auth.users (id),
  position int not null default 0,
  hash bytea not null default '\x00',
  recorded_at timestamptz
);
comment on table voice_clone.consent_chains is 'whose chain it is, and its last entry, so that a missing end is noticed';
comment on column voice_clone.consent_chains.user_id is 'null once the user is deleted';
alter table voice_clone.consent_chains enable row level security;
revoke all on voice_clone.consent_chains from public, anon, authenticated, service_role;

create table public.voice_consents (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id),
  person_id uuid not null references voice_clone.consent_chains (person_id),
  position int not null,
  statement_id uuid not null references public.voice_consent_statements (id),
  subject_kind text not null check (subject_kind in ('self', 'reflection')),
  subject_id uuid check ((subject_kind = 'self') = (subject_id is null)),
  revokes uuid unique references public.voice_consents (id),
  recorded_at timestamptz not null,
  previous_hash bytea not null,
  hash bytea not null,
  unique (person_id, position),
  unique (id, user_id)
);
create index voice_consents_user_id_idx on public.voice_consents (user_id, position);
comment on column public.voice_consents.user_id is 'null once the user is deleted; in no hash';
comment on column public.voice_consents.person_id is 'the person in the chain: an id that is used for nothing else';
comment on column public.voice_consents.recorded_at is 'taken under the lock of the chain, so it grows with the position';
comment on column public.voice_consents.revokes is 'the signature that this entry revokes; null for a signature';

alter table public.voice_consents enable row level security;
revoke all on public.voice_consents from public, anon, authenticated, service_role;
grant select on public.voice_consents to authenticated, service_role;
create policy "People read their own consents" on public.voice_consents
  for select to authenticated using (user_id = (select auth.uid()));

-- The hash of an entry: of the entry before it, and of its own contents by name, not by column order.
create function voice_clone.consent_hash(p_entry public.voice_consents) returns bytea
language sql stable set search_path = ''
as $$
  select sha256(p_entry.previous_hash || convert_to(concat_ws('|',
    p_entry.id, p_entry.person_id, p_entry.position, s.statement, s.version, s.locale, encode(sha256(convert_to(s.body, 'utf8')), 'hex'),
    p_entry.subject_kind, coalesce(p_entry.subject_id::text, '-'), coalesce(p_entry.revokes::text, '-'),
    to_char(p_entry.recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US')), 'utf8'))
  from public.voice_consent_statements s where s.id = p_entry.statement_id
$$;

-- Numbers an entry and chains it to the one before. One entry of a person at a time.
create function voice_clone.chain_consent() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  k voice_clone.consent_chains;
begin
  perform voice_clone.lock_user(new.user_id);
  perform voice_clone.lock_consents(new.user_id);
  insert into voice_clone.consent_chains (user_id) values (new.user_id) on conflict (user_id) do nothing;
  select * into k from voice_clone.consent_chains c where c.user_id = new.user_id for update;
  new.person_id := k.person_id;
  new.position := k.position + 1;
  new.recorded_at := greatest(clock_timestamp(), k.recorded_at + interval '1 microsecond');
  new.previous_hash := k.hash;
  new.hash := voice_clone.consent_hash(new);
  update voice_clone.consent_chains c
  set position = new.position, hash = new.hash, recorded_at = new.recorded_at where c.person_id = k.person_id;
  return new;
end
$$;
create trigger voice_consents_chain before insert on public.voice_consents
  for each row execute function voice_clone.chain_consent();

-- The erasure of a deleted user takes names and ids out of the events, and changes nothing else.
create function voice_clone.refuse_append_only_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' and tg_table_name = 'events' and current_setting('voice_clone.erasing', true) = 'on' then
    return null;
  end if;
  raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = '42501';
end
$$;
create trigger voice_consents_append_only before delete or truncate on public.voice_consents
  for each statement execute function voice_clone.refuse_append_only_change();
-- An entry never changes; only the user's id goes when the user is deleted.
create trigger voice_consents_keep_entry before update on public.voice_consents
  for each row when (
    new.user_id is not null or (new.id, new.person_id, new.position, new.statement_id, new.subject_kind, new.subject_id,
      new.revokes, new.recorded_at, new.previous_hash, new.hash)
    is distinct from (old.id, old.person_id, old.position, old.statement_id, old.subject_kind, old.subject_id,
      old.revokes, old.recorded_at, old.previous_hash, old.hash))
  execute function voice_clone.refuse_append_only_change();
create trigger voice_consent_statements_append_only before update or delete or truncate on public.voice_consent_statements
  for each statement execute function voice_clone.refuse_append_only_change();

create function voice_clone.sign_consent(
  p_user uuid, p_statement text, p_locale text, p_subject_kind text, p_subject_id uuid
) returns setof public.voice_consents
language plpgsql security definer set search_path = ''
as $$
declare
  v_statement uuid;
begin
  select s.id into v_statement
  from public.voice_consent_statements s
  where s.statement = p_statement and s.locale = p_locale
  order by s.version desc limit 1;
  if v_statement is null then
    raise exception 'there is no statement % in %', p_statement, p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "statement"}';
  end if;
  if p_subject_kind = 'reflection' and not exists (
    select from public.reflections r where r.id = p_subject_id and r.user_id = p_user
  ) then
    raise exception 'there is no such reflection'
      using errcode = 'VC004', detail = '{"field": "subject"}';
  end if;
  return query
    insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id)
    values (p_user, v_statement, p_subject_kind, p_subject_id)
    returning *;
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
    insert into public.voice_consents (user_id, statement_id, subject_kind, subject_id, revokes)
    select c.user_id, c.statement_id, c.subject_kind, c.subject_id, c.id
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

-- A new entry, the deletion of a voice and of a user take this lock; see lock_consents_shared.
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
      and (c.subject_kind = 'self' or c.subject_id = p_reflection)
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
  voice_clone.sign_consent(uuid, text, text, text, uuid),
  voice_clone.revoke_consent(uuid, uuid)
to voice_clone_backend;
