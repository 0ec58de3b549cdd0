-- What the applier says: incidents, anomalies, and the checkpoints from which it starts again.

create table driftlock.incidents (
  id uuid primary key,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  state text not null check (state in ('open', 'closed')),
  start_ns bigint not null,
  end_ns bigint not null,
  findings integer not null,
  ncd_max double precision not null,
  p_value_min double precision not null,
  title text not null,
  stream_ids uuid[] not null,
  detected_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index incidents_by_time on driftlock.incidents (tenant_id, start_ns desc, id desc);
create index incidents_open on driftlock.incidents (tenant_id) where state = 'open';
alter table driftlock.incidents enable row level security;
alter table driftlock.incidents force row level security;
create policy tenant on driftlock.incidents to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.incidents to driftlock_node using (true) with check (true);
grant select on driftlock.incidents to driftlock_api;
grant select, insert, update on driftlock.incidents to driftlock_node;

-- One row a flagged window. The key (stream, window) is what makes a replay of the journal say everything once. The
-- columns serve filters and lists; body is the finding itself.
create table driftlock.anomalies (
  stream_id uuid not null references driftlock.streams on delete cascade,
  window_no bigint not null,
  id uuid not null unique,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  incident_id uuid references driftlock.incidents on delete set null,
  detected_at timestamptz not null default now(),
  start_ns bigint not null,
  end_ns bigint not null,
  first_event bigint not null,
  last_event bigint not null,
  ncd double precision not null,
  p_value double precision not null,
  confidence double precision not null,
  explanation text not null,
  body bytea not null,
  primary key (stream_id, window_no)
);
create index anomalies_by_time on driftlock.anomalies (tenant_id, detected_at desc, end_ns desc, id desc);
create index anomalies_by_stream on driftlock.anomalies (stream_id, detected_at desc, end_ns desc, id desc);
create index anomalies_by_incident on driftlock.anomalies (incident_id) where incident_id is not null;
alter table driftlock.anomalies enable row level security;
alter table driftlock.anomalies force row level security;
create policy tenant on driftlock.anomalies to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.anomalies to driftlock_node using (true) with check (true);
grant select on driftlock.anomalies to driftlock_api;
grant select, insert, update on driftlock.anomalies to driftlock_node;

-- The newest two states of every fold: the older one is there for when the newer one can not be read.
create table driftlock.stream_checkpoints (
  stream_id uuid not null references driftlock.streams on delete cascade,
  seq bigint not null,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  crc bigint not null,
  state bytea not null,
  primary key (stream_id, seq)
);
alter table driftlock.stream_checkpoints alter column state set storage external;
create index stream_checkpoints_by_tenant on driftlock.stream_checkpoints (tenant_id);
alter table driftlock.stream_checkpoints enable row level security;
alter table driftlock.stream_checkpoints force row level security;
create policy tenant on driftlock.stream_checkpoints to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.stream_checkpoints to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.stream_checkpoints to driftlock_node;

create table driftlock.tenant_checkpoints (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  seq bigint not null,
  crc bigint not null,
  state bytea not null,
  primary key (tenant_id, seq)
);
alter table driftlock.tenant_checkpoints alter column state set storage external;
alter table driftlock.tenant_checkpoints enable row level security;
alter table driftlock.tenant_checkpoints force row level security;
create policy tenant on driftlock.tenant_checkpoints to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.tenant_checkpoints to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.tenant_checkpoints to driftlock_node;

-- Where each stream fold stands: its two newest checkpoints (0 = none), the first row it has not folded into the newest
-- and the first not in the one before (null = none), among applied rows.
create function driftlock.stream_folds(p_shard integer) returns table (
  tenant_id uuid, stream_id uuid, newest_seq bigint, previous_seq bigint, after_newest bigint, after_previous bigint
)
language sql stable
as $$
  select s.tenant_id, s.id, k.newest, k.previous,
         case when newer.seq <= p.applied_seq then newer.seq end,
         case when older.seq <= p.applied_seq then older.seq end
    from driftlock.streams s
    join driftlock.journal_position p on p.shard = p_shard
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.stream_checkpoints c where c.stream_id = s.id
    ) k
    left join lateral (
      select j.seq from driftlock.journal j
       where j.kind = 0 and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
    ) newer on true
    left join lateral (
      select j.seq from driftlock.journal j
       where j.kind = 0 and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
    ) older on true
$$;

