-- To `postgres`, who owns our functions, the calls that every version of pgmq offers: no other, and no table.

-- Only `create extension` could tell these two of an extension, and no embedded Postgres has its files.
create function pgmq._extension_exists(extension_name text) returns boolean language sql as 'select false';
create function pgmq._belongs_to_pgmq(table_name text) returns boolean language sql as 'select true';

-- As the migrations expect, `postgres` owns the tables, and so may change their policies and grants.
alter function pgmq.create_non_partitioned(text) rename to create_tables;
create function pgmq.create_non_partitioned(queue_name text) returns void
language plpgsql
as $$
declare
  v_table text;
begin
  perform pgmq.create_tables(queue_name);
  foreach v_table in array array['q_' || queue_name, 'a_' || queue_name]
  loop
    execute format('alter table pgmq.%I owner to postgres', v_table);
    execute format('revoke all on pgmq.%I from postgres', v_table);
  end loop;
end
$$;

do $$
declare
  v_function regprocedure;
begin
  for v_function in select p.oid from pg_proc p where p.pronamespace = 'pgmq'::regnamespace
  loop
    execute format('alter function %s security definer', v_function);
  end loop;
end
$$;

grant usage on schema pgmq to postgres;
revoke pg_read_all_data from postgres;
revoke execute on all functions in schema pgmq from public;
do $$
declare
  v_name text;
begin
  for v_name in
    select to_regprocedure('pgmq.' || s.signature) from (values
      ('create(text)'), ('send(text,jsonb,int)'), ('send_batch(text,jsonb[],int)'),
      ('read(text,int,int)'), ('read(text,int,int,jsonb)'), ('set_vt(text,bigint,int)'),
      ('delete(text,bigint)'), ('delete(text,bigint[])'), ('archive(text,bigint)'), ('archive(text,bigint[])'),
      ('pop(text)'), ('list_queues()'), ('purge_queue(text)'), ('metrics(text)')) s (signature)
    where to_regprocedure('pgmq.' || s.signature) is not null
  loop
    execute format('grant execute on function %s to postgres', v_name);
  end loop;
end
$$;
