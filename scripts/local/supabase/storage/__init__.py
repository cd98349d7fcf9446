"""A Storage server that answers as the hosted one: rows in storage.objects, bytes on disk, RLS decides."""
