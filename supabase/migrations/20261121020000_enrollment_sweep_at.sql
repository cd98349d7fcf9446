-- Enrollments, anew: when the sweep next looks at one. An orphan is not removed the moment it is one: it waits
-- for its grace time, is looked at once more, and the intent to remove it is committed before the provider's call.

set local lock_timeout = '5s';

insert into voice_clone.times (name, value, purpose) values
  ('orphan_grace', '24 hours', 'an orphan is removed at its provider after so long, and another look');

update voice_clone.edges set follow_ups = '{}' where machine = 'enrollment';
delete from voice_clone.edges where machine = 'enrollment' and from_status = 'orphaned' and to_status = 'removed';
insert into voice_clone.edges (machine, from_status, to_status, event) values
  ('enrollment', 'orphaned', 'removing', 'removing'),
  ('enrollment', 'removing', 'removed', 'removed');

alter table voice_clone.enrollments
  add column orphaned_at timestamptz,
  add column sweep_at timestamptz,
  drop constraint enrollments_status_check,
  add constraint enrollments_status_check check (status in (
    'intended', 'unknown', 'attached', 'closed', 'orphaned', 'removing', 'removed')),
  drop constraint enrollments_voice,
  add constraint enrollments_voice check (
    status not in ('attached', 'orphaned', 'removing', 'removed') or provider_voice_id is not null);
comment on column voice_clone.enrollments.sweep_at is
  'when the sweep next has this enrollment cleaned up if nothing else happens; null where nothing is to be done';

create index enrollments_sweep_at_idx on voice_clone.enrollments (sweep_at) where sweep_at is not null;
drop index voice_clone.enrollments_orphaned_idx;
create index enrollments_orphaned_at_idx on voice_clone.enrollments (orphaned_at) where status in ('orphaned', 'removing');

-- Since when cleaning up is due: an open outcome is settled, the grace of an orphan is over, a removal was begun.
create function voice_clone.cleanup_time(e voice_clone.enrollments) returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    when e.status in ('intended', 'unknown') then e.settles_at
    when e.status = 'orphaned' then e.orphaned_at + voice_clone.time_of('orphan_grace')
    when e.status = 'removing' then e.updated_at
  end;
end
$$;

create or replace function voice_clone.guard_enrollment() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.edge('enrollment', '', new.status, new.id);
    new.sweep_at := voice_clone.cleanup_time(new);
    return new;
  end if;
  if old.provider_voice_id is not null and new.provider_voice_id is distinct from old.provider_voice_id then
    raise exception 'enrollment % made the voice %, and no other', new.id, old.provider_voice_id using errcode = 'VC001';
  end if;
  if new.status = old.status and new.settles_at = old.settles_at and new.sweep_at is distinct from old.sweep_at then
    return new; -- the sweep's own bookkeeping
  end if;
  new.updated_at := now();
  if new.status <> old.status then
    perform voice_clone.edge('enrollment', old.status, new.status, new.id);
    new.orphaned_at := case new.status when 'orphaned' then now() else new.orphaned_at end;
  end if;
  -- A removal is asked for again when its worker must be dead; anything else when it is due.
  new.sweep_at := voice_clone.cleanup_time(new)
    + case new.status when 'removing' then voice_clone.time_of('lost_message') else interval '0' end;
  return new;
end
$$;

-- Enrollments from before there was a sweep; the guard sets the time.
update voice_clone.enrollments e set orphaned_at = e.updated_at where e.status = 'orphaned';
update voice_clone.enrollments e set settles_at = e.settles_at where e.status in ('intended', 'unknown');
