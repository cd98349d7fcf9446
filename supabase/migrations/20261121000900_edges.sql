-- Edges: the lifecycle as rows. A move that is not a row here raises VC001, whoever makes it.

create table voice_clone.edges (
  machine text not null check (machine in ('status', 'runtime', 'preview', 'enrollment')),
  from_status text not null,
  to_status text not null,
  event text not null,
  follow_ups text[] not null default '{}',
  primary key (machine, from_status, to_status)
);
comment on column voice_clone.edges.follow_ups is 'the queues that get a message in the transaction of the move';
alter table voice_clone.edges enable row level security;
revoke all on voice_clone.edges from public, anon, authenticated, service_role;

insert into voice_clone.edges (machine, from_status, to_status, event, follow_ups) values
  ('status', '', 'awaiting_upload', 'opened', '{}'),
  ('status', 'awaiting_upload', 'queued', 'queued', '{voice_clone_process}'),
  ('status', 'awaiting_upload', 'expired', 'expired', '{}'),
  ('status', 'awaiting_upload', 'cancelled', 'cancelled', '{}'),
  ('status', 'queued', 'processing', 'claimed', '{}'),
  ('status', 'queued', 'cancelled', 'cancelled', '{}'),
  ('status', 'processing', 'queued', 'requeued', '{voice_clone_process}'),
  ('status', 'processing', 'verifying', 'verification_awaited', '{voice_clone_verify}'),
  ('status', 'processing', 'ready', 'enrolled', '{voice_runtime_sync}'),
  ('status', 'processing', 'failed', 'failed', '{}'),
  ('status', 'processing', 'cancelled', 'cancelled', '{}'),
  ('status', 'verifying', 'ready', 'verified', '{voice_runtime_sync}'),
  ('status', 'verifying', 'failed', 'failed', '{}'),
  ('status', 'verifying', 'cancelled', 'cancelled', '{}'),
  ('status', 'ready', 'cancelled', 'cancelled', '{}'),
  ('status', 'failed', 'queued', 'retried', '{voice_clone_process}'),
  ('status', 'failed', 'cancelled', 'cancelled', '{}'),

  ('runtime', 'pending', 'syncing', 'runtime_syncing', '{}'),
  ('runtime', 'syncing', 'synced', 'runtime_synced', '{voice_preview}'),
  ('runtime', 'syncing', 'pending', 'runtime_requeued', '{voice_runtime_sync}'),
  ('runtime', 'syncing', 'failed', 'runtime_failed', '{}'),
  ('runtime', 'failed', 'pending', 'runtime_retried', '{voice_runtime_sync}'),

  ('preview', 'required', 'rendering', 'preview_rendering', '{}'),
  ('preview', 'rendering', 'rendered', 'preview_rendered', '{}'),
  ('preview', 'rendering', 'required', 'preview_requeued', '{voice_preview}'),
  ('preview', 'rendering', 'failed', 'preview_failed', '{}'),
  ('preview', 'rendered', 'completed', 'preview_completed', '{}'),
  ('preview', 'rendered', 'required', 'preview_requested', '{voice_preview}'),
  ('preview', 'failed', 'required', 'preview_requested', '{voice_preview}'),

  ('enrollment', '', 'intended', 'intended', '{}'),
  ('enrollment', 'intended', 'unknown', 'unknown', '{}'),
  ('enrollment', 'intended', 'attached', 'attached', '{}'),
  ('enrollment', 'intended', 'closed', 'closed', '{}'),
  ('enrollment', 'intended', 'orphaned', 'orphaned', '{voice_cleanup}'),
  ('enrollment', 'unknown', 'attached', 'attached', '{}'),
  ('enrollment', 'unknown', 'closed', 'closed', '{}'),
  ('enrollment', 'unknown', 'orphaned', 'orphaned', '{voice_cleanup}'),
  ('enrollment', 'closed', 'orphaned', 'orphaned', '{voice_cleanup}'),
  ('enrollment', 'orphaned', 'removed', 'removed', '{}');

-- The edge of a move, or VC001.
create function voice_clone.edge(p_machine text, p_from text, p_to text, p_subject uuid) returns voice_clone.edges
language plpgsql stable set search_path = ''
as $$
declare
  v_edge voice_clone.edges;
begin
  select * into v_edge
  from voice_clone.edges e where e.machine = p_machine and e.from_status = p_from and e.to_status = p_to;
  if not found then
    raise exception '% % cannot go from % to %', p_machine, p_subject, coalesce(nullif(p_from, ''), 'nothing'), p_to
      using errcode = 'VC001',
            detail = jsonb_build_object('from', p_from, 'to', p_to)::text;
  end if;
  return v_edge;
end
$$;
