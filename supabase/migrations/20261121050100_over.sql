-- Over, anew: what a newer attempt took the place of is over when nothing can bring it back any more.

create or replace function voice_clone.is_over(a public.attempts) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return a.status = 'expired' or (a.status = 'cancelled' and not voice_clone.is_restorable(a));
end
$$;
