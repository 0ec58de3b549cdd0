-- Evidence of findings: what each verdict is a function of, signed and chained, so that it can be judged again elsewhere.

-- One row a finding that a stream's fold has made, written in its step. seq is the row of the journal that brought it, base_seq
-- the checkpoint before it (0 = the stream begins with its rows). While it is 'waiting' that checkpoint is kept beside the
-- newest two, until the bundle is made; 'skipped' were too many at once, and are made if somebody asks in time; what is 'expired'
-- says why. digest stays when the bundle goes: the chain goes on over it.
create table driftlock.evidence (
  anomaly_id uuid primary key references driftlock.anomalies (id) on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  stream_id uuid not null references driftlock.streams on delete cascade,
  seq bigint not null check (seq > 0),
  base_seq bigint not null check (base_seq >= 0 and base_seq < seq),
  state text not null check (state in ('waiting', 'skipped', 'ready', 'expired')),
  reason text not null default '' check (octet_length(reason) <= 1000),
  number bigint check (number > 0),
  digest bytea check (octet_length(digest) = 32),
  key_id text check (octet_length(key_id) = 16),
  made_at timestamptz,
  bundle_bytes bigint not null default 0,
  bundle bytea check (octet_length(bundle) <= 16778240),
  unique (tenant_id, number),
  check ((state = 'ready') = (bundle is not null)),
  check ((number is null) = (digest is null))
);
alter table driftlock.evidence alter column bundle set storage external;  -- what is large in it is compressed already
create index evidence_by_stream on driftlock.evidence (stream_id);
create index evidence_waiting on driftlock.evidence (tenant_id, anomaly_id) where state = 'waiting';
create index evidence_base on driftlock.evidence (stream_id, base_seq) where state = 'waiting';
create index evidence_ready on driftlock.evidence (tenant_id, number) include (bundle_bytes) where state = 'ready';
alter table driftlock.evidence enable row level security;
alter table driftlock.evidence force row level security;
create policy tenant on driftlock.evidence to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.evidence to driftlock_node using (true) with check (true);
grant select on driftlock.evidence to driftlock_api;
grant select, insert, update, delete on driftlock.evidence to driftlock_node;

-- The newest link of each tenant's chain: its row is the lock of whoever adds one.
create table driftlock.evidence_chain (
  tenant_id uuid primary key references driftlock.tenants on delete cascade,
  number bigint not null default 0 check (number >= 0),
  digest bytea not null default '' check (octet_length(digest) = case when number = 0 then 0 else 32 end)
);
alter table driftlock.evidence_chain enable row level security;
alter table driftlock.evidence_chain force row level security;
create policy tenant on driftlock.evidence_chain to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.evidence_chain to driftlock_node using (true) with check (true);
grant select on driftlock.evidence_chain to driftlock_api;
grant select, insert, update, delete on driftlock.evidence_chain to driftlock_node;

-- Public keys that have signed evidence; they stay when another one takes over, because what they signed does. Nobody's secret.
create table driftlock.evidence_keys (
  key_id text primary key check (octet_length(key_id) = 16),
  public_key bytea not null check (octet_length(public_key) = 32),
  since timestamptz not null default now()
);
grant select on driftlock.evidence_keys to driftlock_api;
grant select, insert on driftlock.evidence_keys to driftlock_node;

revoke execute on all functions in schema driftlock from public;
