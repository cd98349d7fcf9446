-- fill --
-- so many slots are taken, and so many jobs of a hundred users wait
with cleared as materialized (
  delete from voice_clone.waiting_jobs
), waiting as (
  insert into voice_clone.waiting_jobs (job_id, user_id, queue, awaits, turn_at, max_jobs)
  select gen_random_uuid(), md5((n %% 100)::text)::uuid, 'voice_clone_process', 'slot', now() + n * interval '1 s', %(most)s
  from generate_series(1, %(waiting)s) n
)
insert into voice_clone.job_slots as s (number, job_id, user_id)
select n, case when n <= %(running)s then gen_random_uuid() end, case when n <= %(running)s then gen_random_uuid() end
from generate_series(1, %(most)s) n
on conflict (number) do update set job_id = excluded.job_id, user_id = excluded.user_id

-- floor --
-- the least that any counter does: one update of a row by its key
update voice_clone.job_slots s set job_id = null, user_id = null where s.number = %(most)s

-- taken_and_freed --
-- what a claim and the end of its job do with the last slot
select voice_clone.take_job_slot(%(job)s, %(user)s, 'voice_clone_process', null, 4, %(most)s),
  voice_clone.release_job_slot(%(job)s, %(user)s)

-- waited_and_handed_over --
-- a claim that finds no slot, and the end of a job that hands its slot to the first one that waits, with its message
select voice_clone.take_job_slot(%(job)s, %(user)s, 'voice_clone_process', null, 1000, %(most)s),
  voice_clone.release_job_slot(s.job_id, s.user_id)
from voice_clone.job_slots s order by s.number limit 1

-- take --
-- as a claim does
select voice_clone.take_job_slot(%(job)s, %(user)s, 'voice_clone_process', null, 4, %(most)s)

-- running --
-- how many jobs have a slot at this moment
select count(*) from voice_clone.job_slots s where s.job_id is not null

-- release --
-- also of a job that waits
select voice_clone.release_job_slot(%(job)s, %(user)s)
