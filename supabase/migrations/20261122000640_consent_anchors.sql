-- Anchors: the head of the whole ledger of consents. An anchor covers the entries that none covered before, and the hash of the anchor
-- before it, so it costs only what is new. The service signs each and publishes it (publishing_anchors): who owns the database can
-- rewrite its rows, and neither the signatures nor the published copies. docs/decisions/0071-anchored-consents.md

create table voice_clone.consent_anchors (
  position int primary key check (position > 0),
  anchored_at timestamptz not null,
  entries int not null check (entries > 0),
  total bigint not null,
  digest bytea not null,
  previous_hash bytea not null,
  hash bytea not null
);
comment on column voice_clone.consent_anchors.entries is 'how many entries it covers; total has those of all anchors before it as well';
comment on column voice_clone.consent_anchors.digest is 'SHA-256 over the hashes of its entries, in the order of the hashes';
comment on column voice_clone.consent_anchors.hash is 'of the anchor before it, and of its own contents by name';
alter table voice_clone.consent_anchors enable row level security;
revoke all on voice_clone.consent_anchors from public, anon, authenticated, service_role;
create trigger consent_anchors_append_only before update or delete or truncate on voice_clone.consent_anchors
  for each statement execute function voice_clone.refuse_append_only_change();

-- Which anchor covers an entry. The row comes with the entry, so an anchor takes what is committed, in whatever order that was.
create table voice_clone.anchored_consents (
  consent_id uuid primary key references public.voice_consents (id),
  recorded_at timestamptz not null,
  anchor int references voice_clone.consent_anchors (position)
);
comment on column voice_clone.anchored_consents.anchor is 'null until an anchor covers the entry; then it never changes';
create index anchored_consents_waiting_idx on voice_clone.anchored_consents (recorded_at) where anchor is null;
create index anchored_consents_anchor_idx on voice_clone.anchored_consents (anchor) where anchor is not null;
alter table voice_clone.anchored_consents enable row level security;
revoke all on voice_clone.anchored_consents from public, anon, authenticated, service_role;
create trigger anchored_consents_append_only before delete or truncate on voice_clone.anchored_consents
  for each statement execute function voice_clone.refuse_append_only_change();
create trigger anchored_consents_keep_anchor before update on voice_clone.anchored_consents
  for each row when (old.anchor is not null or new.anchor is null
    or (new.consent_id, new.recorded_at) is distinct from (old.consent_id, old.recorded_at))
  execute function voice_clone.refuse_append_only_change();

create function voice_clone.await_anchor() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into voice_clone.anchored_consents (consent_id, recorded_at) values (new.id, new.recorded_at);
  return null;
end
$$;
create trigger voice_consents_await_anchor after insert on public.voice_consents
  for each row execute function voice_clone.await_anchor();

-- The most entries of one anchor; where more wait, others follow at once.
create function voice_clone.anchor_limit() returns int
language sql immutable set search_path = ''
as $$ select 1000 $$;

create function voice_clone.anchor_digest(p_consents uuid[]) returns bytea
language sql stable security definer set search_path = ''
as $$
  select sha256(coalesce(string_agg(c.hash, ''::bytea order by c.hash), '')) from public.voice_consents c where c.id = any (p_consents)
$$;

create function voice_clone.anchor_hash(a voice_clone.consent_anchors) returns bytea
language sql stable set search_path = ''
as $$
  select sha256(a.previous_hash || convert_to(concat_ws('|',
    a.position, voice_clone.utc_text(a.anchored_at), a.entries, a.total, encode(a.digest, 'hex')), 'utf8'))
$$;

-- Covers the entries that wait, the oldest first, at most p_limit. Returns the anchor's position; null where none waits, or another
-- transaction opens one. The caller publishes it.
create function voice_clone.open_consent_anchor(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  a voice_clone.consent_anchors;
  k voice_clone.consent_anchors;
  v_consents uuid[];
begin
  if not pg_try_advisory_xact_lock(hashtextextended('consent_anchors', 0)) then
    return null;
  end if;
  v_consents := array(select w.consent_id from voice_clone.anchored_consents w where w.anchor is null order by w.recorded_at limit p_limit);
  if v_consents = '{}' then
    return null;
  end if;
  select * into k from voice_clone.consent_anchors x order by x.position desc limit 1;
  a.position := coalesce(k.position, 0) + 1;
  a.anchored_at := greatest(clock_timestamp(), k.anchored_at + interval '1 microsecond');
  a.entries := cardinality(v_consents);
  a.total := coalesce(k.total, 0) + a.entries;
  a.digest := voice_clone.anchor_digest(v_consents);
  a.previous_hash := coalesce(k.hash, '\x00');
  a.hash := voice_clone.anchor_hash(a);
  insert into voice_clone.consent_anchors select a.*;
  update voice_clone.anchored_consents w set anchor = a.position where w.consent_id = any (v_consents);
  return a.position;
end
$$;

-- The anchors after a position that are not as they were made, at most p_limit of them checked, with the first reason found. An entry
-- that is much older than the anchor before its own was added later: what waits is anchored the oldest first, so this cannot be unless
-- that anchor was full, or one transaction took an hour.
create function voice_clone.broken_anchors(p_after int, p_limit int)
returns table ("position" int, problem text)
language sql stable security definer set search_path = ''
as $$
  with checked as (
    select a as anchor, a.position, k as before
    from voice_clone.consent_anchors a
    left join voice_clone.consent_anchors k on k.position = a.position - 1
    where a.position > p_after order by a.position limit p_limit
  ), found as (
    select c.position, case
      when c.position > 1 and c.before is null then 'the anchor before it is missing'
      when voice_clone.anchor_hash(c.anchor) <> (c.anchor).hash then 'it was changed'
      when (c.anchor).previous_hash <> coalesce((c.before).hash, '\x00') then 'the anchor before it was changed'
      when e.ids is null or cardinality(e.ids) <> (c.anchor).entries or voice_clone.anchor_digest(e.ids) <> (c.anchor).digest
        then 'its entries were changed, taken out or added'
      when (c.before).entries < voice_clone.anchor_limit() and e.oldest < (c.before).anchored_at - interval '1 hour'
        then 'one of its entries says that it is older than it is'
    end as problem
    from checked c
    cross join lateral (
      select array_agg(w.consent_id) as ids, min(s.recorded_at) as oldest
      from voice_clone.anchored_consents w join public.voice_consents s on s.id = w.consent_id
      where w.anchor = c.position) e
  )
  select f.position, f.problem from found f where f.problem is not null order by f.position
$$;
