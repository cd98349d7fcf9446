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

-- `voice_clone` is signed by a user, `employee_voice_clone` by an employee of an organization (employee_consents.sql).
insert into public.voice_consent_statements (statement, version, locale, body) values
  ('voice_clone', 1, 'en', 'I am the person who speaks in this recording, or I have that person''s written permission. I agree that a synthetic copy of this voice is made from it and used to speak text on my behalf. I can withdraw this at any time; the copy is then no longer used.'),
  ('voice_clone', 1, 'de', 'Ich bin die Person, die in dieser Aufnahme spricht, oder habe deren schriftliche Erlaubnis. Ich stimme zu, dass daraus eine synthetische Kopie dieser Stimme erstellt und in meinem Namen zum Sprechen von Texten verwendet wird. Ich kann dies jederzeit widerrufen; die Kopie wird dann nicht mehr verwendet.'),
  ('voice_clone', 1, 'zh', '本人即录音中的讲话者，或已获得该讲话者的书面许可。本人同意以此录音制作该声音的合成副本，并以本人名义朗读文本。本人可随时撤回同意，撤回后该副本不再使用。'),
  ('employee_voice_clone', 1, 'en', 'I am the employee to whom this invitation was sent. I agree that my organization records calls with me, that a synthetic copy of my voice is made from a recording, and that my organization uses it to train the awareness of its people. My consent is voluntary. I can withdraw it at any time with the same link; the copy is then removed.'),
  ('employee_voice_clone', 1, 'de', 'Ich bin die Person, an die diese Einladung gerichtet ist. Ich stimme zu, dass meine Organisation Anrufe mit mir aufzeichnet, dass aus einer Aufnahme eine synthetische Kopie meiner Stimme erstellt wird und dass meine Organisation sie zur Schulung ihrer Mitarbeitenden verwendet. Meine Zustimmung ist freiwillig. Ich kann sie jederzeit mit demselben Link widerrufen; die Kopie wird dann entfernt.'),
  ('employee_voice_clone', 1, 'zh', '本人即此邀请所发送的员工。本人同意所在机构录制与本人的通话，以录音制作本人声音的合成副本，并将其用于机构人员的安全意识培训。本人系自愿同意，可随时通过同一链接撤回；撤回后该副本将被删除。');

create table voice_clone.consent_chains (
  person_id uuid primary key default gen_random_uuid(),
  user_id uuid unique references auth.users (id),
  employee_id uuid unique references public.employees (id) on delete set null,
  position int not null default 0,
  hash bytea not null default '\x00',
  recorded_at timestamptz
);
comment on table voice_clone.consent_chains is 'whose chain it is, and its last entry, so that a missing end is noticed';
comment on column voice_clone.consent_chains.user_id is 'null once the user is deleted, and of an employee who signed without an account';
comment on column voice_clone.consent_chains.employee_id is 'who signed without an account; null once the employee is deleted';
alter table voice_clone.consent_chains enable row level security;
revoke all on voice_clone.consent_chains from public, anon, authenticated, service_role;

-- What a spoken signature holds: scores that reach their thresholds, and the hash of one sample. No recording and no measure of a voice.
create function voice_clone.is_spoken_proof(p_spoken jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select p_spoken ?& '{sentence,words,words_needed,words_by,speaker,speaker_needed,speaker_by,sample}'
    and (p_spoken ->> 'words')::float8 >= (p_spoken ->> 'words_needed')::float8
    and (p_spoken ->> 'speaker')::float8 >= (p_spoken ->> 'speaker_needed')::float8
    and p_spoken ->> 'sample' ~ '^[0-9a-f]{64}$'
$$;

create table public.voice_consents (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id),
  person_id uuid not null references voice_clone.consent_chains (person_id),
  position int not null,
  statement_id uuid not null references public.voice_consent_statements (id),
  subject_kind text not null check (subject_kind in ('self', 'reflection', 'employee')),
  subject_id uuid check ((subject_kind = 'self') = (subject_id is null)),
  org_id uuid check ((subject_kind = 'employee') = (org_id is not null)),
  method text not null default 'account' check (method = 'account' or (method = 'invitation' and subject_kind = 'employee')),
  revokes uuid unique references public.voice_consents (id),
  spoken jsonb check (spoken is null or (revokes is null and voice_clone.is_spoken_proof(spoken))),
  recorded_at timestamptz not null,
  previous_hash bytea not null,
  hash bytea not null,
  unique (person_id, position),
  unique (id, user_id),
  unique (id, subject_id)
);
create index voice_consents_user_id_idx on public.voice_consents (user_id, position);
create index voice_consents_org_id_idx on public.voice_consents (org_id, subject_id) where org_id is not null;
comment on column public.voice_consents.user_id is 'null once the user is deleted; in no hash';
comment on column public.voice_consents.person_id is 'the person in the chain: an id that is used for nothing else';
comment on column public.voice_consents.org_id is 'for which organization an employee signs; without a reference, because the entry stays as proof';
comment on column public.voice_consents.method is 'how it was signed or revoked: as a user of Auth, or with the link of an invitation alone';
comment on column public.voice_consents.spoken is
  'of a signature that was spoken: the sentence, both scores with their thresholds, and the SHA-256 of the sample whose speaker it is';
