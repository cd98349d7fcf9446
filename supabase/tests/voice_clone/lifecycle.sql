-- Invariants of the lifecycle, on rows that are rolled back: one active attempt, only the edges, one event a transition, and the
-- guard of a claim; and that users see their own rows alone. For `supabase test db`.
begin;
select plan(17);

create temp table made (what text primary key, id uuid not null default gen_random_uuid());
grant select on made to authenticated, anon;
insert into made (what) values ('ada'), ('bo'), ('attempt'), ('sample'), ('claimed'), ('reflection'), ('first'), ('second');

create function pg_temp.the(p_what text) returns uuid language sql as $$ select id from made where what = p_what $$;

-- An attempt whose sample is ready, queued.
create function pg_temp.queue_attempt(p_attempt uuid, p_user uuid, p_consent uuid, p_reflection uuid) returns void
language plpgsql as $$
declare
  s record;
begin
  perform voice_clone.open_attempt(
    p_attempt, p_user, p_consent, p_reflection, 'local', '', p_user || '/' || p_attempt || '/sample.wav', 'audio/wav', 1000, true);
  select * into s from voice_clone.claim_upload(p_attempt, p_user, 'worker');
  perform voice_clone.complete_sample(
    s.sample_id, s.lease_epoch, 'audio/wav', 1000, '{}', p_user || '/' || p_attempt || '/prepared.wav', 2000);
  perform voice_clone.queue_attempt(p_attempt, p_user, 'Ada', 'en', 'hello', 0);
end
$$;
-- In this application's table there may be columns that only the application can fill.
create function pg_temp.add_reflection() returns boolean language plpgsql as $$
begin
  insert into public.reflections (id, user_id) values (pg_temp.the('reflection'), pg_temp.the('ada'));
  return true;
exception when not_null_violation then
  begin
    insert into public.reflections (id, user_id, name) values (pg_temp.the('reflection'), pg_temp.the('ada'), 'Ada');
    return true;
  exception when others then
    return false;
  end;
when others then
  return false;
end
$$;
create function pg_temp.become(p_role text, p_user uuid) returns void language plpgsql as $$
begin
  perform set_config('request.jwt.claims', json_build_object('sub', p_user, 'role', p_role)::text, true);
  perform set_config('role', p_role, true);
end
$$;

insert into auth.users (id, email) select id, what || '-' || id || '@example.org' from made where what in ('ada', 'bo');
create temp table consent as
  select c.id from voice_clone.sign_consent(pg_temp.the('ada'), 'voice_clone', 'en', 'self', null, 1) c;
select lives_ok(
  $$select pg_temp.queue_attempt(pg_temp.the('attempt'), pg_temp.the('ada'), (select id from consent), null)$$,
  'a sample under a consent is queued');

-- Invariant 2: only the edges.
select throws_ok(
  $$update public.voice_clone_attempts set status = 'ready' where id = pg_temp.the('attempt')$$, 'VC001', null,
  'no attempt becomes ready without its steps, whoever writes');
select throws_ok(
  $$select voice_clone.require_edge('status', 'expired', 'queued', pg_temp.the('attempt'))$$, 'VC001', null,
  'what is not a row of the edges is no transition');

-- Invariant 4: a write matches the claim's epoch, and the epoch grows.
create temp table claim as
  select c.lease_epoch as epoch from voice_clone.claim_attempt(pg_temp.the('attempt'), 'worker', 60, 4, true) c;
create temp table begun as
  select a.version from public.voice_clone_attempts a where a.id = pg_temp.the('attempt');
select is(
  (select status from public.voice_clone_attempts where id = pg_temp.the('attempt')), 'processing', 'a claim begins the work');
select throws_ok(
  $$select voice_clone.intend_enrollment(pg_temp.the('attempt'), (select epoch - 1 from claim), 'label_of_a_test', 'match', 60)$$,
  'VC002', null, 'a worker of an earlier claim writes nothing');
select throws_ok(
  $$update public.voice_clone_attempts set lease_epoch = lease_epoch - 1 where id = pg_temp.the('attempt')$$, null, null,
  'the epoch never goes back');
select is(
  (select count(*)::int from voice_clone.enrollments where attempt_id = pg_temp.the('attempt')), 0, 'so no create call was intended');

-- Invariant 3: a transition adds one to the version and one event, and sends its messages.
select is(
  (select version - (select version from begun) from public.voice_clone_attempts where id = pg_temp.the('attempt')), 0::bigint,
  'what was refused changed no version');
select is(
  (select count(*)::int from voice_clone.events where attempt_id = pg_temp.the('attempt')),
  (select version::int from public.voice_clone_attempts where id = pg_temp.the('attempt')), 'each version has its event');
select cmp_ok(
  (select count(*)::int from pgmq.q_voice_clone_process m where m.message ->> 'id' = pg_temp.the('attempt')::text),
  '>=', 1, 'the queue has its message');

-- Invariant 12: users see their own rows, and write none.
select pg_temp.become('authenticated', pg_temp.the('ada'));
select is((select count(*)::int from public.voice_clone_attempts where id = pg_temp.the('attempt')), 1, 'the owner sees the attempt');
select throws_ok(
  $$update public.voice_clone_attempts set status = 'ready' where id = pg_temp.the('attempt')$$, '42501', null,
  'and writes no column of it');
select pg_temp.become('authenticated', pg_temp.the('bo'));
select is_empty('select id from public.voice_clone_attempts', 'another user sees no attempt of it');
select is_empty('select id from public.voice_samples', 'and no sample');
select is_empty('select id from public.voice_consents', 'and no consent');
reset role;
select set_config('request.jwt.claims', '', true);

-- Invariant 1: of the attempts of a reflection, the one that was queued last is active.
create temp table reflects as select pg_temp.add_reflection() as can_be_added;
select case when can_be_added then
  lives_ok(
    $$select pg_temp.queue_attempt(pg_temp.the(w), pg_temp.the('ada'), (select id from consent), pg_temp.the('reflection'))
      from unnest('{first,second}'::text[]) w$$, 'a reflection is cloned twice')
  else skip('reflections has columns that only the application fills') end from reflects;
select case when can_be_added then
  results_eq(
    $$select id from public.voice_clone_attempts where reflection_id = pg_temp.the('reflection') and is_active$$,
    $$values (pg_temp.the('second'))$$, 'one attempt is active')
  else skip('reflections has columns that only the application fills') end from reflects;

select * from finish();
rollback;
