-- Voices: the enrolled results, usable for speech. A row here owns its voice at the provider.

create table public.voices (
  id uuid primary key,
  user_id uuid not null references auth.users (id),
  attempt_id uuid not null unique references public.attempts (id),
  enrollment_id uuid unique references voice_clone.enrollments (id),
  name text not null check (length(name) between 1 and 120),
  language text not null check (language ~ '^[a-z]{2}$'),
  provider text not null,
  region text not null,
  provider_voice_id text not null,
  target_model text not null,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  unique (provider, region, provider_voice_id)
);
comment on column public.voices.deleted_at is 'a soft delete: the voice stays at its provider and speaks no more';
create index voices_user_id_idx on public.voices (user_id, created_at desc) where deleted_at is null;
create index voices_owner_idx on public.voices (user_id);

alter table public.voices enable row level security;
revoke all on public.voices from public, anon, authenticated, service_role;
grant select on public.voices to authenticated, service_role;
create policy "Owners read their voices" on public.voices
  for select to authenticated using (user_id = (select auth.uid()) and deleted_at is null);
