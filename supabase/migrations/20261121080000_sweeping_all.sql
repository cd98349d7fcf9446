-- Sweeping, anew: attempts, enrollments and idempotency keys in one run, each by a call that the database checks.
-- Trouble with one of the three keeps no other from being swept.

-- Counts by what was done, and nothing where nothing was due. At most p_limit of each kind.
create or replace function voice_clone.recover_stale(p_limit int) returns table (what text, count int)
language plpgsql security definer set search_path = ''
as $$
declare
  a public.attempts;
  v_done text[] := '{}';
  v_enrollments int := 0;
  v_keys int := 0;
begin
  for a in
    select * from public.attempts x where x.sweep_at <= now()
    order by x.sweep_at limit p_limit
    for no key update skip locked
  loop
    begin
      v_done := v_done || voice_clone.recover_attempt(a);
    exception when others then -- one row that cannot be moved keeps no other from it
      raise warning 'attempt % cannot be recovered: % (%)', a.id, sqlerrm, sqlstate;
      v_done := v_done || 'troubled'::text;
    end;
  end loop;
  begin
    v_enrollments := voice_clone.sweep_enrollments(p_limit);
  exception when others then
    raise warning 'enrollments cannot be swept: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'troubled'::text;
  end;
  begin
    v_keys := voice_clone.forget_idempotency_keys(p_limit);
  exception when others then
    raise warning 'idempotency keys cannot be forgotten: % (%)', sqlerrm, sqlstate;
    v_done := v_done || 'troubled'::text;
  end;
  return query
    select d, count(*)::int from unnest(v_done) d group by d
    union all select 'enrollments', v_enrollments where v_enrollments > 0
    union all select 'idempotency_keys', v_keys where v_keys > 0;
end
$$;
