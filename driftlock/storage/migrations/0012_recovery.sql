-- What can not be read is kept and told, and whoever takes the journal over knows whether it is the same database, judged by
-- the same versions, as before.

-- Another kind of row: 6 an era, of no tenant.
alter table driftlock.journal
  drop constraint journal_kind_check,
  add constraint journal_kind_check check (kind between 0 and 6);

-- ---- Quarantine: journal rows that were passed although they can not be read. ----
-- Retention does not touch it; bodies are kept for whoever can repair them, as far as there is room.

create table driftlock.journal_quarantine (
  shard integer not null references driftlock.journal_shard,
  seq bigint not null,
  tenant_id uuid references driftlock.tenants on delete cascade,  -- null: a clock or an era
  stream_id uuid,
  kind smallint not null,
  records integer not null,
  reason text not null,
  body_bytes bigint not null,  -- of the row
  body bytea,                  -- its beginning; null where there was no room
  crc bigint,                  -- the checksum that the whole body should have
  found_at timestamptz not null default now(),
  primary key (shard, seq)
);
alter table driftlock.journal_quarantine alter column body set storage external;
create index journal_quarantine_by_tenant on driftlock.journal_quarantine (tenant_id);
alter table driftlock.journal_quarantine enable row level security;
alter table driftlock.journal_quarantine force row level security;
create policy tenant on driftlock.journal_quarantine to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal_quarantine to driftlock_node using (true) with check (true);
grant select (shard, seq, tenant_id, stream_id, kind, records, reason, found_at) on driftlock.journal_quarantine to driftlock_api;
grant select, insert, delete on driftlock.journal_quarantine to driftlock_node;

-- Put rows into quarantine, each once. At most p_row_bytes_max of a body, p_bytes_max of all bodies, and p_rows_max rows are
-- kept, the newest. Returns how many were put there now.
create function driftlock.journal_quarantine_add(
  p_shard integer, p_seq bigint[], p_kind smallint[], p_reason text[], p_tenant uuid[], p_stream uuid[], p_records integer[],
  p_row_bytes_max integer, p_bytes_max bigint, p_rows_max integer
) returns bigint
language plpgsql
as $$
declare
  v_room bigint;
  v_added bigint;
begin
  select p_bytes_max - coalesce(sum(octet_length(q.body)), 0) into v_room
    from driftlock.journal_quarantine q where q.shard = p_shard;
  insert into driftlock.journal_quarantine as q (
    shard, seq, tenant_id, stream_id, kind, records, reason, body_bytes, body, crc)
  select p_shard, n.seq, t.id, case when t.id is not null then n.stream_id end, n.kind, n.records, n.reason,
         coalesce(j.size, 0),
         case when sum(least(coalesce(j.size, 0), p_row_bytes_max)) over (order by n.seq) <= v_room
              then substring(j.body for p_row_bytes_max) end,
         j.crc
    from unnest(p_seq, p_kind, p_reason, p_tenant, p_stream, p_records)
           as n (seq, kind, reason, tenant_id, stream_id, records)
    left join lateral (
      select octet_length(r.body) as size, r.body, r.crc from driftlock.journal r where r.shard = p_shard and r.seq = n.seq
    ) j on true
    left join driftlock.tenants t on t.id = n.tenant_id
   where n.tenant_id is null or t.id is not null  -- a tenant that was deleted meanwhile leaves nothing
   order by n.seq
  on conflict (shard, seq) do nothing;
  get diagnostics v_added = row_count;
  delete from driftlock.journal_quarantine q where q.shard = p_shard and q.seq < (
    select k.seq from driftlock.journal_quarantine k where k.shard = p_shard order by k.seq desc offset p_rows_max - 1 limit 1);
  return v_added;
end
$$;

-- ---- Eras: which versions judge, and which database this is. ----

create table driftlock.journal_identity (
  shard integer primary key references driftlock.journal_shard,
  versions jsonb not null,  -- of what can change a verdict, by name
  database jsonb not null,  -- what tells this database from a copy of it
  noted_at timestamptz not null default now()
);
grant select, insert, update on driftlock.journal_identity to driftlock_node;

-- Every era that the journal began. Their records leave the journal as others do; a stream that was idle all the while still
-- has to know of them.
create table driftlock.journal_era (
  shard integer not null references driftlock.journal_shard,
  seq bigint not null,        -- of its record
  since_seq bigint not null,  -- rows up to here were judged before
  changes jsonb not null,     -- [[name, old version, new version], ...]
  database text not null,     -- why it is not the database that it was; '' = it is
  begun_at timestamptz not null default now(),
  primary key (shard, seq)
);
grant select, insert on driftlock.journal_era to driftlock_node;

-- Begin an era: its record and its note, or neither. p_since has to be what is applied by now. Returns the record's position.
create function driftlock.journal_begin_era(
  p_shard integer, p_epoch bigint, p_received bigint, p_crc bigint, p_body bytea, p_since bigint, p_changes jsonb,
  p_reason text, p_versions jsonb, p_database jsonb
) returns bigint
language plpgsql
as $$
declare
  v_seq bigint := driftlock.journal_append_control(p_shard, p_epoch, p_received, p_crc, p_body);
begin
  update driftlock.journal j set kind = 6 where j.shard = p_shard and j.seq = v_seq;
  if not exists (select from driftlock.journal_position p where p.shard = p_shard and p.applied_seq = p_since) then
    raise exception 'the applied position has moved' using errcode = 'ZD001';
  end if;
  insert into driftlock.journal_era (shard, seq, since_seq, changes, database)
  values (p_shard, v_seq, p_since, p_changes, p_reason);
  update driftlock.journal_identity i set versions = p_versions, database = p_database, noted_at = now()
   where i.shard = p_shard;
  return v_seq;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_quarantine_add(
    integer, bigint[], smallint[], text[], uuid[], uuid[], integer[], integer, bigint, integer),
  driftlock.journal_begin_era(integer, bigint, bigint, bigint, bytea, bigint, jsonb, text, jsonb, jsonb)
to driftlock_node;
