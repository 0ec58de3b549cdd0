-- Tenants move from one shard of the journal to another, with all that is known of them: `driftlock tenant move`.
--
-- A row at position s of the old shard is at s + shift of the new one, and so is whatever names its position: a constant keeps
-- their order, and 0, which a shard that has never had a row allows, keeps the positions themselves. Rows of others leave holes
-- between those that came, so readers are told where holes are no loss. Behind such a range lies one clock row of the year 1970,
-- the seam: it moves nothing, and lets every reader find the end.
--
-- Nothing moves where the streams of a tenant lie in several shards: relay_checkpoints and derived are empty then, and stay.
--
-- Own error codes: ZD413 a shard holds rows that are not applied yet, ZD414 streams lie before an era that the new shard could
-- not tell them of, ZD415 the streams of tenants lie in several shards.

-- Positions first_seq .. last_seq of a shard have holes: they are those of `source` plus shift. source = shard: rows have left it.
create table driftlock.journal_moved (
  shard integer not null references driftlock.journal_shard,
  first_seq bigint not null check (first_seq > 0),
  last_seq bigint not null,
  source integer not null references driftlock.journal_shard,
  shift bigint not null check (shift >= 0),
  at timestamptz not null default clock_timestamp(),
  primary key (shard, first_seq),
  check (last_seq >= first_seq and last_seq > shift)
);
grant select, insert on driftlock.journal_moved to driftlock_node;
grant update (shard) on driftlock.streams to driftlock_node;
grant update (shard, seq) on driftlock.journal_quarantine to driftlock_node;
grant update (seq) on driftlock.redaction_rules to driftlock_node;

-- Put a seam behind the newest row of a shard whose lock is held and all of whose rows are applied; its position.
create function driftlock.journal_seam(p_shard integer, p_epoch bigint, p_crc bigint, p_body bytea) returns bigint
language plpgsql
as $$
declare
  v_seq bigint := driftlock.journal_append_control(
    p_shard, p_epoch, (extract(epoch from clock_timestamp()) * 1000000000)::bigint, p_crc, p_body);
begin
  update driftlock.journal_position p set applied_seq = v_seq where p.shard = p_shard;
  return v_seq;
end
$$;

