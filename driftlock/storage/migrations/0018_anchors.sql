-- Anchors of streams: what became of each, how far the stream is from it hour by hour, and what people have set.

create table driftlock.anchors (
  id uuid primary key,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  stream_id uuid not null references driftlock.streams on delete cascade,
  seq bigint not null check (seq > 0),
  standing text not null check (standing in ('in_force', 'ended', 'refused')),
  source text not null check (octet_length(source) between 1 and 32),
  cause text not null check (octet_length(cause) between 1 and 32),
  frozen_ns bigint not null,
  event_no bigint not null,
  codec text not null check (octet_length(codec) between 1 and 64),
  codec_level integer not null,
  codec_version text not null check (octet_length(codec_version) <= 64),
  window_lines integer not null check (window_lines > 0),
  lines integer not null check (lines >= 0),
  size_bytes integer not null check (size_bytes >= 0),
  ratio_normal double precision not null,
  ended_seq bigint,
  ended_ns bigint,
  ended_because text check (octet_length(ended_because) between 1 and 32),
  reason text not null check (octet_length(reason) <= 512),
  recorded_at timestamptz not null default now(),
  check ((standing = 'ended') = (ended_because is not null))
);
create index anchors_by_stream on driftlock.anchors (stream_id, seq desc);
create index anchors_by_tenant on driftlock.anchors (tenant_id);
create index anchors_in_force on driftlock.anchors (stream_id) where standing = 'in_force';

-- Closed hours of event time that have windows. `recent` is the median of the last hours, null while there are too few;
-- `since_ns` is when the drift that goes on was seen, 0 = there is none.
create table driftlock.drift (
  anchor_id uuid not null references driftlock.anchors on delete cascade,
  hour_ns bigint not null,
  stream_id uuid not null references driftlock.streams on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  distance double precision not null check (distance between 0 and 1),
  windows integer not null check (windows > 0),
  recent double precision check (recent between 0 and 1),
  since_ns bigint not null check (since_ns >= 0),
  primary key (anchor_id, hour_ns)
);
create index drift_by_stream on driftlock.drift (stream_id, hour_ns desc, anchor_id desc);
create index drift_by_tenant on driftlock.drift (tenant_id);

-- What was set last, and the position of the newest control record about the anchor of the stream: it may not be applied yet.
create table driftlock.anchor_settings (
  stream_id uuid primary key references driftlock.streams on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  seq bigint not null check (seq > 0),
  drift_ncd_threshold double precision not null check (drift_ncd_threshold between 0.01 and 1),
  reset_on_drift boolean not null,
  changed_at timestamptz not null default now()
);
create index anchor_settings_by_tenant on driftlock.anchor_settings (tenant_id);

alter table driftlock.anchors enable row level security;
alter table driftlock.anchors force row level security;
create policy tenant on driftlock.anchors to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.anchors to driftlock_node using (true) with check (true);
alter table driftlock.drift enable row level security;
alter table driftlock.drift force row level security;
create policy tenant on driftlock.drift to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.drift to driftlock_node using (true) with check (true);
alter table driftlock.anchor_settings enable row level security;
alter table driftlock.anchor_settings force row level security;
create policy tenant on driftlock.anchor_settings to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.anchor_settings to driftlock_node using (true) with check (true);

grant select on driftlock.anchors, driftlock.drift, driftlock.anchor_settings to driftlock_api;
grant select, insert, update, delete on driftlock.anchors, driftlock.anchor_settings to driftlock_node;
grant select, insert, delete on driftlock.drift to driftlock_node;
