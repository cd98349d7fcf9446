"""Pauses in the triggers of tables, so that two operations at once meet each other at every lock."""

from tests.fixture import Fixture

PAUSES = """
create function public.pause() returns trigger language plpgsql set search_path = '' as $$
begin
  perform pg_catalog.pg_sleep(pg_catalog.random() * 0.003);
  return null;
end $$;
grant execute on function public.pause() to public;
do $$
declare t regclass; name text;
begin
  -- "A" comes before the triggers of foreign keys, "zz" after them and ours.
  foreach t in array '{TABLES}'::regclass[] loop
    foreach name in array '{A_pause,zz_pause}'::text[] loop
      execute format('create trigger %I after insert or update or delete on %s'
        ' for each row execute function public.pause()', name, t);
    end loop;
  end loop;
  execute format('alter database %I set deadlock_timeout = ''10ms''', current_database());
end $$
"""


def add_pauses(given: Fixture, *tables: str) -> None:
    """Up to 3 ms before and after what follows a change of a row. A deadlock is found within 10 ms."""
    given.superuser.execute(PAUSES.replace("TABLES", ", ".join(tables)).encode())