comment on column public.voice_consents.recorded_at is 'taken under the lock of the chain, so it grows with the position';
comment on column public.voice_consents.revokes is 'the signature that this entry revokes; null for a signature';

alter table public.voice_consents enable row level security;
revoke all on public.voice_consents from public, anon, authenticated, service_role;
grant select on public.voice_consents to authenticated, service_role;
create policy "People read their own consents, and members those of their employees" on public.voice_consents
  for select to authenticated
  using (user_id = (select auth.uid()) or org_id = any (array(select voice_clone.member_organizations())));

-- The hash of an entry: of the entry before it, and of its own contents by name, not by column order.
create function voice_clone.consent_hash(p_entry public.voice_consents) returns bytea
language sql stable set search_path = ''
as $$
  select sha256(p_entry.previous_hash || convert_to(concat_ws('|',
    p_entry.id, p_entry.person_id, p_entry.position, s.statement, s.version, s.locale, encode(sha256(convert_to(s.body, 'utf8')), 'hex'),
    p_entry.subject_kind, coalesce(p_entry.subject_id::text, '-'), coalesce(p_entry.org_id::text, '-'), p_entry.method,
    coalesce(p_entry.revokes::text, '-'), coalesce(p_entry.spoken::text, '-'),
    to_char(p_entry.recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US')), 'utf8'))
  from public.voice_consent_statements s where s.id = p_entry.statement_id
$$;

-- The chain of an entry, locked: a revocation is in the chain of its signature; a signature in that of its user, or of the
-- employee who has none.
create function voice_clone.lock_chain(p_entry public.voice_consents) returns voice_clone.consent_chains
language plpgsql security definer set search_path = ''
as $$
declare
  k voice_clone.consent_chains;
begin
  if p_entry.revokes is not null then
    select c.* into k from voice_clone.consent_chains c
    where c.person_id = (select s.person_id from public.voice_consents s where s.id = p_entry.revokes) for update;
  elsif p_entry.user_id is not null then
    insert into voice_clone.consent_chains (user_id) values (p_entry.user_id) on conflict (user_id) do nothing;
    select * into k from voice_clone.consent_chains c where c.user_id = p_entry.user_id for update;
  else
    insert into voice_clone.consent_chains (employee_id) values (p_entry.subject_id) on conflict (employee_id) do nothing;
    select * into k from voice_clone.consent_chains c where c.employee_id = p_entry.subject_id for update;
  end if;
  return k;
end
$$;

-- Numbers an entry and chains it to the one before. One entry of a person at a time.
create function voice_clone.chain_consent() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  k voice_clone.consent_chains;
begin
  perform voice_clone.lock_user(new.user_id);
  perform voice_clone.lock_consents(new.user_id) where new.user_id is not null;
  perform voice_clone.lock_consents(new.subject_id) where new.subject_kind = 'employee';
  k := voice_clone.lock_chain(new);
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
      new.org_id, new.method, new.revokes, new.spoken, new.recorded_at, new.previous_hash, new.hash)
    is distinct from (old.id, old.person_id, old.position, old.statement_id, old.subject_kind, old.subject_id,
      old.org_id, old.method, old.revokes, old.spoken, old.recorded_at, old.previous_hash, old.hash))
  execute function voice_clone.refuse_append_only_change();
create trigger voice_consent_statements_append_only before update or delete or truncate on public.voice_consent_statements
  for each statement execute function voice_clone.refuse_append_only_change();
