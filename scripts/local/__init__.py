"""The embedded Supabase: Postgres, Auth, Data API and Storage behind one port, without Docker."""
