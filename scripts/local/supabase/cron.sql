-- As much of pg_cron, pg_net and the vault as the runbooks use; `scripts.local.supabase.cron` runs the jobs and makes the calls.
-- Names and arguments are those of the extensions. The vault keeps its secrets in the clear: this is a development project.

create schema if not exists cron authorization postgres;
create schema if not exists net authorization postgres;
create schema if not exists vault authorization postgres;
set local role postgres;

create table if not exists cron.job (
  jobid bigint generated always as identity primary key,
  schedule text not null,
  command text not null,
  username text not null default current_user,
  active boolean not null default true,
  jobname text unique,
  scheduled_at timestamptz not null default now()
);
create table if not exists cron.job_run_details (
  runid bigint generated always as identity primary key,
  jobid bigint,
  command text,
  status text,
  return_message text,
  start_time timestamptz,
  end_time timestamptz
);
create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint
language sql
as $$
  insert into cron.job as j (jobname, schedule, command) values (job_name, schedule, command)
  on conflict (jobname) do update set schedule = excluded.schedule, command = excluded.command, scheduled_at = now()
  returning j.jobid
$$;
create or replace function cron.unschedule(job_name text) returns boolean
language sql
as $$ delete from cron.job where jobname = job_name returning true $$;

create table if not exists net.http_request_queue (
  id bigint generated always as identity primary key,
  method text not null,
  url text not null,
  headers jsonb,
  body jsonb,
  timeout_milliseconds int not null
);
create table if not exists net._http_response (
  id bigint primary key,
  status_code int,
  content text,
  error_msg text,
  created timestamptz not null default now()
);
create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{"Content-Type": "application/json"}',
  timeout_milliseconds int default 5000
) returns bigint
language sql
as $$
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values ('POST', url, headers, body, timeout_milliseconds) returning id
$$;

create table if not exists vault.secrets (id uuid primary key default gen_random_uuid(), name text unique, secret text not null);
create or replace view vault.decrypted_secrets as select id, name, secret as decrypted_secret from vault.secrets;
create or replace function vault.create_secret(new_secret text, new_name text default null) returns uuid
language sql
as $$ insert into vault.secrets (name, secret) values (new_name, new_secret) returning id $$;
create or replace function vault.update_secret(secret_id uuid, new_secret text) returns void
language sql
as $$ update vault.secrets set secret = new_secret where id = secret_id $$;
