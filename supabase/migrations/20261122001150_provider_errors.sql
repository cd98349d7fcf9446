-- Provider errors: what a provider answered where a step of an attempt failed, for operators. The service has bounded each text and
-- taken out of it what may be a secret or a person (backend/providers/messages.py). No client reads it, and nothing is decided by it.

create table voice_clone.provider_errors (
  id bigint generated always as identity primary key,
  attempt_id uuid not null references public.voice_clone_attempts (id),
  step text not null check (length(step) <= 40),
  provider text not null,
  error_code text not null,
  http_status int not null,
  provider_code text check (length(provider_code) <= 128),
  message text check (length(message) <= 300),
  request_id text check (length(request_id) <= 128),
  count int not null default 1,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now()
);
comment on column voice_clone.provider_errors.error_code is 'what the answer was taken for';
comment on column voice_clone.provider_errors.count is 'how often this answer came in a row; request_id is of the last one';
create index provider_errors_attempt_id_idx on voice_clone.provider_errors (attempt_id, id desc);
create index provider_errors_last_at_idx on voice_clone.provider_errors (last_at);
alter table voice_clone.provider_errors enable row level security;
revoke all on voice_clone.provider_errors from public, anon, authenticated, service_role;

-- Of an attempt, or of one of its enrollments. The same answer again is counted. The newest 20 of an attempt are kept, and each
-- call removes a few that are too old.
create function voice_clone.note_provider_error(
  p_subject uuid, p_step text, p_provider text, p_error_code text, p_http_status int, p_provider_code text, p_message text,
  p_request_id text
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt uuid := coalesce((select e.attempt_id from voice_clone.enrollments e where e.id = p_subject), p_subject);
begin
  update voice_clone.provider_errors x
  set count = x.count + 1, last_at = now(), request_id = coalesce(p_request_id, x.request_id)
  where x.id = (select max(y.id) from voice_clone.provider_errors y where y.attempt_id = v_attempt)
    and (x.step, x.provider, x.error_code, x.http_status) = (p_step, p_provider, p_error_code, p_http_status)
    and x.provider_code is not distinct from p_provider_code and x.message is not distinct from p_message;
  if not found then
    insert into voice_clone.provider_errors (attempt_id, step, provider, error_code, http_status, provider_code, message, request_id)
    values (v_attempt, p_step, p_provider, p_error_code, p_http_status, p_provider_code, p_message, p_request_id);
    delete from voice_clone.provider_errors x where x.id in (
      select y.id from voice_clone.provider_errors y where y.attempt_id = v_attempt order by y.id desc offset 20);
  end if;
  delete from voice_clone.provider_errors x where x.id in (
    select y.id from voice_clone.provider_errors y where y.last_at < now() - voice_clone.timeout('provider_error')
    order by y.last_at limit 10 for update skip locked);
end
$$;
grant execute on function voice_clone.note_provider_error(uuid, text, text, text, int, text, text, text) to voice_clone_backend;
