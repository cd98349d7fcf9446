-- Reflections: the AI personas of a user. `voice` is a mirror of lifecycle state that clients read.

create table public.reflections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id),
  name text not null check (length(name) between 1 and 120),
  voice jsonb not null default '{}' check (jsonb_typeof(voice) = 'object'),
  created_at timestamptz not null default now()
);

create index reflections_user_id_idx on public.reflections (user_id, created_at desc);

alter table public.reflections enable row level security;
revoke all on public.reflections from public, anon, authenticated, service_role;
grant select, delete, insert (id, name), update (name) on public.reflections to authenticated;
grant select, insert, update, delete on public.reflections to service_role;
grant select, update (voice) on public.reflections to voice_clone_mirror;

create policy "Owners read their reflections" on public.reflections
  for select to authenticated using (user_id = (select auth.uid()));
create policy "Owners add reflections of their own" on public.reflections
  for insert to authenticated with check (user_id = (select auth.uid()));
create policy "Owners rename their reflections" on public.reflections
  for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "Owners delete their reflections" on public.reflections
  for delete to authenticated using (user_id = (select auth.uid()));
create policy "The mirror reads every reflection" on public.reflections
  for select to voice_clone_mirror using (true);
create policy "The mirror writes every reflection" on public.reflections
  for update to voice_clone_mirror using (true) with check (true);

-- Refuses a change of the keys that only the mirror writes; every other key is the application's.
-- Invoker on purpose: current_user tells who writes.
create function voice_clone.protect_mirror_keys() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_before jsonb := case tg_op when 'UPDATE' then old.voice else '{}' end;
begin
  if current_user <> 'voice_clone_mirror'
    and exists (
      select from unnest(tg_argv::text[]) k (key)
      where v_before -> k.key is distinct from new.voice -> k.key
    )
  then
    raise exception 'only the mirror writes these keys of voice: %', array_to_string(tg_argv::text[], ', ')
      using errcode = '42501';
  end if;
  return new;
end
$$;

create trigger voice_clone_protect_mirror_keys before insert or update of voice on public.reflections
  for each row execute function voice_clone.protect_mirror_keys(
    'cloneStatus', 'runtimeStatus', 'previewStatus', 'previewRequired', 'attemptId', 'voiceId',
    'provider', 'targetModel', 'error', 'version', 'updatedAt');
