-- Timestamps as text: one form wherever a client reads one in JSON.

-- RFC 3339 in UTC with six digits, 2026-11-22T10:00:00.000000Z, whatever the time zone of the session is. backend/web/timestamps.py
-- writes the same form.
create function voice_clone.utc_text(p_time timestamptz) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return to_char(p_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
end
$$;

-- A row, or one that was changed, as JSON: its timestamps in this form. By the names of the columns.
create function voice_clone.with_utc_texts(p_row jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return p_row || (
    select coalesce(jsonb_object_agg(c.key, voice_clone.utc_text((c.value #>> '{}')::timestamptz)), '{}')
    from jsonb_each(p_row) c
    where c.key ~ '_(at|since|until|before)$' and jsonb_typeof(c.value) = 'string');
end
$$;
