-- What people look at: a feed of what happens, what they said of incidents, scores by the minute, and lists that stay fast.

-- ---- The feed. `seq` counts the events of one tenant in the order in which they were committed. Whoever adds events first
-- moves the tenant's head and holds its row until the commit; so an event that can be seen has none before it that can not. ----
create table driftlock.live_heads (
  tenant_id uuid primary key references driftlock.tenants on delete cascade,
  seq bigint not null check (seq >= 0)
);
alter table driftlock.live_heads enable row level security;
alter table driftlock.live_heads force row level security;
create policy tenant on driftlock.live_heads to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.live_heads to driftlock_node using (true) with check (true);
grant select, insert, update on driftlock.live_heads to driftlock_api;
grant select, insert, update, delete on driftlock.live_heads to driftlock_node;

create table driftlock.live_events (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  seq bigint not null,
  at timestamptz not null default clock_timestamp(),
  kind text not null check (kind in (
    'anomaly', 'incident.opened', 'incident.changed', 'incident.closed', 'incident.acknowledged', 'incident.resolved',
    'incident.reopened')),
  anomaly_id uuid references driftlock.anomalies on delete cascade,
  incident_id uuid references driftlock.incidents on delete cascade,
  primary key (tenant_id, seq),
  check ((kind = 'anomaly') = (anomaly_id is not null)),
  check ((kind = 'anomaly') = (incident_id is null))
);
-- A finding is told once, whatever is read again.
create unique index live_events_of_anomalies on driftlock.live_events (anomaly_id) where anomaly_id is not null;
create index live_events_of_incidents on driftlock.live_events (incident_id) where incident_id is not null;
create index live_events_by_age on driftlock.live_events (at);
alter table driftlock.live_events enable row level security;
alter table driftlock.live_events force row level security;
create policy tenant on driftlock.live_events to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.live_events to driftlock_node using (true) with check (true);
grant select, insert on driftlock.live_events to driftlock_api;
grant select, insert, delete on driftlock.live_events to driftlock_node;

-- ---- What people last said of an incident; all that they ever said is in the audit log. `findings` is how many the incident
-- had then: one that was resolved and has more by now is open again. ----
create table driftlock.incident_actions (
  incident_id uuid primary key references driftlock.incidents on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  version integer not null check (version > 0),
  status text not null check (status in ('open', 'acknowledged', 'resolved')),
  findings integer not null,
  note text not null default '' check (octet_length(note) <= 4096),
  actor_kind text not null check (actor_kind in ('key', 'user', 'local', 'command', 'system')),
  actor_id text not null check (octet_length(actor_id) <= 256),
  actor_name text not null check (octet_length(actor_name) <= 512),
  at timestamptz not null default clock_timestamp()
);
create index incident_actions_by_tenant on driftlock.incident_actions (tenant_id);
alter table driftlock.incident_actions enable row level security;
alter table driftlock.incident_actions force row level security;
create policy tenant on driftlock.incident_actions to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.incident_actions to driftlock_node using (true) with check (true);
grant select, insert, update on driftlock.incident_actions to driftlock_api;
grant select, delete on driftlock.incident_actions to driftlock_node;

-- ---- What was scored in each minute of event time of a stream (minutes since 1970). Steps add to it, each step once. ----
create table driftlock.stream_scores (
  stream_id uuid not null references driftlock.streams on delete cascade,
  minute bigint not null check (minute >= 0),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  events bigint not null,
  windows bigint not null,
  flagged bigint not null,
  surprise_max double precision not null,
  ncd_max double precision not null,
  p_value_min double precision not null,
  primary key (stream_id, minute)
) with (fillfactor = 85);
create index stream_scores_by_tenant on driftlock.stream_scores (tenant_id);
alter table driftlock.stream_scores enable row level security;
alter table driftlock.stream_scores force row level security;
create policy tenant on driftlock.stream_scores to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.stream_scores to driftlock_node using (true) with check (true);
grant select on driftlock.stream_scores to driftlock_api;
grant select, insert, update, delete on driftlock.stream_scores to driftlock_node;

-- ---- People who want to hear of the hosted service. They are nobody's tenant, so no tenant sees them. ----
create table driftlock.waitlist (
  email text primary key check (octet_length(email) between 3 and 254),
  at timestamptz not null default now()
);
alter table driftlock.waitlist enable row level security;
alter table driftlock.waitlist force row level security;
create policy node on driftlock.waitlist to driftlock_node using (true) with check (true);
grant select, insert, delete on driftlock.waitlist to driftlock_node;

-- ---- The position of the row that brought a finding to its stream (0 = not known, or no row of the stream did). ----
alter table driftlock.anomalies add column journal_seq bigint not null default 0;
create index anomalies_by_row on driftlock.anomalies (stream_id, journal_seq);

-- ---- Pages of a filtered list cost the same wherever they begin. ----
create index anomalies_of_incident on driftlock.anomalies (incident_id, detected_at desc, end_ns desc, id desc)
  where incident_id is not null;
drop index driftlock.anomalies_by_incident;  -- the one above serves all that it served, in the order of lists
create index anomalies_by_question on driftlock.anomalies (tenant_id, question, detected_at desc, end_ns desc, id desc);
create index anomalies_by_end on driftlock.anomalies (tenant_id, end_ns);
