-- Idempotency keys: a call that creates something, repeated with the same key, gets the first answer and creates nothing.
--
-- claim   before the work: one call at a time for a key, under a lease that its process renews while it works on the call.
--         When the process is gone, the lease ends soon, and the next call takes over
-- result  what the work created, in the work's own transaction: a call that takes over reads it instead of creating again
-- answer  after the work, byte for byte; replayed from then on

create table voice_clone.idempotency_keys (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  key text not null check (key ~ '^[ -~]{1,255}$'),
  fingerprint bytea not null,
  epoch int not null default 1,
  lease_expires_at timestamptz not null,
  result jsonb,
  status int,
  headers jsonb,
  body bytea,
  created_at timestamptz not null default now(),
  unique (user_id, key),
  check (num_nulls(status, headers, body) in (0, 3)),
  check (octet_length(body) <= 65536 and octet_length(headers::text) <= 8192 and octet_length(result::text) <= 65536)
);
comment on column voice_clone.idempotency_keys.id is
  'also the id of what the call creates: another call finds it, and a key that is used again after a day gets another';
comment on column voice_clone.idempotency_keys.fingerprint is 'SHA-256 of the method, the address and the body';
create index idempotency_keys_created_at_idx on voice_clone.idempotency_keys (created_at);
alter table voice_clone.idempotency_keys enable row level security;
revoke all on voice_clone.idempotency_keys from public, anon, authenticated, service_role;

-- The answer, where there is one already; else the claim. VC007 while another call has it, or for another call.
create function voice_clone.claim_idempotency_key(p_user uuid, p_key text, p_fingerprint bytea)
returns table (id uuid, epoch int, result jsonb, status int, headers jsonb, body bytea)
language plpgsql security definer set search_path = '' rows 1
as $$
#variable_conflict use_column
declare
  c_limit constant int := 1000; -- keys of one user that are kept
  v_lease timestamptz := now() + voice_clone.timeout('idempotency_lease');
  k voice_clone.idempotency_keys;
begin
  if exists (
    select from voice_clone.idempotency_keys x
    where x.user_id = p_user and x.key = p_key and x.created_at <= now() - voice_clone.timeout('idempotency')
  ) then -- the sweep has not deleted it yet
    perform voice_clone.lock_user(p_user);
    delete from voice_clone.idempotency_keys x
    where x.user_id = p_user and x.key = p_key and x.created_at <= now() - voice_clone.timeout('idempotency');
  end if;
  insert into voice_clone.idempotency_keys as x (user_id, key, fingerprint, lease_expires_at)
  values (p_user, p_key, p_fingerprint, v_lease)
  on conflict (user_id, key) do update
    set epoch = x.epoch + 1, lease_expires_at = v_lease
    where x.fingerprint = p_fingerprint and x.status is null and x.lease_expires_at <= now()
  returning * into k;
  if found and k.epoch = 1 and (select count(*) from (
    select from voice_clone.idempotency_keys x where x.user_id = p_user limit c_limit + 1) kept) > c_limit then
    raise exception 'this user has used % keys within a day', c_limit using errcode = 'VC008',
      detail = jsonb_build_object('code', 'too_many_idempotency_keys', 'field', 'Idempotency-Key', 'limit', c_limit,
        'window_seconds', 86400, 'retry_after', 600)::text,
      hint = 'A key is free a day after its first use. Calls without a key are not refused.';
  end if;
  if not found then
    select * into k from voice_clone.idempotency_keys x where x.user_id = p_user and x.key = p_key;
    if k.fingerprint <> p_fingerprint then
      raise exception 'this key was used for another call' using errcode = 'VC007',
        detail = '{"code": "idempotency_key_reused", "field": "Idempotency-Key"}',
        hint = 'Send a new key with each new call, and the same key only with the very same one.';
    elsif k.status is null then
      raise exception 'the first call with this key is still being answered' using errcode = 'VC007',
        detail = '{"code": "idempotency_key_in_use", "field": "Idempotency-Key", "retry_after": 1}',
        hint = 'Send the same call again a little later.';
    end if;
  end if;
  return query select k.id, k.epoch, k.result, k.status, k.headers, k.body;
end
$$;

-- The process still works on the call. False where another call has taken over.
create function voice_clone.renew_idempotency_key(p_id uuid, p_epoch int) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.idempotency_keys k set lease_expires_at = now() + voice_clone.timeout('idempotency_lease')
  where k.id = p_id and k.epoch = p_epoch and k.status is null;
  return found;
end
$$;

-- In the transaction of the work: keeps what it created, or raises VC007 where the claim is lost, so that nothing is created.
create function voice_clone.keep_idempotent_result(p_id uuid, p_epoch int, p_result jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update voice_clone.idempotency_keys k set result = p_result where k.id = p_id and k.epoch = p_epoch;
  if not found then
    raise exception 'another call with this key has taken over' using errcode = 'VC007',
      detail = '{"code": "idempotency_key_in_use", "field": "Idempotency-Key", "retry_after": 1}',
      hint = 'Send the same call again a little later.';
  end if;
end
$$;

-- Keeps the answer. Without a status there is none, and the next call may have the key at once.
create function voice_clone.keep_idempotent_answer(
  p_id uuid, p_epoch int, p_status int, p_headers jsonb, p_body bytea
) returns void
language sql security definer set search_path = ''
as $$
  update voice_clone.idempotency_keys k
  set status = p_status, headers = p_headers, body = p_body, lease_expires_at = now()
  where k.id = p_id and k.epoch = p_epoch
$$;

-- Deletes the oldest expired keys, at most p_limit, and returns how many. Called by the sweep.
create function voice_clone.delete_expired_idempotency_keys(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
begin
  return voice_clone.delete_rows('voice_clone.idempotency_keys', 'idempotency key', array(
    select x.id from voice_clone.idempotency_keys x
    where x.created_at <= now() - voice_clone.timeout('idempotency')
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.created_at limit p_limit for update skip locked));
end
$$;

grant execute on function
  voice_clone.claim_idempotency_key(uuid, text, bytea),
  voice_clone.renew_idempotency_key(uuid, int),
  voice_clone.keep_idempotent_result(uuid, int, jsonb),
  voice_clone.keep_idempotent_answer(uuid, int, int, jsonb, bytea),
  voice_clone.delete_expired_idempotency_keys(int)
to voice_clone_backend;
