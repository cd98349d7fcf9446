-- The schemas and roles of the voice-clone lifecycle.
--
-- public       what clients see, under row level security
-- voice_clone  transitions and everything internal; not exposed by the Data API
-- operations   what operators call over the Data API, as service_role only

create schema if not exists voice_clone;
create schema if not exists operations;

do $$
begin
  -- May execute the transitions; holds no table.
  if to_regrole('voice_clone_backend') is null then
    create role voice_clone_backend nologin;
  end if;
  -- The login of the service and the consumers. The operator sets its password.
  if to_regrole('voice_clone_service') is null then
    create role voice_clone_service login;
  end if;
  -- Owns the function that writes the mirror's keys, and nothing else: the one role that may write them. It bypasses row
  -- level security, because an adopted table of reflections has policies of its own; its grants name a few columns.
  if to_regrole('voice_clone_mirror') is null then
    create role voice_clone_mirror nologin bypassrls;
  end if;
end
$$;

grant voice_clone_backend, authenticated to voice_clone_service;
grant voice_clone_mirror to postgres;

revoke all on schema voice_clone, operations from public, anon, authenticated;
grant usage on schema voice_clone to voice_clone_backend, voice_clone_mirror;
grant usage on schema operations to service_role;
grant usage on schema public to voice_clone_mirror;
