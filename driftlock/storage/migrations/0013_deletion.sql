-- Tenants go in bites, each a transaction of its own, so that nobody else waits longer than for one: closed at first, then
-- emptied bite by bite by whoever finds it closed, and gone at last.

create index tenants_closed on driftlock.tenants (closed_at) where closed_at is not null;

grant delete on
  driftlock.api_keys, driftlock.streams, driftlock.stream_status, driftlock.incidents, driftlock.anomalies,
  driftlock.anomaly_traces, driftlock.service_graphs, driftlock.meter, driftlock.ledger, driftlock.journal_removed
to driftlock_node;

-- From now on nothing of the tenant is taken in, and its name is free; false when there is no such tenant.
create function driftlock.tenant_close(p_tenant uuid) returns boolean
language plpgsql
as $$
begin
  -- As appends take it: nothing of the tenant is on its way in after this.
  perform from driftlock.journal_shard s order by s.shard for update;
  delete from driftlock.api_keys k where k.tenant_id = p_tenant;
  update driftlock.tenants t set closed_at = clock_timestamp(), name = 'deleted-' || t.id
   where t.id = p_tenant and t.closed_at is null;
  return exists (select from driftlock.tenants t where t.id = p_tenant);
end
$$;

-- One bite of the journal: rows of a closed tenant lose everything but their place and their time. Returns how many did; rows
-- that have left the journal meanwhile, or are somebody else's, are not touched.
create function driftlock.tenant_purge(p_tenant uuid, p_shard integer, p_slot smallint, p_seq bigint[]) returns bigint
language plpgsql
as $$
declare
  v_bytes bigint;
  v_rows bigint;
begin
  perform from driftlock.journal_shard s where s.shard = p_shard for update;
  if not exists (select from driftlock.tenants t where t.id = p_tenant and t.closed_at is not null) then
    return 0;
  end if;
  select coalesce(sum(octet_length(j.body)), 0) into v_bytes from driftlock.journal j
   where j.shard = p_shard and j.slot = p_slot and j.seq = any (p_seq) and j.tenant_id = p_tenant;
  update driftlock.journal j
     set kind = 2, tenant_id = null, stream_id = null, records = 0, raw_bytes = 0, crc = 0, body = ''
   where j.shard = p_shard and j.slot = p_slot and j.seq = any (p_seq) and j.tenant_id = p_tenant;
  get diagnostics v_rows = row_count;
  update driftlock.journal_slot t set bytes = t.bytes - v_bytes where t.shard = p_shard and t.slot = p_slot;
  update driftlock.journal_shard s
     set bytes = s.bytes - v_bytes, slot_bytes = s.slot_bytes - case when s.slot = p_slot then v_bytes else 0 end
   where s.shard = p_shard;
  return v_rows;
end
$$;

-- One bite of everything else that is a closed tenant's, but for its streams: up to p_rows_max rows, one of a table with large
-- rows counting as ten. Returns how many; fewer than p_rows_max = nothing is left, but for what steps say of it from now on.
create function driftlock.tenant_shed(p_tenant uuid, p_rows_max integer) returns bigint
language plpgsql
as $$
declare
  v_table text;
  v_weight integer;
  v_rows bigint;
  v_left bigint := p_rows_max;
begin
  -- As steps take it: none of them is halfway through rows of the tenant.
  perform from driftlock.journal_position p order by p.shard for update;
  if not exists (select from driftlock.tenants t where t.id = p_tenant and t.closed_at is not null) then
    return 0;
  end if;
  foreach v_table in array array[
    'api_keys', 'journal_request', 'meter', 'ledger', 'journal_removed', 'journal_quarantine', 'anomaly_traces', 'anomalies',
    'incidents', 'stream_events', 'stream_status', 'service_graphs', 'series_states', 'stream_checkpoints', 'tenant_checkpoints'
  ] loop
    v_weight := case when v_table in ('journal_quarantine', 'stream_checkpoints', 'tenant_checkpoints') then 10 else 1 end;
    execute format(
      'delete from driftlock.%1$I where ctid = any (array(select ctid from driftlock.%1$I where tenant_id = $1 limit $2))',
      v_table
    ) using p_tenant, (v_left + v_weight - 1) / v_weight;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows * v_weight;
    exit when v_left <= 0;
  end loop;
  return p_rows_max - v_left;
end
$$;

-- One bite of a closed tenant's streams, and the tenant itself with the last of them; what steps have said of them meanwhile
-- goes too. Returns how many rows went; 0 when there is no such tenant, or the journal holds rows of all its streams again.
create function driftlock.tenant_finish(p_tenant uuid, p_streams_max integer) returns bigint
language plpgsql
as $$
declare
  v_rows bigint;
  v_last bigint;
