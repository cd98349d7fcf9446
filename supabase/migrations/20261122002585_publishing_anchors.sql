-- Publishing anchors: a step of the service signs an anchor and puts it where the operator wants it: an object, a file, a webhook. It has
-- a lease, and the sweep sends it again until each place has it. What is signed proves itself, so these rows may change.

create table voice_clone.anchor_publications (
  id uuid primary key default gen_random_uuid(),
  anchor int not null unique references voice_clone.consent_anchors (position),
  signed text,
  places text[] not null default '{}',
  opened_at timestamptz not null default now(),
  published_at timestamptz,
  lease_epoch int not null default 0,
  lease_expires_at timestamptz,
  error_code text,
  sweep_at timestamptz,
  constraint anchor_publications_swept check ((published_at is null) = (sweep_at is not null)),
  constraint anchor_publications_signed check (published_at is null or signed is not null)
);
comment on column voice_clone.anchor_publications.signed is 'a JWS of the anchor''s contents';
comment on column voice_clone.anchor_publications.places is 'which have it: bucket, file, webhook';
comment on column voice_clone.anchor_publications.error_code is 'why the last try did not reach each place';
create index anchor_publications_sweep_at_idx on voice_clone.anchor_publications (sweep_at) where sweep_at is not null;
create index anchor_publications_open_idx on voice_clone.anchor_publications (anchor) where published_at is null;
alter table voice_clone.anchor_publications enable row level security;
revoke all on voice_clone.anchor_publications from public, anon, authenticated, service_role;

-- When the sweep next sends a publication that is not complete. The wait doubles.
create function voice_clone.publication_sweep_at(p voice_clone.anchor_publications) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return now() + least(
    greatest(voice_clone.timeout('lost_message'), now() - p.opened_at), voice_clone.timeout('lost_message_cap'));
end
$$;

-- Opens an anchor and requests its publication. Null where nothing waits.
create function voice_clone.anchor_consents() returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_anchor int := voice_clone.open_consent_anchor(voice_clone.anchor_limit());
  p voice_clone.anchor_publications;
begin
  if v_anchor is not null then
    insert into voice_clone.anchor_publications (anchor, sweep_at)
    values (v_anchor, now() + voice_clone.timeout('lost_message')) returning * into p;
    perform voice_clone.send_messages(
      'consent_anchors', array[voice_clone.queue_message('consent_anchors', p.id, v_anchor, null)], 0);
  end if;
  return v_anchor;
end
$$;

create function voice_clone.claim_anchor(p_publication uuid) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  p voice_clone.anchor_publications;
begin
  select * into p from voice_clone.anchor_publications x where x.id = p_publication for no key update;
  if p.id is null then
    return ('gone', null, null)::voice_clone.claim;
  elsif p.published_at is not null then
    return ('nothing_to_do', null, null)::voice_clone.claim;
  elsif p.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(p.lease_expires_at), null)::voice_clone.claim;
  end if;
  update voice_clone.anchor_publications x
  set lease_epoch = x.lease_epoch + 1, lease_expires_at = now() + voice_clone.timeout('anchor_lease'),
      sweep_at = now() + voice_clone.timeout('anchor_lease')
  where x.id = p.id;
  return ('claimed', null, p.lease_epoch + 1)::voice_clone.claim;
end
$$;

-- An anchor as it is signed, published and verified. Hashes are in hexadecimal digits.
create function voice_clone.anchor_contents(a voice_clone.consent_anchors) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'position', a.position, 'anchored_at', voice_clone.utc_text(a.anchored_at), 'entries', a.entries, 'total', a.total,
    'digest', encode(a.digest, 'hex'), 'previous_hash', encode(a.previous_hash, 'hex'), 'hash', encode(a.hash, 'hex'))
$$;

-- Volatile, so that it sees the claim that it is joined to.
create function voice_clone.claimed_anchor(p_publication uuid) returns table (anchor jsonb, signed text, places text[])
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select voice_clone.anchor_contents(a), p.signed, p.places
    from voice_clone.anchor_publications p join voice_clone.consent_anchors a on a.position = p.anchor
    where p.id = p_publication;
end
$$;

