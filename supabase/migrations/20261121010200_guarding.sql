-- Guarding, anew: the guard also says when the sweep looks next, when a step began, and that a voice whose
-- speaker was not verified is no longer the attempt's, so that a retry may make another.

create or replace function voice_clone.guard_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform voice_clone.edge('status', '', new.status, new.id);
    new.sweep_at := voice_clone.sweep_time(new);
    return new;
  end if;
  perform voice_clone.guard_identity(old, new);
  if new.status <> old.status then
    perform voice_clone.edge('status', old.status, new.status, new.id);
    new.queued_at := case new.status when 'queued' then now() else new.queued_at end;
    new.processing_at := case new.status when 'processing' then now() else new.processing_at end;
    new.verifying_at := case new.status when 'verifying' then now() else new.verifying_at end;
    new.verify_count := case new.status when 'verifying' then 0 else new.verify_count end;
    new.ready_at := case new.status when 'ready' then now() else new.ready_at end;
    new.failed_at := case new.status when 'failed' then now() else new.failed_at end;
    new.expired_at := case new.status when 'expired' then now() else new.expired_at end;
    new.cancelled_at := case new.status when 'cancelled' then now() else new.cancelled_at end;
  end if;
  if new.runtime_status <> old.runtime_status then
    perform voice_clone.edge('runtime', old.runtime_status, new.runtime_status, new.id);
    new.synced_at := case new.runtime_status when 'synced' then now() else new.synced_at end;
  end if;
  if new.preview_status <> old.preview_status then
    perform voice_clone.edge('preview', old.preview_status, new.preview_status, new.id);
    new.previewed_at := case new.preview_status when 'completed' then now() else new.previewed_at end;
  end if;
  if new.lease_owner is null then
    new.leased_at := null;
  elsif new.lease_epoch > old.lease_epoch then
    new.leased_at := now();
  end if;
  if not voice_clone.is_bookkeeping(old, new) then
    new.updated_at := now();
    new.version := old.version + 1;
    if new.is_active and not old.is_active then
      new.activated_at := now();
      -- The mirror never goes back: a newer attempt starts above every version the reflection has shown.
      new.version := 1 + greatest(old.version, (
        select max(a.version) from public.attempts a
        where a.reflection_id = new.reflection_id and a.activated_at is not null));
    end if;
  end if;
  new.sweep_at := voice_clone.sweep_time(new);
  return new;
end
$$;

create function voice_clone.guard_identity(p_old public.attempts, p_new public.attempts) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if p_new.lease_epoch < p_old.lease_epoch
    or (p_new.id, p_new.user_id, p_new.voice_id, p_new.source, p_new.created_at)
      is distinct from (p_old.id, p_old.user_id, p_old.voice_id, p_old.source, p_old.created_at)
    or (p_old.provider_voice_id is not null and p_new.provider_voice_id is distinct from p_old.provider_voice_id
      and not (p_old.status = 'verifying' and p_new.status = 'failed' and p_new.provider_voice_id is null))
    or p_new.reflection_id <> p_old.reflection_id
  then
    raise exception 'attempt %: an epoch only grows, and who it is for and what it made never change', p_new.id
      using errcode = 'VC001';
  end if;
end
$$;
