-- Signing, withdrawing and verifying consents.

create function voice_clone.sign_consent(
  p_user uuid, p_statement text, p_locale text, p_subject_kind text, p_subject_id uuid
) returns setof public.consents
language plpgsql security definer set search_path = ''
as $$
declare
  v_statement uuid;
begin
  select s.id into v_statement
  from public.consent_statements s
  where s.statement = p_statement and s.locale = p_locale
  order by s.version desc limit 1;
  if v_statement is null then
    raise exception 'there is no statement % in %', p_statement, p_locale
      using errcode = 'VC006', detail = '{"code": "statement_not_found", "field": "statement"}';
  end if;
  if p_subject_kind = 'reflection' and not exists (
    select from public.reflections r where r.id = p_subject_id and r.user_id = p_user
  ) then
    raise exception 'there is no such reflection'
      using errcode = 'VC004', detail = '{"field": "subject"}';
  end if;
  return query
    insert into public.consents (user_id, statement_id, subject_kind, subject_id, position, previous_hash, hash)
    values (p_user, v_statement, p_subject_kind, p_subject_id, 0, '', '')
    returning *;
end
$$;

-- Withdraws a signature. Withdrawing twice gives the first withdrawal.
create function voice_clone.revoke_consent(p_consent uuid, p_user uuid) returns setof public.consents
language plpgsql security definer set search_path = ''
as $$
begin
  return query select * from public.consents c where c.revokes = p_consent and c.user_id = p_user;
  if found then
    return;
  end if;
  return query
    insert into public.consents (user_id, statement_id, subject_kind, subject_id, revokes, position, previous_hash, hash)
    select c.user_id, c.statement_id, c.subject_kind, c.subject_id, c.id, 0, '', ''
    from public.consents c
    where c.id = p_consent and c.user_id = p_user and c.revokes is null
    returning *;
  if not found then
    raise exception 'there is no such consent' using errcode = 'VC004';
  end if;
exception when unique_violation then -- two withdrawals at once: the other one stands
  return query select * from public.consents c where c.revokes = p_consent and c.user_id = p_user;
end
$$;

-- The entries whose seal does not fit what they say, or what came before them. Empty when the chain is whole.
create function voice_clone.broken_consents(p_user uuid) returns setof public.consents
language sql stable security definer set search_path = ''
as $$
  select (chain.entry).*
  from (
    select c as entry,
      lag(c.hash, 1, '\x00') over (order by c.position) as expected_previous,
      row_number() over (order by c.position) as expected_position
    from public.consents c where c.user_id = p_user
  ) chain
  where (chain.entry).previous_hash <> chain.expected_previous
    or (chain.entry).position <> chain.expected_position
    or (chain.entry).hash <> voice_clone.consent_hash(chain.entry)
$$;

grant execute on function
  voice_clone.sign_consent(uuid, text, text, text, uuid),
  voice_clone.revoke_consent(uuid, uuid),
  voice_clone.broken_consents(uuid)
to voice_clone_backend;