begin
  -- In the order in which appends and steps take them.
  perform from driftlock.journal_shard s order by s.shard for update;
  perform from driftlock.journal_position p order by p.shard for update;
  if not exists (select from driftlock.tenants t where t.id = p_tenant and t.closed_at is not null) then
    return 0;
  end if;
  delete from driftlock.streams s
   where s.id in (
     select o.id from driftlock.streams o
      where o.tenant_id = p_tenant and not exists (select from driftlock.journal j where j.stream_id = o.id)
      limit p_streams_max);
  get diagnostics v_rows = row_count;
  delete from driftlock.tenants t
   where t.id = p_tenant
     and not exists (select from driftlock.streams s where s.tenant_id = p_tenant)
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 4);
  get diagnostics v_last = row_count;
  return v_rows + v_last;
end
$$;

-- As before; closed tenants are left out too, and none goes while it is added to.
create or replace function driftlock.ledger_add(
  p_node text, p_tenant uuid[], p_signal text[], p_received bigint[], p_rejected bigint[], p_refused bigint[]
) returns void
language sql
as $$
  with open as materialized (
    select t.id from driftlock.tenants t where t.id = any (p_tenant) and t.closed_at is null order by t.id for key share
  )
  insert into driftlock.ledger as l (tenant_id, node, signal, received, rejected, refused)
  select a.tenant_id, p_node, a.signal, sum(a.received), sum(a.rejected), sum(a.refused)
    from unnest(p_tenant, p_signal, p_received, p_rejected, p_refused) as a (tenant_id, signal, received, rejected, refused)
    join open on open.id = a.tenant_id
   group by 1, 2, 3 order by 1, 3
  on conflict (tenant_id, node, signal) do update set
    received = l.received + excluded.received, rejected = l.rejected + excluded.rejected,
    refused = l.refused + excluded.refused
$$;

-- As before; a closed tenant gets no streams.
create or replace function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[]
) returns table (stream_id uuid, overflow boolean)
language plpgsql
as $$
declare
  i integer;
  v_ids uuid[] := array[]::uuid[];
  v_overflow boolean[] := array[]::boolean[];
  v_id uuid;
  v_over boolean;
  v_shared text;
  v_room integer;  -- null until the tenant is locked, which only new keys need
  v_created integer := 0;
begin
  for i in 1 .. cardinality(p_signal) loop
    select s.id, s.overflow into v_id, v_over from driftlock.streams s
      where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
        and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    if v_id is null and v_room is null then
      -- One creator at a time per tenant, or two would both see room for the last stream. Then look again.
      select t.streams_max - t.streams into v_room from driftlock.tenants t
       where t.id = p_tenant and t.closed_at is null for no key update;
      if not found then
        raise exception 'no such tenant' using errcode = 'ZD404';
      end if;
      select s.id, s.overflow into v_id, v_over from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
          and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    end if;
    if v_id is null and v_room - v_created <= 0 then
      v_over := true;
      -- Spans that are to be put together to traces are no lines, so they share a stream of their own kind.
      v_shared := case when p_signal[i] = 'traces' and p_service[i] = '_traces' then '_traces' else '_overflow' end;
      select s.id into v_id from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = v_shared and s.namespace = ''
          and s.environment = '';
      if v_id is null then
        -- No key's slug begins with an underscore, but that of another stream of traces may.
        insert into driftlock.streams (tenant_id, signal, service, slug, overflow)
          values (
            p_tenant, p_signal[i], v_shared,
            v_shared || case when p_signal[i] = 'logs' or v_shared = '_traces' then '' else '-' || p_signal[i] end, true)
          returning id into v_id;
      end if;
    elsif v_id is null then
      v_over := false;
      insert into driftlock.streams (tenant_id, signal, service, namespace, environment, slug)
        values (
          p_tenant, p_signal[i], p_service[i], p_namespace[i], p_environment[i],
          case when exists (select from driftlock.streams s where s.tenant_id = p_tenant and s.slug = p_slug[i])
            then p_slug_unique[i] else p_slug[i] end)
        returning id into v_id;
      v_created := v_created + 1;
    end if;
    v_ids := v_ids || v_id;
    v_overflow := v_overflow || v_over;
  end loop;
  if v_created > 0 then
    update driftlock.tenants t set streams = t.streams + v_created where t.id = p_tenant;
  end if;
  return query select * from unnest(v_ids, v_overflow);
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.tenant_close(uuid), driftlock.tenant_purge(uuid, integer, smallint, bigint[]),
  driftlock.tenant_shed(uuid, integer), driftlock.tenant_finish(uuid, integer)
to driftlock_node;
