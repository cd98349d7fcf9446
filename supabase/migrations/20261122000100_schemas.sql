-- The schemas and roles of the voice-clone lifecycle.
--
-- public       what clients see, under row level security
-- voice_clone  transitions and everything internal; not exposed by the Data API
-- operations   what operators call: over the Data API as service_role only, or with the login of the service

create schema voice_clone;
create schema operations;

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
end
$$;

grant voice_clone_backend, authenticated to voice_clone_service;

revoke all on schema voice_clone, operations from public, anon, authenticated;
grant usage on schema voice_clone to voice_clone_backend;
grant usage on schema operations to service_role, voice_clone_backend;
