-- How long a queue itself keeps what is not visible yet, from one place: the time of that name.

create or replace function voice_clone.queue_delay_seconds() returns int
language plpgsql stable set search_path = ''
as $$
begin
  return ceil(extract(epoch from voice_clone.time_of('queue_hold')));
end
$$;
