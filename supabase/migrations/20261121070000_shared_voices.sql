-- Shared voices: a stock voice may be used by many, so only a voice that an enrollment made belongs to one row.

set local lock_timeout = '5s';

alter table public.voices drop constraint voices_provider_region_provider_voice_id_key;
create unique index voices_provider_region_provider_voice_id_idx
  on public.voices (provider, region, provider_voice_id) where enrollment_id is not null;

-- As unique as before, in an order that finds what made a voice wherever its region is.
drop index voice_clone.enrollments_provider_voice_id_idx;
create unique index enrollments_provider_voice_id_idx
  on voice_clone.enrollments (provider, provider_voice_id, region);
