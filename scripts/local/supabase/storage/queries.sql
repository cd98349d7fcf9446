-- find_bucket --
-- its limits, for any caller
select id, name, owner, public, file_size_limit, allowed_mime_types, created_at, updated_at
  from storage.buckets where id = %(bucket)s

-- list_buckets --
-- all that the caller may see
select id, name, owner, public, file_size_limit, allowed_mime_types, created_at, updated_at
  from storage.buckets order by name

-- create_bucket --
-- a second one of the same id is refused by the primary key
insert into storage.buckets (id, name, owner_id, public, file_size_limit, allowed_mime_types)
values (%(bucket)s, %(name)s, %(owner)s, %(public)s, %(file_size_limit)s, %(allowed_mime_types)s)

-- delete_bucket --
-- only an empty one goes
with gone as (
  delete from storage.buckets b
  where b.id = %(bucket)s and not exists (select from storage.objects o where o.bucket_id = b.id)
  returning b.id
)
select exists (select from gone) as is_deleted from storage.buckets b where b.id = %(bucket)s

-- find_object --
-- what a download, info or a signature needs
select id, name, version, bucket_id, metadata, user_metadata, created_at, updated_at
  from storage.objects where bucket_id = %(bucket)s and name = %(name)s

-- find_objects --
-- which of these names are there
select name from storage.objects where bucket_id = %(bucket)s and name = any(%(names)s)

-- insert_object --
-- refused when the name is taken
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values (%(bucket)s, %(name)s, %(owner_uuid)s::uuid, %(owner)s, %(version)s, %(metadata)s::jsonb, %(user_metadata)s::jsonb)

-- upsert_object --
-- replaces what the name holds
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values (%(bucket)s, %(name)s, %(owner_uuid)s::uuid, %(owner)s, %(version)s, %(metadata)s::jsonb, %(user_metadata)s::jsonb)
on conflict (bucket_id, name) do update
  set version = excluded.version,
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata,
      owner = excluded.owner,
      owner_id = excluded.owner_id

-- complete_insert --
-- an upload has arrived under a name that must be free
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values (%(bucket)s, %(name)s, %(owner_uuid)s::uuid, %(owner)s, %(version)s, %(metadata)s::jsonb, %(user_metadata)s::jsonb)
returning id, null::text as replaced

-- complete_upsert --
-- an upload has arrived; the lock makes `replaced` the version whose file may go
with present as (
  select version from storage.objects where bucket_id = %(bucket)s and name = %(name)s for update
)
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values (%(bucket)s, %(name)s, %(owner_uuid)s::uuid, %(owner)s, %(version)s, %(metadata)s::jsonb, %(user_metadata)s::jsonb)
on conflict (bucket_id, name) do update
  set version = excluded.version,
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata,
      owner = excluded.owner,
      owner_id = excluded.owner_id
returning id, (select version from present) as replaced

-- delete_objects --
-- the rows that went
delete from storage.objects where bucket_id = %(bucket)s and name = any(%(names)s)
returning id, name, bucket_id, owner, owner_id, version, metadata, user_metadata, created_at, updated_at, last_accessed_at

-- list_objects --
-- one level below a prefix; a folder has only a name
with entries as (
  select split_part(substr(name, length(%(prefix)s) + 1), '/', 1) as entry,
         position('/' in substr(name, length(%(prefix)s) + 1)) > 0 as is_folder,
         id, created_at, updated_at, last_accessed_at, metadata
    from storage.objects
   where bucket_id = %(bucket)s and starts_with(lower(name), lower(%(prefix)s || %(search)s))
), listed as (
  select entry as name, id, updated_at, created_at, last_accessed_at, metadata from entries where not is_folder
  union all
  select distinct entry, null::uuid, null::timestamptz, null::timestamptz, null::timestamptz, null::jsonb
    from entries where is_folder
)
select * from listed
 order by case when %(descending)s then null else to_jsonb(listed) ->> %(column)s end,
          case when %(descending)s then to_jsonb(listed) ->> %(column)s end desc, name
 limit %(limit)s offset %(offset)s

-- list_versions --
-- every file that a row stands for, so that the rest can be swept
select version from storage.objects where version is not null