-- Make room in p_to for rows of p_from, or find what is there already; what is to be added to their positions. p_crc and p_body
-- are those of a seam. Both shards have to be the caller's, and applied to their ends. Raises ZD001, ZD413.
create function driftlock.journal_make_room(
  p_from integer, p_from_epoch bigint, p_to integer, p_to_epoch bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_from driftlock.journal_shard;
  v_to driftlock.journal_shard;
  v_last bigint;   -- of p_from, before its seam
  v_shift bigint;
begin
  -- In the order in which appends and steps take them.
  perform from driftlock.journal_shard s where s.shard in (p_from, p_to) order by s.shard for update;
  perform from driftlock.journal_position p where p.shard in (p_from, p_to) order by p.shard for update;
  select * into strict v_from from driftlock.journal_shard s where s.shard = p_from;
  select * into strict v_to from driftlock.journal_shard s where s.shard = p_to;
  if v_from.epoch <> p_from_epoch or v_to.epoch <> p_to_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  if exists (
    select from driftlock.journal_position p join driftlock.journal_shard s using (shard)
     where p.shard in (p_from, p_to) and p.applied_seq <> s.next_seq - 1
  ) then
    raise exception 'not all rows are applied' using errcode = 'ZD413';
  end if;

  select m.last_seq into v_last from driftlock.journal_moved m
   where m.shard = p_from and m.source = p_from and m.last_seq = v_from.next_seq - 2;
  if v_last is null then
    v_last := greatest(v_from.next_seq - 1, 1);
    if v_from.next_seq = 1 then
      perform driftlock.journal_seam(p_from, p_from_epoch, p_crc, p_body);  -- a range has a row at least
    end if;
    insert into driftlock.journal_moved (shard, first_seq, last_seq, source, shift)
    select p_from, coalesce(max(m.last_seq), 0) + 1, v_last, p_from, 0 from driftlock.journal_moved m where m.shard = p_from;
    perform driftlock.journal_seam(p_from, p_from_epoch, p_crc, p_body);
  end if;

  select m.shift into v_shift from driftlock.journal_moved m
   where m.shard = p_to and m.source = p_from and m.last_seq = v_last + m.shift and m.last_seq = v_to.next_seq - 2
     and m.first_seq >= v_to.slot_first_seq;
  if v_shift is not null then
    return v_shift;
  end if;
  -- Beyond all that either shard has: then no position becomes one that is in use, on the way either.
  v_shift := case when v_to.next_seq = 1 then 0 else greatest(v_to.next_seq - 1, v_last) end;
  insert into driftlock.journal_moved (shard, first_seq, last_seq, source, shift)
  values (p_to, v_to.next_seq, v_last + v_shift, p_from, v_shift);
  update driftlock.journal_shard s set next_seq = v_last + v_shift + 1 where s.shard = p_to;
  perform driftlock.journal_seam(p_to, p_to_epoch, p_crc, p_body);
  if v_shift = 0 then
    -- Nothing was ever judged here: what judged there goes on here, and streams pass the eras that they have not passed yet.
    insert into driftlock.journal_identity (shard, versions, database)
    select p_to, i.versions, i.database from driftlock.journal_identity i where i.shard = p_from
    on conflict (shard) do update set versions = excluded.versions, database = excluded.database, noted_at = now();
    insert into driftlock.journal_era (shard, seq, since_seq, changes, database, begun_at)
    select p_to, e.seq, e.since_seq, e.changes, e.database, e.begun_at from driftlock.journal_era e where e.shard = p_from;
  end if;
  return v_shift;
end
$$;

-- The rows of a tenant in a shard: those of its streams, and its own.
create function driftlock.journal_rows_of(p_shard integer, p_tenant uuid) returns table (slot smallint, seq bigint)
language sql stable
set plan_cache_mode = force_custom_plan
as $$
  select j.slot, j.seq from driftlock.streams s join driftlock.journal j on j.shard = p_shard and j.stream_id = s.id
   where s.tenant_id = p_tenant
  union all
  select j.slot, j.seq from driftlock.journal j where j.shard = p_shard and j.tenant_id = p_tenant and j.kind = 4
  union all
  select j.slot, j.seq from driftlock.journal j
   where j.shard = p_shard and j.tenant_id = p_tenant and j.kind = 9 and j.stream_id is null
$$;

-- Move a tenant with everything that is its own; how many rows of the journal went. 0 rows, and nothing happens, where it is no
-- tenant of p_from (any more). Raises ZD001, ZD413, ZD414, ZD415.
create function driftlock.tenant_move(
  p_tenant uuid, p_from integer, p_from_epoch bigint, p_to integer, p_to_epoch bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
set plan_cache_mode = force_custom_plan
as $$
declare
  v_shift bigint;
  v_slot smallint;
  v_floor bigint;  -- what may be read again begins behind it
  v_bytes bigint;
  v_rows bigint;
  v_newest_ns bigint;
  v_oldest_ns bigint;
  v_place text[];
begin
  if exists (select from driftlock.spread w where w.spread > 1) then
    raise exception 'tenants lie in several shards' using errcode = 'ZD415';
  end if;
  v_shift := driftlock.journal_make_room(p_from, p_from_epoch, p_to, p_to_epoch, p_crc, p_body);
  select s.slot into strict v_slot from driftlock.journal_shard s where s.shard = p_to;
  perform from driftlock.tenants t where t.id = p_tenant and t.shard = p_from and t.closed_at is null for no key update;
  if not found then
    return 0;
  end if;
  perform from driftlock.streams s where s.tenant_id = p_tenant order by s.id for no key update;
  if v_shift > 0 and exists (
    select from driftlock.streams s
     cross join lateral (select max(c.seq) as newest from driftlock.stream_checkpoints c where c.stream_id = s.id) k
      join driftlock.journal_era e on e.shard = p_from and e.since_seq >= k.newest and e.changes <> '[]'
     where s.tenant_id = p_tenant
  ) then
    raise exception 'streams lie before an era' using errcode = 'ZD414';
  end if;

  -- Clocks that moved a finding, and those that its folds may have to be told again.
  select least(
      (select min(c.seq) from driftlock.stream_checkpoints c join driftlock.streams s on s.id = c.stream_id
        where s.tenant_id = p_tenant),
      (select min(c.seq) from driftlock.tenant_checkpoints c where c.tenant_id = p_tenant))
    into v_floor;
  with made as (
    insert into driftlock.journal as j (shard, seq, slot, kind, received_ns, records, raw_bytes, crc, body)
    select p_to, c.seq + v_shift, v_slot, 1, c.received_ns, 0, 0, c.crc, c.body from driftlock.journal c
     where c.shard = p_from and c.kind = 1
       and c.seq < (select s.next_seq - 1 from driftlock.journal_shard s where s.shard = p_from)
       and ((v_shift = 0 and c.seq > v_floor)
         or exists (select from driftlock.evidence e where e.tenant_id = p_tenant and e.seq = c.seq and e.state in ('waiting', 'skipped')))
    on conflict do nothing
    returning driftlock.journal_row_bytes(j.body) as size)
  select coalesce(sum(made.size), 0) into v_bytes from made;

  with freed as (
    select j.slot, sum(driftlock.journal_row_bytes(j.body))::bigint as bytes, count(*) as n, max(j.received_ns) as newest,
           min(j.received_ns) as oldest
      from driftlock.journal_rows_of(p_from, p_tenant) r
      join driftlock.journal j on j.shard = p_from and j.slot = r.slot and j.seq = r.seq
     group by j.slot
  ), slots as (
    update driftlock.journal_slot t set bytes = t.bytes - f.bytes from freed f where t.shard = p_from and t.slot = f.slot
  ), shard as (
    update driftlock.journal_shard s
       set bytes = s.bytes - f.bytes,
           slot_bytes = s.slot_bytes - coalesce((select o.bytes from freed o where o.slot = s.slot), 0)
      from (select sum(freed.bytes) as bytes from freed) f
     where s.shard = p_from and f.bytes is not null
  )
  select v_bytes + coalesce(sum(freed.bytes), 0), coalesce(sum(freed.n), 0), max(freed.newest), min(freed.oldest)
    into v_bytes, v_rows, v_newest_ns, v_oldest_ns from freed;
  update driftlock.journal j set shard = p_to, seq = j.seq + v_shift, slot = v_slot
    from driftlock.journal_rows_of(p_from, p_tenant) r
   where j.shard = p_from and j.slot = r.slot and j.seq = r.seq;
  update driftlock.journal_shard s
     set bytes = s.bytes + v_bytes, slot_bytes = s.slot_bytes + v_bytes,
         slot_newest_ns = greatest(s.slot_newest_ns, v_newest_ns),
         slot_since_ns = coalesce(least(nullif(s.slot_since_ns, 0), v_oldest_ns), 0)
   where s.shard = p_to;

  update driftlock.journal_quarantine q set shard = p_to, seq = q.seq + v_shift where q.shard = p_from and q.tenant_id = p_tenant;
  if v_shift > 0 then
    foreach v_place slice 1 in array array[
      ['journal_request', 'seq'], ['stream_checkpoints', 'seq'], ['tenant_checkpoints', 'seq'], ['series_states', 'seq'],
      ['service_graphs', 'seq'], ['anchors', 'seq'], ['anchors', 'ended_seq'], ['anchor_settings', 'seq'], ['feedback', 'seq'],
      ['redaction_rules', 'seq'], ['anomalies', 'journal_seq'], ['evidence', 'seq'], ['evidence', 'base_seq']
    ] loop
      -- 0 is no position: before everything, or not known.
      execute format(
        'update driftlock.%I set %2$I = %2$I + $2 where tenant_id = $1 and %2$I > 0', v_place[1], v_place[2]
      ) using p_tenant, v_shift;
    end loop;
  end if;
  update driftlock.streams s set shard = p_to where s.tenant_id = p_tenant;
  update driftlock.tenants t set shard = p_to where t.id = p_tenant;
  return v_rows;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_seam(integer, bigint, bigint, bytea),
  driftlock.journal_make_room(integer, bigint, integer, bigint, bigint, bytea),
  driftlock.journal_rows_of(integer, uuid), driftlock.tenant_move(uuid, integer, bigint, integer, bigint, bigint, bytea)
to driftlock_node;
