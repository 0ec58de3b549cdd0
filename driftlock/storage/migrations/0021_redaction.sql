-- Redaction rules, settings of streams, streams that go, and findings that are over.

-- Which rules hold now: those that the control record at seq said, of a stream, or (stream_id null) of all of a tenant's.
create table driftlock.redaction_rules (
  id uuid primary key default driftlock.uuid_v7(),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  stream_id uuid references driftlock.streams on delete cascade,
  seq bigint not null,
  rules jsonb not null check (jsonb_typeof(rules) = 'array' and octet_length(rules::text) <= 65536),
  changed_at timestamptz not null default clock_timestamp()
);
create unique index redaction_rules_of_tenant on driftlock.redaction_rules (tenant_id) where stream_id is null;
create unique index redaction_rules_of_stream on driftlock.redaction_rules (stream_id) where stream_id is not null;
create index redaction_rules_by_tenant on driftlock.redaction_rules (tenant_id);
create index redaction_rules_by_seq on driftlock.redaction_rules (seq);
alter table driftlock.redaction_rules enable row level security;
alter table driftlock.redaction_rules force row level security;
create policy tenant on driftlock.redaction_rules to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.redaction_rules to driftlock_node using (true) with check (true);
grant select on driftlock.redaction_rules to driftlock_api;
grant select, insert, delete on driftlock.redaction_rules to driftlock_node;

-- What values are hashed with. Made with a tenant's first rules, never shown, never changed: else equal values would differ.
create table driftlock.redaction_keys (
  tenant_id uuid primary key references driftlock.tenants on delete cascade,
  key bytea not null check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp()
);
alter table driftlock.redaction_keys enable row level security;
alter table driftlock.redaction_keys force row level security;
create policy tenant on driftlock.redaction_keys to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.redaction_keys to driftlock_node using (true) with check (true);
grant select, insert, delete on driftlock.redaction_keys to driftlock_node;

-- ---- Settings of streams, and streams that are being deleted. ----
alter table driftlock.streams
  add column display_name text not null default '' check (octet_length(display_name) <= 256),
  add column retention_days integer check (retention_days between 1 and 3650),  -- null = those of the plan
  add column closed_at timestamptz;  -- it is being deleted: nobody finds it, and its key is free
grant update (display_name, retention_days) on driftlock.streams to driftlock_node;
grant update (slug, environment, closed_at) on driftlock.streams to driftlock_node;
create index streams_closed on driftlock.streams (closed_at) where closed_at is not null;

-- From now on nobody finds the stream, and the next record of its key begins another one; false when there is no such stream.
-- Its signal and service stay: they say what kind of fold takes in the rows that it still has.
create function driftlock.stream_close(p_shard integer, p_epoch bigint, p_tenant uuid, p_stream uuid) returns boolean
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_overflow boolean;
begin
  -- As appends take it: nothing that was journaled before is behind it.
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.tenants t where t.id = p_tenant for no key update;
  update driftlock.streams s
     set closed_at = clock_timestamp(), slug = '_deleted-' || s.id, environment = '_deleted-' || s.id
   where s.id = p_stream and s.tenant_id = p_tenant and s.closed_at is null
  returning s.overflow into v_overflow;
  if not found then
    return false;
  end if;
  update driftlock.tenants t set streams = greatest(0, t.streams - 1) where t.id = p_tenant and not v_overflow;
  delete from driftlock.redaction_rules r where r.stream_id = p_stream;
  return true;
end
$$;

-- One bite of a closed stream's journal: its rows lose everything but their place and their time, and are noted as removed.
-- Returns how many did.
create function driftlock.stream_purge(p_stream uuid, p_shard integer, p_slot smallint, p_seq bigint[]) returns bigint
language plpgsql
as $$
declare
  v_bytes bigint;
  v_rows bigint;
begin
  perform from driftlock.journal_shard s where s.shard = p_shard for update;
  if not exists (select from driftlock.streams s where s.id = p_stream and s.closed_at is not null) then
    return 0;
  end if;
  select coalesce(sum(octet_length(j.body)), 0) into v_bytes from driftlock.journal j
   where j.shard = p_shard and j.slot = p_slot and j.seq = any (p_seq) and j.stream_id = p_stream;
  insert into driftlock.journal_removed as r (tenant_id, signal, records)
  select s.tenant_id, s.signal, sum(j.records)
    from driftlock.journal j join driftlock.streams s on s.id = j.stream_id
   where j.shard = p_shard and j.slot = p_slot and j.seq = any (p_seq) and j.stream_id = p_stream and j.records > 0
   group by 1, 2
  on conflict (tenant_id, signal) do update set records = r.records + excluded.records;
  update driftlock.journal j
     set kind = 2, tenant_id = null, stream_id = null, records = 0, raw_bytes = 0, crc = 0, body = ''
   where j.shard = p_shard and j.slot = p_slot and j.seq = any (p_seq) and j.stream_id = p_stream;
  get diagnostics v_rows = row_count;
  update driftlock.journal_slot t set bytes = t.bytes - v_bytes where t.shard = p_shard and t.slot = p_slot;
  update driftlock.journal_shard s
     set bytes = s.bytes - v_bytes, slot_bytes = s.slot_bytes - case when s.slot = p_slot then v_bytes else 0 end
   where s.shard = p_shard;
  return v_rows;
