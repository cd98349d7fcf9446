-- Job slots: how many jobs (clones and speeches) are processed at once, over all processes: at most MAX_JOBS in all and
-- MAX_JOBS_PER_USER of one user. A job without a slot waits without a message and without a cost. The end of a job hands its
-- slot to the next one, in the same transaction, and sends that one's message.

create table voice_clone.job_slots (
  number int primary key,
  job_id uuid,
  user_id uuid
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on table voice_clone.job_slots is
  'as many rows as jobs may run at once; few enough to be read as a whole, so that no column that changes has an index';
comment on column voice_clone.job_slots.user_id is 'of the job; of an employee''s clone the organization, here and in waiting_jobs';
comment on column voice_clone.job_slots.job_id is 'what is processed, or will be when its message comes; null where the slot is free';
alter table voice_clone.job_slots enable row level security;
revoke all on voice_clone.job_slots from public, anon, authenticated, service_role;

create table voice_clone.waiting_jobs (
  job_id uuid primary key,
  user_id uuid not null,
  queue text not null,
  reflection_id uuid,
  awaits text not null check (awaits in ('user', 'slot')),
  turn_at timestamptz not null,
  max_jobs int not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on column voice_clone.waiting_jobs.awaits is
  'user: the end of another job of its user; slot: any free slot, and it counts for its user as if it had one';
comment on column voice_clone.waiting_jobs.turn_at is
  'the order in which slots are handed out: when it began to wait, and later for each other job that its user has';
create index waiting_jobs_turn_at_idx on voice_clone.waiting_jobs (turn_at) where awaits = 'slot';
create index waiting_jobs_user_id_idx on voice_clone.waiting_jobs (user_id, turn_at);
alter table voice_clone.waiting_jobs enable row level security;
revoke all on voice_clone.waiting_jobs from public, anon, authenticated, service_role;

-- Held shared by a transaction that frees a slot, and exclusively by one whose job begins to wait: so each waiting job is seen
-- by every later end of a job. Of two ends at once the second may leave its slot free although the first has just let a job of
-- its user wait for one: fill_job_slots hands that one over.
create function voice_clone.job_lock() returns bigint
language plpgsql immutable set search_path = ''
as $$
begin
  return hashtextextended('job slots', 0);
end
$$;

-- taken, user_busy or all_busy. A slot that another transaction is taking or freeing is skipped.
create function voice_clone.try_job_slot(p_job uuid, p_user uuid, p_user_cap int, p_max_jobs int) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_taken int;
  v_slots int;
  v_free int;
begin
  select count(*) filter (where s.user_id = p_user), count(*), count(*) filter (where s.job_id is null)
  into v_taken, v_slots, v_free
  from voice_clone.job_slots s;
  v_taken := v_taken + (
    select count(*) from voice_clone.waiting_jobs w where w.user_id = p_user and w.awaits = 'slot' and w.job_id <> p_job);
  if v_taken >= p_user_cap then
    return 'user_busy';
  end if;
  if v_slots >= p_max_jobs and v_free = 0 then
    return 'all_busy';
  elsif v_slots < p_max_jobs then
    insert into voice_clone.job_slots (number) select generate_series(1, p_max_jobs) on conflict do nothing;
  end if;
  update voice_clone.job_slots s set job_id = p_job, user_id = p_user
  where s.number = (
    select f.number from voice_clone.job_slots f where f.job_id is null and f.number <= p_max_jobs
    limit 1 for no key update skip locked);
  return case when found then 'taken' else 'all_busy' end;
end
$$;

-- Claims of one user come one at a time, so that two cannot both take the last place.
create function voice_clone.lock_jobs_of(p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('claim:' || p_user::text, 0));
end
$$;

-- A slot for a job that is about to be processed; its row is locked by the caller. Where none is free the job waits from now on,
-- and the caller ends without a claim: user_busy or all_busy. p_queue is where its message goes when its turn comes.
create function voice_clone.take_job_slot(
  p_job uuid, p_user uuid, p_queue text, p_reflection uuid, p_user_cap int, p_max_jobs int
) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  c_turn constant interval := '30 seconds'; -- for each other job of the user
  v_outcome text;
  v_has_slot boolean;
  v_waits boolean;
  v_is_free boolean; -- a slot is, so it seems
begin
  perform voice_clone.lock_jobs_of(p_user);
  select coalesce(bool_or(s.job_id = p_job), false), voice_clone.is_waiting_job(p_job),
    count(*) < p_max_jobs or bool_or(s.job_id is null)
  into v_has_slot, v_waits, v_is_free
  from voice_clone.job_slots s;
  if v_has_slot then -- it was handed over
    return 'taken';
  elsif v_is_free and not v_waits then
    -- Undone where it takes none: it may have locked a slot that was taken meanwhile, and the end of that job would wait for it.
    begin
      v_outcome := voice_clone.try_job_slot(p_job, p_user, p_user_cap, p_max_jobs);
      if v_outcome <> 'taken' then
        raise no_data_found using message = 'no slot is free';
      end if;
    exception when no_data_found then
      v_outcome := null;
    end;
  end if;
  if v_outcome is distinct from 'taken' then
    -- Again, after the jobs that are ending now: one of them may hand its slot to this one, if it waited.
    perform pg_advisory_xact_lock(voice_clone.job_lock());
    if exists (select from voice_clone.job_slots s where s.job_id = p_job) then
      return 'taken';
    end if;
    v_outcome := voice_clone.try_job_slot(p_job, p_user, p_user_cap, p_max_jobs);
  end if;
  if v_outcome = 'taken' then
    delete from voice_clone.waiting_jobs w where w.job_id = p_job;
    return v_outcome;
  end if;
  insert into voice_clone.waiting_jobs as w (job_id, user_id, queue, reflection_id, awaits, turn_at, max_jobs)
  select p_job, p_user, p_queue, p_reflection, case v_outcome when 'user_busy' then 'user' else 'slot' end,
    now() + c_turn * (
      (select count(*) from voice_clone.job_slots s where s.user_id = p_user)
      + (select count(*) from voice_clone.waiting_jobs x where x.user_id = p_user)), p_max_jobs
  on conflict (job_id) do update set awaits = excluded.awaits, max_jobs = excluded.max_jobs;
  return v_outcome;
end
$$;

-- Hands a slot to the job that is next, and sends its message; without one, the slot is free.
create function voice_clone.hand_over_job_slot(p_number int) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  w voice_clone.waiting_jobs;
begin
  delete from voice_clone.waiting_jobs x
  where x.job_id = (
    select n.job_id from voice_clone.waiting_jobs n where n.awaits = 'slot' and n.max_jobs >= p_number
    order by n.turn_at limit 1 for update skip locked)
  returning * into w;
  update voice_clone.job_slots s set job_id = w.job_id, user_id = w.user_id where s.number = p_number;
  if w.job_id is not null then
    perform pgmq.send(w.queue, voice_clone.queue_message(w.queue, w.job_id, 1, w.reflection_id), 0);
    perform voice_clone.notify('voice_clone_wake', w.queue);
  end if;
end
$$;

-- The job has ended, or no longer waits: its slot, or its place among those that wait for one, goes to the next.
create function voice_clone.release_job_slot(p_job uuid, p_user uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_number int;
  v_awaits text;
begin
  perform pg_advisory_xact_lock_shared(voice_clone.job_lock());
  select s.number into v_number from voice_clone.job_slots s where s.job_id = p_job;
  if v_number is null then
    delete from voice_clone.waiting_jobs w where w.job_id = p_job returning w.awaits into v_awaits;
    if v_awaits is distinct from 'slot' then
      return;
    end if;
  end if;
  update voice_clone.waiting_jobs w set awaits = 'slot'
  where w.job_id = (
    select n.job_id from voice_clone.waiting_jobs n where n.user_id = p_user and n.awaits = 'user'
    order by n.turn_at limit 1 for update skip locked);
  perform voice_clone.hand_over_job_slot(v_number) where v_number is not null;
end
$$;

-- Jobs that wait come and go faster than they are counted: where the planner believes that there are few, it reads and sorts all of them to
-- find the first. Without these plan types it walks the index to the first.
alter function voice_clone.hand_over_job_slot(int) set enable_sort = off;
alter function voice_clone.hand_over_job_slot(int) set enable_bitmapscan = off;
alter function voice_clone.hand_over_job_slot(int) set enable_seqscan = off;

create function voice_clone.release_attempt_slot() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.release_job_slot(old.id, coalesce(old.user_id, old.org_id));
  return null;
end
$$;
create trigger voice_clone_attempts_release_slot after update on public.voice_clone_attempts
  for each row when (
    (old.status = 'processing' and new.status <> 'processing') or (old.status = 'queued' and new.status = 'cancelled'))
  execute function voice_clone.release_attempt_slot();

-- Whether a job waits for its turn: its message comes then, and no other is needed.
create function voice_clone.is_waiting_job(p_job uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (select from voice_clone.waiting_jobs w where w.job_id = p_job);
end
$$;

-- For the sweep: jobs wait although slots are free, as after a change of MAX_JOBS. Returns how many slots were handed over.
create function voice_clone.fill_job_slots() returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_numbers int[];
begin
  if not exists (select from voice_clone.waiting_jobs)
    or not exists (select from voice_clone.job_slots s where s.job_id is null)
    or not pg_try_advisory_xact_lock(voice_clone.job_lock())
  then
    return 0;
  end if;
  update voice_clone.waiting_jobs w set awaits = 'slot'
  where w.job_id in (
    select distinct on (n.user_id) n.job_id from voice_clone.waiting_jobs n
    where n.awaits = 'user' and not exists (select from voice_clone.job_slots s where s.user_id = n.user_id)
      and not exists (select from voice_clone.waiting_jobs o where o.user_id = n.user_id and o.awaits = 'slot')
    order by n.user_id, n.turn_at);
  v_numbers := array(
    select s.number from voice_clone.job_slots s
    where s.job_id is null and s.number <= (select max(w.max_jobs) from voice_clone.waiting_jobs w where w.awaits = 'slot')
    order by s.number limit (select count(*) from voice_clone.waiting_jobs w where w.awaits = 'slot')
    for no key update skip locked);
  perform voice_clone.hand_over_job_slot(n) from unnest(v_numbers) n;
  return cardinality(v_numbers);
end
$$;
