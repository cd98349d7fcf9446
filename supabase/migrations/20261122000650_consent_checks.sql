-- Checks of the consents: whether each person's chain is as it was written.

-- The entries of some chains that are not as they were written, with the first reason found. An entry that is missing at the
-- end of a chain has no id.
create function voice_clone.broken_consents(p_persons uuid[])
returns table (person_id uuid, "position" int, consent_id uuid, problem text)
language sql stable security definer set search_path = ''
as $$
  with entries as (
    select c.*, voice_clone.consent_hash(c) as computed,
      lag(c.hash, 1, '\x00') over chain as hash_before, lag(c.recorded_at) over chain as recorded_before,
      row_number() over chain as place
    from public.voice_consents c where c.person_id = any (p_persons)
    window chain as (partition by c.person_id order by c.position)
  ), found as (
    select e.person_id, e.position, e.id as consent_id, case
      when e.position <> e.place then 'an entry before it is missing'
      when e.computed is distinct from e.hash then 'its contents or its statement were changed'
      when e.previous_hash <> e.hash_before then 'the entry before it was changed'
      when e.recorded_at <= e.recorded_before then 'it is older than the entry before it'
      when e.revokes is not null and not exists (
        select from public.voice_consents s
        where s.id = e.revokes and s.person_id = e.person_id and s.revokes is null and s.position < e.position)
        then 'it revokes no earlier signature of the chain'
    end as problem
    from entries e
    union all
    select k.person_id, k.position, null, 'the last entry is missing, or was changed'
    from voice_clone.consent_chains k
    left join public.voice_consents c on c.person_id = k.person_id and c.position = k.position
    where k.person_id = any (p_persons) and k.position > 0 and c.hash is distinct from k.hash
    union all
    select k.person_id, l.position, l.id, 'an entry was added without its chain'
    from voice_clone.consent_chains k
    join public.voice_consents l on l.person_id = k.person_id and l.position > k.position
    where k.person_id = any (p_persons)
    union all
    select e.person_id, e.position, e.id, 'no anchor will cover it'
    from entries e where not exists (select from voice_clone.anchored_consents w where w.consent_id = e.id)
  )
  select f.person_id, f.position, f.consent_id, f.problem from found f
  where f.problem is not null order by f.person_id, f.position, f.consent_id
$$;

-- Where the check that runs with the sweep is: one row.
create table voice_clone.consent_checks (
  is_only boolean primary key default true check (is_only),
  after_person uuid,
  after_anchor int not null default 0,
  found int not null default 0,
  broken int not null default 0,
  due_at timestamptz not null default now()
);
comment on column voice_clone.consent_checks.after_person is 'the last person of the part that was checked; null before a new round';
comment on column voice_clone.consent_checks.after_anchor is 'the last anchor that was checked in this round';
comment on column voice_clone.consent_checks.found is 'how many entries and anchors are broken, of those that this round has checked; broken has those of the last round';
alter table voice_clone.consent_checks enable row level security;
revoke all on voice_clone.consent_checks from public, anon, authenticated, service_role;
insert into voice_clone.consent_checks default values;

create function voice_clone.next_persons(p_after uuid, p_limit int) returns uuid[]
language sql stable security definer set search_path = ''
as $$
  select array(
    select k.person_id from voice_clone.consent_chains k where p_after is null or k.person_id > p_after
    order by k.person_id limit p_limit)
$$;

create function voice_clone.broken_entries(p_persons uuid[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce((select jsonb_agg(to_jsonb(b)) from voice_clone.broken_consents(p_persons) b), '[]')
$$;

-- The next chains after a person, and how many there are.
create function voice_clone.check_consents(p_after uuid, p_limit int)
returns table (persons int, last_person uuid, broken jsonb)
language sql stable security definer set search_path = '' rows 1
as $$
  select cardinality(n.persons), n.persons[cardinality(n.persons)], voice_clone.broken_entries(n.persons)
  from voice_clone.next_persons(p_after, p_limit) n (persons)
$$;

-- For the sweep: checks the next chains, at most p_limit, and a tenth as many anchors, where that is due. Returns how many entries and
-- anchors are broken. Each round checks all of them; the next begins after the timeout consent_check. A chain that cannot be read is
-- named as an error of the sweep, and checked again in the next round.
create function voice_clone.sweep_consents(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  k voice_clone.consent_checks;
  v_persons uuid[];
  v_person uuid;
  v_found jsonb;
  v_broken jsonb := '[]';
  v_anchors int := ceil(p_limit / 10.0);
begin
  select * into k from voice_clone.consent_checks c where c.due_at <= now() for update skip locked;
  if not found then
    return 0;
  end if;
  v_persons := voice_clone.next_persons(k.after_person, p_limit);
  begin
    v_broken := voice_clone.broken_entries(v_persons);
  exception when others then -- each by itself, to find the one that stops the others
    foreach v_person in array v_persons loop
      begin
        v_found := voice_clone.broken_entries(array[v_person]);
        v_broken := v_broken || v_found;
      exception when others then
        perform voice_clone.postpone_row('consent chain', v_person, sqlerrm, sqlstate);
      end;
    end loop;
  end;
  v_broken := v_broken || coalesce(
    (select jsonb_agg(to_jsonb(b)) from voice_clone.broken_anchors(k.after_anchor, v_anchors) b), '[]');
  k.found := k.found + jsonb_array_length(v_broken);
  k.after_person := coalesce(v_persons[cardinality(v_persons)], k.after_person);
  k.after_anchor := k.after_anchor + v_anchors;
  if cardinality(v_persons) < p_limit and not exists (select from voice_clone.consent_anchors a where a.position > k.after_anchor) then
    update voice_clone.consent_checks c
    set after_person = null, after_anchor = 0, found = 0, broken = k.found, due_at = now() + voice_clone.timeout('consent_check');
  else
    update voice_clone.consent_checks c set after_person = k.after_person, after_anchor = k.after_anchor, found = k.found;
  end if;
  if v_broken <> '[]' then
    raise warning 'broken consents: %', v_broken;
  end if;
  return jsonb_array_length(v_broken);
end
$$;

grant execute on function voice_clone.check_consents(uuid, int) to voice_clone_backend;

create function operations.check_consents(p_after uuid default null, p_limit int default 500)
returns table (persons int, last_person uuid, broken jsonb)
language sql stable security definer set search_path = '' rows 1
as $$ select * from voice_clone.check_consents(p_after, least(greatest(p_limit, 1), 1000)) $$;
revoke all on function operations.check_consents(uuid, int) from public, anon, authenticated;
grant execute on function operations.check_consents(uuid, int) to service_role, voice_clone_backend;
