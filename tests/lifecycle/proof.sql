-- Schema proof: the outside eye of the property test. Only test databases have it.
--
-- watch()   everything that the invariants speak of, as one document
-- travel()  moves every stored time into the past, which is what a wait looks like
-- forget()  an empty database again, without a new one

create schema proof;

-- The tables whose times travel along: all their timestamps, for a row only knows differences.
create table proof.travellers (relation regclass primary key);
insert into proof.travellers values
  ('public.voice_clone_attempts'), ('voice_clone.deadlines'), ('voice_clone.previews'), ('voice_clone.enrollments'), ('voice_clone.deferred_messages'),
  ('public.voices'), ('public.speech_jobs'), ('voice_clone.object_removals'), ('voice_clone.uploads'), ('public.voice_samples'),
  ('voice_clone.waiting_jobs'), ('voice_clone.erasures'), ('voice_clone.erasure_places'), ('public.webhooks'), ('public.webhook_deliveries');

create function proof.travel(p_seconds float8) returns void
language plpgsql set session_replication_role = 'replica'
as $$
declare
  v_ago interval := make_interval(secs => p_seconds);
  v_table regclass;
  v_sets text;
begin
  for v_table, v_sets in
    select t.relation, string_agg(format('%I = %I - $1', c.attname, c.attname), ', ')
    from proof.travellers t
    join pg_attribute c on c.attrelid = t.relation and c.atttypid = 'timestamptz'::regtype and not c.attisdropped
    group by t.relation
  loop
    execute format('update %s set %s', v_table, v_sets) using v_ago;
  end loop;
  update voice_clone.voice_checks set claimed_at = claimed_at - v_ago; -- when it is due, the test says
  for v_table in select format('pgmq.q_%s', q.name)::regclass from voice_clone.queues q loop
    execute format('update %s set vt = vt - $1', v_table) using v_ago;
  end loop;
  update voice_clone.events e
  set recorded_at = e.recorded_at - v_ago,
      changes = (
        select jsonb_object_agg(c.key, case
          when c.key = any (times.names) and c.value not in ('null', 'true') then to_jsonb((c.value #>> '{}')::timestamptz - v_ago)
          else c.value end)
        from jsonb_each(e.changes) c)
  from (
    select array_agg(a.attname::text) as names from pg_attribute a
    where a.attrelid = 'public.voice_clone_attempts'::regclass and a.atttypid = 'timestamptz'::regtype
  ) times;
  update public.reflections r
  set voice = r.voice || jsonb_build_object('updatedAt', voice_clone.utc_text((r.voice ->> 'updatedAt')::timestamptz - v_ago))
  where r.voice ->> 'updatedAt' is not null;
end
$$;

create function proof.forget() returns void
language plpgsql set session_replication_role = 'replica'
as $$
declare
  v_queue text;
begin
  delete from public.voice_sessions;
  delete from public.speech_jobs;
  delete from public.webhook_deliveries;
  delete from voice_clone.webhook_secrets;
  delete from public.webhooks;
  delete from public.voices;
  delete from voice_clone.voice_checks;
  delete from voice_clone.enrollments;
  delete from voice_clone.events;
  delete from voice_clone.deadlines;
  delete from voice_clone.enrolling_attempts;
  delete from voice_clone.previews;
  delete from voice_clone.uploads;
  delete from voice_clone.job_slots;
  delete from voice_clone.waiting_jobs;
  delete from public.voice_clone_attempts;
  delete from public.voice_samples;
  delete from public.voice_consents;
  delete from voice_clone.consent_chains;
  delete from voice_clone.object_removals;
  delete from voice_clone.takedowns;
  delete from voice_clone.erasure_places;
  delete from voice_clone.erasures;
  delete from public.reflections;
  delete from voice_clone.deferred_messages;
  delete from voice_clone.dead_letters;
  for v_queue in select q.name from voice_clone.queues q loop
    execute format('delete from pgmq.%I', 'q_' || v_queue);
    execute format('delete from pgmq.%I', 'a_' || v_queue);
  end loop;
end
$$;

-- What the signed-in client of this connection finds of others: rows of each kind that are not its own. Nothing, while 12 holds.
-- A view with the rights of its reader, so that a prepared query keeps its plan.
create view proof.others_seen with (security_invoker) as
  select auth.uid() as user_id, (select count(*) from public.voice_clone_attempts where user_id is distinct from auth.uid())
    + (select count(*) from public.speech_jobs where user_id is distinct from auth.uid())
    + (select count(*) from public.webhooks where user_id is distinct from auth.uid())
    + (select count(*) from public.webhook_deliveries where user_id is distinct from auth.uid())
    + (select count(*) from public.voices where user_id is distinct from auth.uid())
    + (select count(*) from public.voice_samples where user_id is distinct from auth.uid())
    + (select count(*) from public.voice_consents where user_id is distinct from auth.uid())
    + (select count(*) from public.reflections where user_id is distinct from auth.uid()) as others;
grant usage on schema proof to authenticated;
grant select on proof.others_seen to authenticated;

-- An acknowledged message is deleted; here it goes to the archive of its queue, which nothing else fills.
create function proof.keep_deleted() returns trigger
language plpgsql security definer
as $$
begin
  execute format('insert into pgmq.%I (msg_id, read_ct, enqueued_at, vt, message) values ($1, $2, $3, $4, $5)',
    'a' || substr(tg_table_name, 2)) using old.msg_id, old.read_ct, old.enqueued_at, old.vt, old.message;
  return null;
end
$$;
do $$
declare
  v_queue text;
begin
  for v_queue in select q.name from voice_clone.queues q loop
    execute format('create trigger keep_deleted after delete on pgmq.%I for each row'
      ' execute function proof.keep_deleted()', 'q_' || v_queue);
  end loop;
end
$$;

do $$
begin
  execute (
    select 'create view proof.messages as ' || string_agg(format(
      'select %L as queue, msg_id as number, message -> ''id'' as id, message -> ''version'' as version, false as archived,
         vt <= now() as visible from pgmq.%I
       union all select %L, msg_id, message -> ''id'', message -> ''version'', true, vt <= now() from pgmq.%I',
      q.name, 'q_' || q.name, q.name, 'a_' || q.name), ' union all ')
    from voice_clone.queues q);
end
$$;

-- p_after is the last event that was seen: only attempts with newer ones are replayed again. Events after p_read alone are read.
create function proof.watch(p_after bigint, p_read bigint) returns jsonb
language plpgsql -- which keeps its plan
as $$
begin
  return jsonb_build_object(
    'attempts', (select coalesce(jsonb_agg(to_jsonb(a) order by a.created_at, a.id), '[]') from public.voice_clone_attempts a),
    'deadlines', (select coalesce(jsonb_agg(to_jsonb(d)), '[]') from voice_clone.deadlines d),
    'due', (select coalesce(jsonb_agg(d.attempt_id order by d.sweep_at), '[]') from voice_clone.deadlines d where d.sweep_at <= now()),
    'misfiled', (select coalesce(jsonb_agg(coalesce(a.id, n.attempt_id)), '[]')
                 from public.voice_clone_attempts a full join voice_clone.enrolling_attempts n on n.attempt_id = a.id
                 where (a.status in ('awaiting_upload', 'queued', 'processing')) is distinct from (n.attempt_id is not null)
                   or (n.attempt_id is not null and (a.user_id, a.org_id, a.provider, a.region)
                     is distinct from (n.user_id, n.org_id, n.provider, n.region))),
    'misreplayed', (select coalesce(jsonb_agg(a.id), '[]') from public.voice_clone_attempts a
                    where exists (select from voice_clone.events e where e.attempt_id = a.id and e.id > p_after)
                      and voice_clone.replay(a.id) is distinct from a),
    'events', (select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('changes', voice_clone.event_changes(e)) order by e.id), '[]')
               from voice_clone.events e where e.id > p_read),
    'enrollments', (select coalesce(jsonb_agg(to_jsonb(e) order by e.created_at), '[]') from voice_clone.enrollments e),
    'voices', (select coalesce(jsonb_agg(to_jsonb(v)), '[]') from public.voices v),
    'speeches', (select coalesce(jsonb_agg(to_jsonb(j) order by j.created_at, j.id), '[]') from public.speech_jobs j),
    'webhooks', (select coalesce(jsonb_agg(to_jsonb(w) order by w.created_at), '[]') from public.webhooks w),
    'deliveries', (select coalesce(jsonb_agg(to_jsonb(d) order by d.event_id), '[]') from public.webhook_deliveries d),
    'reflections', (select coalesce(jsonb_agg(to_jsonb(r) || jsonb_build_object('gate', g.launchable)), '[]')
                    from public.reflections r, voice_clone.launch_gate(r.id, r.user_id) g),
    'uncovered', (select coalesce(jsonb_agg(s.id), '[]') from public.voice_samples s
                  where s.user_id is not null and not exists (
                    select from public.voice_consents c
                    where c.id = s.consent_id and c.user_id = s.user_id and c.revokes is null
                      and (c.subject_kind = 'self' or c.subject_id = s.reflection_id or s.reflection_id is null)
                      and not exists (select from public.voice_consents r
                                      where r.revokes = c.id and r.recorded_at < s.created_at))),
    'samples', (select coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object('is_revoked', exists (
                  select from public.voice_consents r where r.revokes = s.consent_id))), '[]') from public.voice_samples s),
    'messages', (select coalesce(jsonb_agg(to_jsonb(m)), '[]') from proof.messages m),
    'job_slots', (select coalesce(jsonb_agg(to_jsonb(s)), '[]') from voice_clone.job_slots s),
    'takedowns', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from voice_clone.takedowns t),
    'waiting_jobs', (select coalesce(jsonb_agg(to_jsonb(w)), '[]') from voice_clone.waiting_jobs w));
end
$$;
