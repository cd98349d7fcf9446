-- Samples: the reference audio, one Storage object each, never without a consent that covers it.

create table public.voice_samples (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id),
  consent_id uuid not null,
  reflection_id uuid references public.reflections (id) on delete set null,
  path text not null unique,
  content_type text not null,
  bytes bigint not null check (bytes > 0),
  language text check (language ~ '^[a-z]{2}$'),
  transcript text check (length(transcript) <= 4000),
  measures jsonb,
  prepared_path text,
  prepared_bytes bigint,
  created_at timestamptz not null default now(),
  removed_at timestamptz,
  foreign key (consent_id, user_id) references public.voice_consents (id, user_id),
  check (num_nulls(measures, prepared_path, prepared_bytes) in (0, 3))
);
comment on column public.voice_samples.path is 'in the bucket voice-samples, like prepared_path';
comment on column public.voice_samples.measures is 'what inspection measured; null until the uploaded object was inspected';
comment on column public.voice_samples.user_id is 'null once the user is deleted, here and in attempts, voices and sessions';
comment on column public.voice_samples.removed_at is 'since then it cannot be used or read; its objects are removed from Storage';
comment on column public.voice_samples.prepared_path is 'the same audio as 24 kHz mono 16-bit WAV: what a provider gets';
create index voice_samples_user_id_idx on public.voice_samples (user_id, created_at desc);
create index voice_samples_consent_id_idx on public.voice_samples (consent_id, user_id);
create index voice_samples_reflection_id_idx on public.voice_samples (reflection_id);

alter table public.voice_samples enable row level security;
revoke all on public.voice_samples from public, anon, authenticated, service_role;
grant select on public.voice_samples to authenticated, service_role;
create policy "People read their own samples" on public.voice_samples
  for select to authenticated using (user_id = (select auth.uid()));

create function voice_clone.require_consent() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform voice_clone.check_consent(new.consent_id, new.user_id, new.reflection_id);
  return new;
end
$$;
create trigger voice_samples_require_consent before insert on public.voice_samples
  for each row execute function voice_clone.require_consent();
create trigger voice_samples_require_consent_again before update of consent_id, user_id on public.voice_samples
  for each row when (new.user_id is not null) execute function voice_clone.require_consent();