end
$$;

-- One bite of everything else that is a closed stream's, in whatever tables say so by a stream_id; incidents that were its alone
-- go too. Returns how many rows; fewer than p_rows_max = nothing is left, but for what steps say of it from now on.
create function driftlock.stream_shed(p_stream uuid, p_rows_max integer) returns bigint
language plpgsql
as $$
declare
  v_table text;
  v_weight integer;
  v_rows bigint;
  v_left bigint := p_rows_max;
begin
  -- As steps take it: none of them is halfway through rows of the stream.
  perform from driftlock.journal_position p order by p.shard for update;
  if not exists (select from driftlock.streams s where s.id = p_stream and s.closed_at is not null) then
    return 0;
  end if;
  for v_table in
    select c.relname from pg_class c
     where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and not c.relispartition
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'stream_id' and not a.attisdropped)
     order by c.relname = 'anomalies', c.relname
  loop
    v_weight := case when v_table in ('journal_quarantine', 'stream_checkpoints', 'anchors', 'evidence') then 10 else 1 end;
    execute format(
      'delete from driftlock.%1$I where ctid = any (array(select ctid from driftlock.%1$I where stream_id = $1 limit $2))',
      v_table
    ) using p_stream, (v_left + v_weight - 1) / v_weight;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows * v_weight;
    if v_left <= 0 then
      return p_rows_max - v_left;
    end if;
  end loop;
  delete from driftlock.incidents i where i.id = any (array(
    select o.id from driftlock.incidents o where o.began_in = p_stream and o.stream_ids <@ array[p_stream] limit v_left));
  get diagnostics v_rows = row_count;
  return p_rows_max - v_left + v_rows;
end
$$;

-- The stream itself, once it was closed p_grace ago and the journal has no row of it; what steps have said of it meanwhile goes
-- too. The grace is longer than a request may wait between finding a stream and being journaled. False when it has to wait.
create function driftlock.stream_finish(p_stream uuid, p_grace interval) returns boolean
language plpgsql
as $$
begin
  -- In the order in which appends and steps take them.
  perform from driftlock.journal_shard s order by s.shard for update;
  perform from driftlock.journal_position p order by p.shard for update;
  delete from driftlock.incidents i using driftlock.streams s
   where s.id = p_stream and s.closed_at < clock_timestamp() - p_grace and i.began_in = p_stream
     and i.stream_ids <@ array[p_stream];
  delete from driftlock.streams s
   where s.id = p_stream and s.closed_at < clock_timestamp() - p_grace
     and not exists (select from driftlock.journal j where j.stream_id = p_stream);
  return found;
end
$$;

-- As before; a stream that is being deleted is told nothing more.
create or replace function driftlock.journal_append_time(
  p_shard integer, p_epoch bigint, p_tenant uuid, p_stream uuid, p_received bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant and s.closed_at is null for key share;
  if not found then
    return null;
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 5, p_tenant, p_stream, p_received, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), p_received);
  return v_shard.next_seq;
end
$$;

-- ---- Findings that are over. ----
-- Delete up to p_rows_max findings of a tenant that are older than their stream keeps them, or the plan does (p_days; null = it
-- sets no bound), and incidents that are over and have none left. Returns how many rows went.
create function driftlock.findings_expire(p_tenant uuid, p_days integer, p_rows_max integer) returns bigint
language plpgsql
as $$
declare
  v_rows bigint;
  v_incidents bigint;
begin
  delete from driftlock.anomalies a where a.id = any (array(
    select o.id
      from driftlock.streams s
     cross join lateral (
       select e.id from driftlock.anomalies e
        where e.stream_id = s.id
          and e.detected_at < clock_timestamp() - make_interval(days => least(s.retention_days, p_days))
        order by e.detected_at limit p_rows_max) o
     where s.tenant_id = p_tenant and least(s.retention_days, p_days) is not null
     limit p_rows_max));
  get diagnostics v_rows = row_count;
  delete from driftlock.incidents i where i.id = any (array(
    select o.id from driftlock.incidents o left join driftlock.streams s on s.id = o.began_in
     where o.tenant_id = p_tenant and o.state = 'closed'
       and o.updated_at < clock_timestamp() - make_interval(days => least(s.retention_days, p_days))
       and not exists (select from driftlock.anomalies a where a.incident_id = o.id)
     limit p_rows_max - v_rows));
  get diagnostics v_incidents = row_count;
  return v_rows + v_incidents;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.stream_close(integer, bigint, uuid, uuid), driftlock.stream_purge(uuid, integer, smallint, bigint[]),
  driftlock.stream_shed(uuid, integer), driftlock.stream_finish(uuid, interval),
  driftlock.findings_expire(uuid, integer, integer)
to driftlock_node;
