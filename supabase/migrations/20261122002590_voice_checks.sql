-- Voice checks: each voice is looked up at its provider once in a while, so that one that is gone closes its gate before somebody speaks.
-- One row an account: its voices are checked in the order of their ids, a few at a time, round after round.

create table voice_clone.voice_checks (
  id uuid primary key default gen_random_uuid(),
  provider text not null,
  region text not null,
  account text not null,
  created_at timestamptz not null default now(),
  voices int not null default 0,
  after_voice uuid,
  round_started_at timestamptz,
  complete_at timestamptz,
  due_at timestamptz not null,
  lease_epoch int not null default 0,
  claimed_at timestamptz,
  lease_expires_at timestamptz,
  failures int not null default 0,
  silent_so_far int not null default 0,
  silent int not null default 0,
  error_code text,
  sweep_at timestamptz not null,
  constraint voice_checks_account_key unique (provider, region, account)
);
comment on table voice_clone.voice_checks is 'one row for each account that has voices; no row for a voice';
comment on column voice_clone.voice_checks.voices is 'how many there were when the round began';
comment on column voice_clone.voice_checks.after_voice is 'the last voice that this round has checked; null: a round begins';
comment on column voice_clone.voice_checks.complete_at is 'when the last complete round began: each voice that is older was checked since';
comment on column voice_clone.voice_checks.claimed_at is 'of the present lease: what was made since is not judged by its answers';
comment on column voice_clone.voice_checks.failures is 'tries in a row that did not pass the same voice';
comment on column voice_clone.voice_checks.silent is
  'of the last complete round: voices that did not speak when they were made to, or that their provider may delete soon because they are not used';
comment on column voice_clone.voice_checks.silent_so_far is 'the same of this round';
comment on column voice_clone.voice_checks.error_code is 'why the last try stopped; nothing was concluded from it';
create index voice_checks_sweep_at_idx on voice_clone.voice_checks (sweep_at);
alter table voice_clone.voice_checks enable row level security;
revoke all on voice_clone.voice_checks from public, anon, authenticated, service_role;

create index voices_checked_idx on public.voices (tts_provider, provider_region, provider_account, id)
  where deleted_at is null and lost_at is null;

-- The first voice of an account. An account that is known costs one lookup in an index.
create function voice_clone.note_account() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_at timestamptz := now() + greatest(voice_clone.timeout('new_voice'), voice_clone.timeout('voice_check_pause'));
begin
  if not exists (
    select from voice_clone.voice_checks c
    where c.provider = new.tts_provider and c.region = new.provider_region and c.account = new.provider_account)
  then
    insert into voice_clone.voice_checks (provider, region, account, due_at, sweep_at)
    values (new.tts_provider, new.provider_region, new.provider_account, v_at, v_at)
    on conflict on constraint voice_checks_account_key do nothing;
  end if;
  return null;
end
$$;
create trigger voices_note_account after insert or update of provider_account on public.voices
  for each row execute function voice_clone.note_account();

-- How long to wait between two groups of checks, so that a round takes the interval.
create function voice_clone.voice_check_pause(c voice_clone.voice_checks) returns interval
language plpgsql stable set search_path = ''
as $$
begin
  return greatest(voice_clone.timeout('voice_check_pause'), voice_clone.timeout('voice_check') / greatest(c.voices, 1));
end
$$;

create function voice_clone.claim_voice_check(p_check uuid) returns voice_clone.claim
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.voice_checks;
begin
  select * into c from voice_clone.voice_checks x where x.id = p_check for no key update;
  if c.id is null then
    return ('gone', null, null)::voice_clone.claim;
  elsif voice_clone.timeout('voice_check') is null then
    return ('switched_off', null, null)::voice_clone.claim;
  elsif c.lease_expires_at > now() then
    return ('busy', voice_clone.seconds_until(c.lease_expires_at), null)::voice_clone.claim;
  elsif c.due_at > now() then
    return ('not_due', null, null)::voice_clone.claim;
  end if;
  if c.after_voice is null then
    c.round_started_at := now();
    c.voices := (
      select count(*) from public.voices v
      where v.tts_provider = c.provider and v.provider_region = c.region and v.provider_account = c.account
        and v.deleted_at is null and v.lost_at is null);
  end if;
  update voice_clone.voice_checks x
  set lease_epoch = x.lease_epoch + 1, claimed_at = now(), lease_expires_at = now() + voice_clone.timeout('voice_check_lease'),
      sweep_at = now() + voice_clone.timeout('voice_check_lease'), voices = c.voices, round_started_at = c.round_started_at
  where x.id = c.id;
  return ('claimed', null, c.lease_epoch + 1)::voice_clone.claim;
end
$$;

-- What is claimed; wanted: how many voices are due now, where each is asked for by itself. Volatile, so that it sees the claim that
-- it is joined to.
create function voice_clone.claimed_voice_check(p_check uuid)
returns table (provider text, region text, account text, after_voice uuid, voices int, wanted int)
language plpgsql security definer set search_path = '' rows 1
as $$
begin
  return query
    select c.provider, c.region, c.account, c.after_voice, c.voices,
      greatest(1, ceil(c.voices * extract(epoch from voice_clone.voice_check_pause(c))
        / greatest(extract(epoch from voice_clone.timeout('voice_check')), 1))::int)
    from voice_clone.voice_checks c where c.id = p_check;
