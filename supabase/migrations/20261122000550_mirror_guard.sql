-- Guard of the mirror: only the function that writes the mirror may change its keys in reflections.voice and employees.voice,
-- and employees.voice_id.
--
-- That function shows the guard a pass in a setting of its transaction. Anyone may set a setting, but a pass is computed from
-- a key that only the owner of this schema reads. A pass is of no use in another transaction, nor to a trigger of the
-- application that writes such a row while the mirror does: its write is one trigger deeper.

create table voice_clone.mirror_key (
  is_only boolean primary key default true check (is_only),
  key uuid not null
);
alter table voice_clone.mirror_key enable row level security;
revoke all on voice_clone.mirror_key from public, anon, authenticated, service_role;
insert into voice_clone.mirror_key (key) values (gen_random_uuid());

-- The pass of this transaction for triggers at this depth. Whoever may execute this may write the mirror's keys: nobody
-- but the owner. Null without a key, and then nothing is written.
create function voice_clone.mirror_pass(p_trigger_depth int) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  return (
    select encode(sha256(convert_to(
      format('%s %s %s', k.key, pg_current_xact_id(), p_trigger_depth), 'utf8')), 'hex')
    from voice_clone.mirror_key k);
end
$$;
revoke all on function voice_clone.mirror_pass(int) from public, anon, authenticated, service_role;

-- A voice without a mirror gets the first one, and keeps the keys of the application. Of a mirror that shows an attempt these are other
-- values, which the guard refuses.
create function voice_clone.add_first_mirror() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.voice := voice_clone.first_mirror() || coalesce(new.voice, '{}');
  return new;
end
$$;
revoke all on function voice_clone.add_first_mirror() from public, anon, authenticated, service_role;
create trigger voice_clone_add_first_mirror before insert or update of voice on public.reflections
  for each row when (coalesce(new.voice, '{}') ? 'cloneStatus' is not true) execute function voice_clone.add_first_mirror();
create trigger voice_clone_add_first_mirror before insert or update of voice on public.employees
  for each row when (coalesce(new.voice, '{}') ? 'cloneStatus' is not true) execute function voice_clone.add_first_mirror();

-- Refuses a change of the keys that only the mirror writes; every other key is the application's. A key that is missing counts as
-- that of the first mirror: the voice may be of before these migrations.
create function voice_clone.protect_mirror_keys() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_first jsonb := voice_clone.first_mirror();
  v_before jsonb := v_first || case tg_op when 'UPDATE' then coalesce(old.voice, '{}') else '{}' end;
  v_after jsonb := v_first || coalesce(new.voice, '{}');
begin
  if exists (
      select from unnest(tg_argv::text[]) k (key)
      where v_before -> k.key is distinct from v_after -> k.key
    )
    and (current_setting('voice_clone.mirror_pass', true) = voice_clone.mirror_pass(pg_trigger_depth())) is not true
  then
    raise exception 'only the mirror writes these keys of voice: %', array_to_string(tg_argv::text[], ', ')
      using errcode = '42501';
  end if;
  return null;
end
$$;
revoke all on function voice_clone.protect_mirror_keys() from public, anon, authenticated, service_role;

-- After, so that it sees what a BEFORE trigger of the application makes of the row.
create trigger voice_clone_protect_mirror_keys after insert or update on public.reflections
  for each row execute function voice_clone.protect_mirror_keys(
    'cloneStatus', 'runtimeStatus', 'previewStatus', 'previewRequired', 'attemptId', 'voiceId',
    'provider', 'targetModel', 'error', 'version', 'updatedAt');
create trigger voice_clone_protect_mirror_keys after insert or update on public.employees
  for each row execute function voice_clone.protect_mirror_keys(
    'cloneStatus', 'runtimeStatus', 'previewStatus', 'previewRequired', 'attemptId', 'voiceId',
    'provider', 'targetModel', 'error', 'version', 'updatedAt');

-- Refuses a change of the id of an employee's voice by anyone but the mirror.
create function voice_clone.protect_voice_id() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if (current_setting('voice_clone.mirror_pass', true) = voice_clone.mirror_pass(pg_trigger_depth())) is not true then
    raise exception 'only the mirror writes the voice_id of an employee' using errcode = '42501';
  end if;
  return null;
end
$$;
revoke all on function voice_clone.protect_voice_id() from public, anon, authenticated, service_role;
create trigger voice_clone_protect_voice_id after insert on public.employees
  for each row when (new.voice_id is not null) execute function voice_clone.protect_voice_id();
create trigger voice_clone_protect_voice_id_again after update on public.employees
  for each row when (new.voice_id is distinct from old.voice_id) execute function voice_clone.protect_voice_id();
