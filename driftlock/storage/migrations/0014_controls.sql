-- What people say of a stream is journaled among its records, as its profile is: lessons from feedback, anchors, redaction.

-- Other kinds of rows: 7 a lesson of a stream, 8 an anchor of a stream; 9 redaction rules, of a stream or of the whole tenant.
alter table driftlock.journal
  drop constraint journal_kind_check,
  drop constraint journal_check,
  add constraint journal_kind_check check (kind between 0 and 9),
  add constraint journal_check check (
    (kind in (0, 3, 5, 7, 8) or (kind = 9 and stream_id is not null)) = (stream_id is not null)
    and (kind in (0, 3, 4, 5, 7, 8, 9)) = (tenant_id is not null));

-- Append one control record of a stream, or of a tenant (p_stream null); returns its position, null when there is no such
-- stream or tenant. Not metered. It counts against p_bytes_max. Whatever goes with it is written in the same transaction.
create function driftlock.journal_control(
  p_shard integer, p_epoch bigint, p_bytes_max bigint, p_tenant uuid, p_stream uuid, p_kind smallint, p_crc bigint,
  p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_now_ns bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
begin
  -- The lock of all appends: nothing gets between what is looked at here and what is written.
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.tenants t where t.id = p_tenant and t.closed_at is null for key share;
  if not found then
    return null;
  end if;
  if p_stream is not null then
    perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant for key share;
    if not found then
      return null;
    end if;
  end if;
  if v_shard.bytes + driftlock.journal_row_bytes(p_body) > p_bytes_max then
    raise exception 'journal full' using errcode = 'ZD002';
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, p_kind, p_tenant, p_stream, v_now_ns, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), v_now_ns);
  return v_shard.next_seq;
end
$$;

-- As before, but for whatever tables of tenants there are: those that hang on others first.
create or replace function driftlock.tenant_shed(p_tenant uuid, p_rows_max integer) returns bigint
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
  for v_table in
    select c.relname from pg_class c
     where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and not c.relispartition and c.relname <> 'streams'
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
     order by c.relname in ('anomalies', 'incidents', 'members'), c.relname
  loop
    v_weight := case
      when v_table in ('journal_quarantine', 'stream_checkpoints', 'tenant_checkpoints', 'anchors', 'evidence') then 10 else 1
    end;
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

-- Redaction rules of a whole tenant are rows without a stream: they are looked for when the tenant goes.
create index journal_rules on driftlock.journal (tenant_id, seq) where kind = 9;

-- As before; no row of the tenant's own is left behind, whatever it says.
create or replace function driftlock.tenant_finish(p_tenant uuid, p_streams_max integer) returns bigint
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
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 4)
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 9);
  get diagnostics v_last = row_count;
  return v_rows + v_last;
end
$$;

-- ---- Who has changed what. Written in the transaction of the change, never changed, deleted with the tenant only. ----
create table driftlock.audit (
  id uuid primary key default driftlock.uuid_v7(),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  at timestamptz not null default clock_timestamp(),
  actor_kind text not null check (actor_kind in ('key', 'user', 'local', 'command', 'system')),
  actor_id text not null check (octet_length(actor_id) <= 256),
  actor_name text not null check (octet_length(actor_name) <= 512),
  action text not null check (octet_length(action) between 1 and 64),
  target text not null check (octet_length(target) <= 512),
  detail jsonb not null default '{}' check (octet_length(detail::text) <= 16384),
  request_id text not null default '' check (octet_length(request_id) <= 256),
  network text not null default '' check (octet_length(network) <= 64)
);
create index audit_by_time on driftlock.audit (tenant_id, at desc, id desc);
alter table driftlock.audit enable row level security;
alter table driftlock.audit force row level security;
create policy tenant on driftlock.audit to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.audit to driftlock_node using (true) with check (true);
grant select, insert on driftlock.audit to driftlock_api;
grant select, insert, delete on driftlock.audit to driftlock_node;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_control(integer, bigint, bigint, uuid, uuid, smallint, bigint, bytea)
to driftlock_node;
