-- Sweep errors: rows that the sweep could not process. They are left out for a while, so that they do not stand first in
-- line at each run, and apart from their tables, because what cannot be processed may not be writable either.

create table voice_clone.sweep_errors (
  row_id uuid primary key,
  kind text not null,
  error text not null,
  count int not null default 1,
  retry_at timestamptz not null,
  failed_at timestamptz not null default now()
);
comment on table voice_clone.sweep_errors is 'a row leaves it an hour after its time, if it has not failed again';
alter table voice_clone.sweep_errors enable row level security;
revoke all on voice_clone.sweep_errors from public, anon, authenticated, service_role;

-- Called where the row's own changes were rolled back. The wait doubles with each error.
create function voice_clone.postpone_row(p_kind text, p_id uuid, p_error text, p_sqlstate text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  raise warning '% % cannot be swept: % (%)', p_kind, p_id, p_error, p_sqlstate;
  insert into voice_clone.sweep_errors as s (row_id, kind, error, retry_at)
  values (p_id, p_kind, format('%s (%s)', left(p_error, 500), p_sqlstate), now() + voice_clone.timeout('sweep_error'))
  on conflict (row_id) do update set
    error = excluded.error, count = s.count + 1, failed_at = now(),
    retry_at = now() + least(
      voice_clone.timeout('sweep_error') * 2 ^ least(s.count, 20), voice_clone.timeout('lost_message_cap'));
end
$$;

-- Deletes these rows of a table, which has a column id, and returns how many were to be deleted. All at once, and one by one where one of
-- them has an error, which is postponed.
create function voice_clone.delete_rows(p_table regclass, p_kind text, p_ids uuid[]) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  execute format('delete from %s x where x.id = any ($1)', p_table) using p_ids;
  return cardinality(p_ids);
exception when others then
  foreach v_id in array p_ids loop
    begin
      execute format('delete from %s x where x.id = $1', p_table) using v_id;
    exception when others then
      perform voice_clone.postpone_row(p_kind, v_id, sqlerrm, sqlstate);
    end;
  end loop;
  return cardinality(p_ids);
end
$$;

create function operations.sweep_errors() returns setof voice_clone.sweep_errors
language sql stable security definer set search_path = ''
as $$ select * from voice_clone.sweep_errors s order by s.failed_at desc $$;
revoke all on function operations.sweep_errors() from public, anon, authenticated;
grant execute on function operations.sweep_errors() to service_role;
