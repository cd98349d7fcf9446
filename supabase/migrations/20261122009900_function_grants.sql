-- Function grants: nobody may execute a function of ours without a grant that names the role.
--
-- Postgres grants EXECUTE on a new function to everyone. Default privileges could stop that only for every schema of the
-- role that migrates, so also for the functions of the application; this file stops it for our two schemas. It comes last.

revoke execute on all functions in schema voice_clone, operations from public;