-- The end of a try: the signature, the places that have the anchor, and why others have not. Without a code it is published.
create function voice_clone.record_publication(
  p_publication uuid, p_epoch int, p_signed text, p_places text[], p_error_code text, p_message_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  p voice_clone.anchor_publications;
begin
  select * into p from voice_clone.anchor_publications x
  where x.id = p_publication and x.lease_epoch = p_epoch and x.lease_expires_at is not null for no key update;
  if p.id is null then
    raise exception 'the lease on publication % at epoch % is lost', p_publication, p_epoch using errcode = 'VC002';
  end if;
  perform voice_clone.acknowledge_messages('consent_anchors', array[p_message_id]) where p_message_id is not null;
  update voice_clone.anchor_publications x
  set signed = coalesce(p_signed, x.signed), places = p_places, error_code = p_error_code, lease_expires_at = null,
      published_at = case when p_error_code is null then now() end,
      sweep_at = case when p_error_code is not null then voice_clone.publication_sweep_at(p) end
  where x.id = p.id;
end
$$;

-- Opens an anchor where an entry has waited long enough, and sends a message for each publication that is due, at most p_limit. One
-- with an error is postponed.
create function voice_clone.sweep_consent_anchors(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  p voice_clone.anchor_publications;
  v_messages jsonb[] := '{}';
  v_due timestamptz := now() - voice_clone.timeout('consent_anchor'); -- null: none is opened
begin
  for p in
    select * from voice_clone.anchor_publications x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      update voice_clone.anchor_publications x set sweep_at = voice_clone.publication_sweep_at(p) where x.id = p.id;
      v_messages := v_messages || voice_clone.queue_message('consent_anchors', p.id, p.anchor, null);
    exception when others then
      perform voice_clone.postpone_row('publication of an anchor', p.id, sqlerrm, sqlstate);
    end;
  end loop;
  perform voice_clone.send_messages('consent_anchors', v_messages, 0);
  if exists (select from voice_clone.anchored_consents w where w.anchor is null and w.recorded_at <= v_due) then
    perform voice_clone.anchor_consents();
  end if;
  return cardinality(v_messages);
end
$$;

-- How long the oldest entry waits that no published anchor covers, 0 where none does and null where anchors are switched off; and the last
-- error of those that are not published. Few rows are open: each is published soon, or an alert tells.
create function voice_clone.consent_anchors_state()
returns table (waiting_seconds float8, anchors int, unpublished int, error_code text, broken int)
language sql stable security definer set search_path = '' rows 1
as $$
  with open as materialized (
    select p.anchor, p.error_code from voice_clone.anchor_publications p where p.published_at is null order by p.anchor
  )
  select
    case when voice_clone.timeout('consent_anchor') is not null then extract(epoch from coalesce(now() - least(
      (select w.recorded_at from voice_clone.anchored_consents w where w.anchor is null order by w.recorded_at limit 1),
      (select min(w.recorded_at) from voice_clone.anchored_consents w where w.anchor = (select min(o.anchor) from open o))
    ), '0'))::float8 end,
    coalesce((select a.position from voice_clone.consent_anchors a order by a.position desc limit 1), 0),
    (select count(*) from open)::int,
    (select o.error_code from open o where o.error_code is not null order by o.anchor limit 1),
    (select greatest(c.found, c.broken) from voice_clone.consent_checks c)
$$;

grant execute on function
  voice_clone.claim_anchor(uuid),
  voice_clone.claimed_anchor(uuid),
  voice_clone.record_publication(uuid, int, text, text[], text, bigint),
  voice_clone.consent_anchors_state()
to voice_clone_backend;

-- For operators: anchors the entries that wait now, at most anchor_limit of them, and returns the anchor; 0 where none waits.
create function operations.anchor_consents() returns int
language sql security definer set search_path = ''
as $$ select coalesce(voice_clone.anchor_consents(), 0) $$;

-- For operators: the anchors after a position with their signatures, and what the database itself finds wrong with each.
create function operations.consent_anchors(p_after int default 0, p_limit int default 100)
returns table (anchor jsonb, signed text, published_at timestamptz, problem text)
language sql stable security definer set search_path = ''
as $$
  select voice_clone.anchor_contents(a), p.signed, p.published_at, b.problem
  from (select * from voice_clone.consent_anchors x where x.position > p_after
    order by x.position limit least(greatest(p_limit, 1), 500)) a
  left join voice_clone.anchor_publications p on p.anchor = a.position
  left join voice_clone.broken_anchors(p_after, least(greatest(p_limit, 1), 500)) b on b.position = a.position
  order by a.position
$$;

create function operations.consent_anchors_state()
returns table (waiting_seconds float8, anchors int, unpublished int, error_code text, broken int)
language sql stable security definer set search_path = '' rows 1
as $$ select * from voice_clone.consent_anchors_state() $$;

revoke all on function operations.anchor_consents(), operations.consent_anchors(int, int), operations.consent_anchors_state()
from public, anon, authenticated;
grant execute on function operations.anchor_consents() to service_role;
grant execute on function operations.consent_anchors(int, int), operations.consent_anchors_state() to service_role, voice_clone_backend;
