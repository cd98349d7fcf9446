-- keep_manifest --
-- of audio that cannot hold it, before the audio leaves
select voice_clone.keep_manifest(%(hash)s, %(manifest)s)

-- kept_manifest --
-- of this audio; null where none is kept
select voice_clone.kept_manifest(%(hash)s)
