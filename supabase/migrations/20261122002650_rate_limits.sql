-- Rate limits that the processes of the service share: those of routes that cost money. One row for a user and a policy.
--
-- A row says until when the allowance is used, in the generic cell rate algorithm: each use moves it by the window divided
-- by the limit, and it may be at most one window ahead. Unlogged: after a crash of Postgres every allowance is whole.

create unlogged table voice_clone.rate_limits (
  user_id uuid not null references auth.users (id) on delete cascade,
  policy text not null check (length(policy) between 1 and 32),
  used_until timestamptz not null,
  primary key (user_id, policy)
) with (fillfactor = 50);
alter table voice_clone.rate_limits enable row level security;
revoke all on voice_clone.rate_limits from public, anon, authenticated, service_role;

-- Uses p_cost of the p_limit that a window has. Where less is left, uses nothing. `used` is what is used now, as a part of
-- the window: 0 is nothing, 1 is all of it.
create function voice_clone.use_rate_limit(
  p_user uuid, p_policy text, p_limit int, p_window_seconds float8, p_cost int
) returns table (is_allowed boolean, used float8)
language plpgsql security definer set search_path = '' rows 1
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_cost interval := make_interval(secs => p_window_seconds * least(p_cost, p_limit) / p_limit);
  v_most timestamptz := v_now + make_interval(secs => p_window_seconds);
  v_until timestamptz;
begin
  if p_cost <= p_limit then
    insert into voice_clone.rate_limits as r (user_id, policy, used_until) values (p_user, p_policy, v_now + v_cost)
    on conflict (user_id, policy) do update set used_until = greatest(r.used_until, v_now) + v_cost
      where greatest(r.used_until, v_now) + v_cost <= v_most
    returning r.used_until into v_until;
  end if;
  is_allowed := v_until is not null;
  if not is_allowed then
    select r.used_until into v_until from voice_clone.rate_limits r where r.user_id = p_user and r.policy = p_policy;
  end if;
  used := greatest(0, coalesce(extract(epoch from v_until - v_now), 0) / p_window_seconds);
  return next;
end
$$;

grant execute on function voice_clone.use_rate_limit(uuid, text, int, float8, int) to voice_clone_backend;
