-- consents_revoked --
-- one that attempts rely on, with a voice if has_voice and there is one
with chosen as materialized (
  select c.id, c.user_id from public.voice_consents c
  join public.voice_samples s on s.consent_id = c.id and s.user_id = c.user_id
  join public.voice_clone_attempts a on a.sample_id = s.id
  where not exists (select from public.voice_consents x where x.revokes = c.id)
  order by (a.status = 'ready') = %(has_voice)s desc, random() limit 1
)
select r.revokes from chosen cross join lateral voice_clone.revoke_consent(chosen.id, chosen.user_id) r

-- voices_deleted --
-- one that can be used
with chosen as materialized (
  select v.id, v.user_id from public.voices v where v.deleted_at is null order by random() limit 1
)
select chosen.id from chosen cross join lateral voice_clone.delete_voice(chosen.id, chosen.user_id) d where d

-- reflections_given --
-- one with an attempt, to another user who has signed; each reflection once
with chosen as materialized (
  select r.id, r.user_id from public.reflections r
  join public.voice_clone_attempts a on a.reflection_id = r.id and a.is_active
  where not exists (
    select from public.voice_clone_attempts x where x.reflection_id = r.id and x.user_id is distinct from r.user_id)
  order by (a.status = 'ready') = %(has_voice)s desc, random() limit 1
), taker as materialized (
  select c.user_id from public.voice_consents c, chosen where c.user_id <> chosen.user_id order by random() limit 1
)
update public.reflections r set user_id = taker.user_id from chosen, taker where r.id = chosen.id returning r.id

-- users_deleted --
-- one with attempts, in Auth
with chosen as materialized (
  select a.user_id from public.voice_clone_attempts a where a.user_id is not null
  order by (a.status = 'ready') = %(has_voice)s desc, random() limit 1
)
delete from auth.users u using chosen where u.id = chosen.user_id returning u.id

-- retention --
-- how long a deleted voice stays at its provider
update voice_clone.timeouts set value = make_interval(secs => %(seconds)s) where name = 'deleted_voice'
