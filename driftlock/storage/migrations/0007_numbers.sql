-- Numbers: the states of the series of metrics streams, one by one, so that idle ones need not be in memory.

-- A state as of the journal row `seq`; its stream's checkpoint at that row, or a later one, stands for it. `series` is an
-- unsigned 64-bit number, stored as the signed one with the same bits.
create table driftlock.series_states (
  stream_id uuid not null references driftlock.streams on delete cascade,
  series bigint not null,
  seq bigint not null,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  crc bigint not null,
  state bytea not null,
  primary key (stream_id, series, seq)
);
alter table driftlock.series_states alter column state set storage external;
create index series_states_by_tenant on driftlock.series_states (tenant_id);
alter table driftlock.series_states enable row level security;
alter table driftlock.series_states force row level security;
create policy tenant on driftlock.series_states to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.series_states to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.series_states to driftlock_node;