end
$$;

-- The voices of an account after this one, at most p_limit. p_unused_days: after so many its provider deletes a voice that is not used.
create function voice_clone.voices_to_check(
  p_provider text, p_region text, p_account text, p_after uuid, p_limit int, p_unused_days int default null
) returns table (voice_id uuid, provider_voice_id text, canary_is_due boolean, is_silent boolean)
language plpgsql stable security definer set search_path = '' rows 100
as $$
declare
  v_canary interval := voice_clone.timeout('canary');
  v_retry interval := voice_clone.timeout('canary_retry');
begin
  return query
    select v.id, v.provider_voice_id, voice_clone.canary_is_due(v, v_canary, v_retry, p_unused_days),
      voice_clone.is_silent(v, v_canary, p_unused_days)
    from public.voices v
    where v.tts_provider = p_provider and v.provider_region = p_region and v.provider_account = p_account
      and v.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
      and v.deleted_at is null and v.lost_at is null
    order by v.id limit p_limit;
end
$$;

create function voice_clone.require_voice_check(p_check uuid, p_epoch int) returns voice_clone.voice_checks
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.voice_checks;
begin
  select * into c from voice_clone.voice_checks x
  where x.id = p_check and x.lease_epoch = p_epoch and x.lease_expires_at is not null for no key update;
  if c.id is null then
    raise exception 'the lease on voice check % at epoch % is lost', p_check, p_epoch using errcode = 'VC002';
  end if;
  return c;
end
$$;

-- The provider says that it does not have this voice. One that was made after the check began, or so shortly before it that the
-- provider may not show it yet, is another, or is asked for again in the next round.
create function voice_clone.lose_checked_voice(p_check uuid, p_epoch int, p_provider_voice_id text) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.voice_checks := voice_clone.require_voice_check(p_check, p_epoch);
begin
  return voice_clone.lose_voice(
    c.provider, c.region, array[c.account], p_provider_voice_id, c.claimed_at - voice_clone.timeout('new_voice'));
end
$$;

-- The end of a try. Without a code each voice up to p_after was answered for; null: all of the round. With a code the check is
-- tried again, each time after twice the wait, and the third time in a row that it stops at the same voice it goes on behind it.
create function voice_clone.record_voice_check(
  p_check uuid, p_epoch int, p_after uuid, p_error_code text, p_stopped_at uuid, p_silent int, p_message_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.voice_checks := voice_clone.require_voice_check(p_check, p_epoch);
begin
  perform voice_clone.acknowledge_messages('voice_checks', array[p_message_id]) where p_message_id is not null;
  c.failures := case when p_error_code is null then 0 when p_after is distinct from c.after_voice then 1 else c.failures + 1 end;
  c.silent_so_far := p_silent + case when c.after_voice is null then 0 else c.silent_so_far end;
  c.after_voice := p_after;
  if p_error_code is null and p_after is null then
    c.complete_at := c.round_started_at;
    c.silent := c.silent_so_far;
  elsif c.failures >= 3 and p_stopped_at is not null then
    c.failures := 0;
    c.after_voice := p_stopped_at;
  end if;
  c.due_at := now() + case when p_error_code is null then voice_clone.voice_check_pause(c)
    else least(voice_clone.timeout('lost_message') * 2 ^ c.failures, voice_clone.timeout('lost_message_cap')) end;
  update voice_clone.voice_checks x
  set after_voice = c.after_voice, complete_at = c.complete_at, due_at = c.due_at, sweep_at = c.due_at, failures = c.failures,
      silent = c.silent, silent_so_far = c.silent_so_far, error_code = p_error_code, lease_expires_at = null
  where x.id = c.id;
end
$$;

-- Sends a message for each account that is due, at most p_limit; one with an error is postponed.
create function voice_clone.sweep_voice_checks(p_limit int) returns int
language plpgsql security definer set search_path = ''
as $$
declare
  c voice_clone.voice_checks;
  v_messages jsonb[] := '{}';
begin
  if voice_clone.timeout('voice_check') is null then
    return 0;
  end if;
  for c in
    select * from voice_clone.voice_checks x where x.sweep_at <= now()
      and not exists (select from voice_clone.sweep_errors s where s.row_id = x.id and s.retry_at > now())
    order by x.sweep_at limit p_limit for no key update skip locked
  loop
    begin
      update voice_clone.voice_checks x
      set sweep_at = now() + least(
        greatest(voice_clone.timeout('lost_message'), now() - c.due_at), voice_clone.timeout('lost_message_cap'))
      where x.id = c.id;
      v_messages := v_messages || voice_clone.queue_message('voice_checks', c.id, 1, null);
    exception when others then
      perform voice_clone.postpone_row('voice check', c.id, sqlerrm, sqlstate);
    end;
  end loop;
  perform voice_clone.send_messages('voice_checks', v_messages, 0);
  return cardinality(v_messages);
end
$$;

grant execute on function
  voice_clone.claim_voice_check(uuid),
  voice_clone.claimed_voice_check(uuid),
  voice_clone.voices_to_check(text, text, text, uuid, int, int),
  voice_clone.lose_checked_voice(uuid, int, text),
  voice_clone.record_voice_check(uuid, int, uuid, text, uuid, int, bigint)
to voice_clone_backend;