-- The same for tenant folds, which take in the rows of all streams of the tenant.
create function driftlock.tenant_folds(p_shard integer) returns table (
  tenant_id uuid, newest_seq bigint, previous_seq bigint, after_newest bigint, after_previous bigint
)
language sql stable
as $$
  select t.id, k.newest, k.previous,
         case when first.newer <= p.applied_seq then first.newer end,
         case when first.older <= p.applied_seq then first.older end
    from driftlock.tenants t
    join driftlock.journal_position p on p.shard = p_shard
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.tenant_checkpoints c where c.tenant_id = t.id
    ) k
    cross join lateral (
      select min(newer.seq) as newer, min(older.seq) as older
        from driftlock.streams s
        left join lateral (
          select j.seq from driftlock.journal j
           where j.kind = 0 and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
        ) newer on true
        left join lateral (
          select j.seq from driftlock.journal j
           where j.kind = 0 and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
        ) older on true
       where s.tenant_id = t.id
    ) first
$$;

-- Delete rows that nothing needs: applied, in both kept checkpoints of every fold that has later rows, and received before
-- p_before_ns. At most p_rows_max at a time, from the beginning, so the rest stays gapless. Also forgets requests received
-- before p_before_ns. Returns the rows deleted.
create function driftlock.journal_truncate(p_shard integer, p_epoch bigint, p_before_ns bigint, p_rows_max integer)
returns integer
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_applied bigint;
  v_floor bigint;
  v_last bigint;
  v_bytes bigint;
  v_rows integer;
begin
  -- What recovery needs is read before the lock that appends wait for: it only ever moves forward.
  select p.applied_seq into strict v_applied from driftlock.journal_position p where p.shard = p_shard;
  select least(
      v_applied,
      (select min(f.after_previous) - 1 from driftlock.stream_folds(p_shard) f where f.after_newest is not null),
      (select min(f.after_previous) - 1 from driftlock.tenant_folds(p_shard) f where f.after_newest is not null))
    into v_floor;

  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;

  -- The beginning of the journal up to the first row that has to stay.
  select max(h.seq) filter (where not h.stays) into v_last from (
    select b.seq, bool_or(b.received_ns >= p_before_ns) over (order by b.seq) as stays
      from (
        select j.seq, j.received_ns from driftlock.journal j
         where j.shard = p_shard and j.seq > v_shard.truncated_seq and j.seq <= v_floor order by j.seq limit p_rows_max
      ) b
  ) h;
  if v_last > v_applied then
    raise exception 'row % is not applied yet', v_last using errcode = 'ZD003';
  end if;

  with gone as (
    delete from driftlock.journal j where j.shard = p_shard and j.seq <= v_last
    returning driftlock.journal_row_bytes(j.body) as size
  )
  select count(*), coalesce(sum(size), 0) into v_rows, v_bytes from gone;
  update driftlock.journal_shard s set bytes = s.bytes - v_bytes, truncated_seq = coalesce(v_last, s.truncated_seq)
   where s.shard = p_shard;

  delete from driftlock.journal_request r where (r.tenant_id, r.hash) in (
    select o.tenant_id, o.hash from driftlock.journal_request o where o.received_ns < p_before_ns limit p_rows_max
  );
  return v_rows;
end
$$;

-- Delete a tenant and everything that is its own. Its journal rows become empty ones, because the order must stay gapless.
create function driftlock.tenant_delete(p_tenant uuid) returns boolean
language plpgsql
as $$
begin
  -- In the order in which appends and steps take them: nothing of the tenant is on its way in after this.
  perform from driftlock.journal_shard s order by s.shard for update;
  perform from driftlock.journal_position p order by p.shard for update;
  update driftlock.journal_shard s set bytes = s.bytes - freed.bytes
    from (
      select j.shard, sum(octet_length(j.body))::bigint as bytes from driftlock.journal j
       where j.kind = 0 and j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant)
       group by j.shard
    ) freed
   where freed.shard = s.shard;
  update driftlock.journal j
     set kind = 2, tenant_id = null, stream_id = null, records = 0, raw_bytes = 0, crc = 0, body = ''
   where j.kind = 0 and j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant);
  delete from driftlock.journal_request r where r.tenant_id = p_tenant;
  delete from driftlock.tenants t where t.id = p_tenant;
  return found;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.stream_folds(integer), driftlock.tenant_folds(integer),
  driftlock.journal_truncate(integer, bigint, bigint, integer), driftlock.tenant_delete(uuid)
to driftlock_node;
