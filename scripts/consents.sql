-- check --
-- the next chains after a person; with their broken entries
select persons, last_person, broken from voice_clone.check_consents(%(after)s, %(limit)s)
