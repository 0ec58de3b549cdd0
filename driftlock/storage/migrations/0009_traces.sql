-- Traces: what incidents say of their cause, by which traces a finding can be found, and who calls whom.

-- `suspects`: a list of {service, bits, share}, the most probable cause first. `trace_ids`, hexadecimal: traces to look at.
alter table driftlock.incidents
  add column suspects jsonb not null default '[]',
  add column trace_ids text[] not null default '{}';

-- The traces that a finding names. A table with an ordinary index, not an array with an inverted one: under row-level security
-- only leakproof operators may search an index, and those of arrays are not.
create table driftlock.anomaly_traces (
  anomaly_id uuid not null references driftlock.anomalies (id) on delete cascade,
  trace_id text not null,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  primary key (anomaly_id, trace_id)
);
create index anomaly_traces_by_trace on driftlock.anomaly_traces (tenant_id, trace_id);
alter table driftlock.anomaly_traces enable row level security;
alter table driftlock.anomaly_traces force row level security;
create policy tenant on driftlock.anomaly_traces to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.anomaly_traces to driftlock_node using (true) with check (true);
grant select on driftlock.anomaly_traces to driftlock_api;
grant select, insert on driftlock.anomaly_traces to driftlock_node;

-- The service graph of a stream of traces after the journal row `seq`: the edges with the most calls, of `edges_known`.
create table driftlock.service_graphs (
  stream_id uuid primary key references driftlock.streams on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  seq bigint not null,
  as_of_ns bigint not null,
  edges_known integer not null,
  edges jsonb not null
);
create index service_graphs_by_tenant on driftlock.service_graphs (tenant_id);
alter table driftlock.service_graphs enable row level security;
alter table driftlock.service_graphs force row level security;
create policy tenant on driftlock.service_graphs to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.service_graphs to driftlock_node using (true) with check (true);
grant select on driftlock.service_graphs to driftlock_api;
grant select, insert, update on driftlock.service_graphs to driftlock_node;
