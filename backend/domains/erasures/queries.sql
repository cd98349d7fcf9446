-- request --
-- the receipt as it stands in this transaction; a repeated request gets the entry that there is
select voice_clone.request_erasure(%(user)s) as receipt

-- receipt --
-- after a look at what was not confirmed yet; null for another's
select voice_clone.erasure_of_user(%(erasure)s, %(user)s) as receipt

-- retention --
-- how long what is kept, as the sweep reads it now
select t.name, extract(epoch from t.value)::float8 as seconds, t.purpose from voice_clone.retention() t
