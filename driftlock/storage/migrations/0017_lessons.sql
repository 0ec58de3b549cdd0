-- What people say of findings, what streams learn of it, and how the thresholds of a stream came to be what they are.

-- The finding from which a stream was taught that this one is no reason for an alarm.
alter table driftlock.anomalies add column silenced_by uuid;
create index anomalies_silenced on driftlock.anomalies (tenant_id, detected_at desc, end_ns desc, id desc)
  where silenced_by is not null;

-- One verdict a finding, as it stands. It outlives the finding, as what was taught does: lessons are in the states of folds, and
-- have to be known here to be withdrawn. lesson is null where nothing was learned, or is forgotten. The numbers are those of the
-- finding: thresholds are tuned by them.
create table driftlock.feedback (
  anomaly_id uuid primary key,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  stream_id uuid not null references driftlock.streams on delete cascade,
  verdict text not null check (verdict in ('confirmed', 'false_positive', 'expected')),
  until_ns bigint not null default 0 check (until_ns >= 0),
  note text not null default '' check (octet_length(note) <= 4096),
  lesson bytea check (octet_length(lesson) <= 65536),
  seq bigint not null,
  given_at timestamptz not null default clock_timestamp(),
  given_by text not null default '' check (octet_length(given_by) <= 512),
  question text not null check (octet_length(question) <= 64),
  ncd double precision not null,
  p_value double precision not null,
  ncd_threshold double precision not null,
  p_value_threshold double precision not null
);
create index feedback_by_stream on driftlock.feedback (stream_id, given_at desc);
alter table driftlock.feedback enable row level security;
alter table driftlock.feedback force row level security;
create policy tenant on driftlock.feedback to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.feedback to driftlock_node using (true) with check (true);
grant select on driftlock.feedback to driftlock_api;
grant select, insert, update, delete on driftlock.feedback to driftlock_node;

-- Whether thresholds follow feedback.
alter table driftlock.streams add column auto_tune boolean not null default false;
grant update (auto_tune) on driftlock.streams to driftlock_node;
create index streams_tuned on driftlock.streams (id) where auto_tune;

-- Every profile that a stream was given: what it was before (null = the default one) and is after, and why.
create table driftlock.tuning (
  stream_id uuid not null references driftlock.streams on delete cascade,
  n bigint not null,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  at timestamptz not null default clock_timestamp(),
  kind text not null default 'manual' check (kind in ('manual', 'automatic', 'undo')),
  before jsonb check (jsonb_typeof(before) = 'object'),
  after jsonb not null check (jsonb_typeof(after) = 'object'),
  reason text not null default '' check (octet_length(reason) <= 1024),
  undoes bigint,
  undone_by bigint,
  primary key (stream_id, n)
);
create index tuning_by_tenant on driftlock.tuning (tenant_id);
alter table driftlock.tuning enable row level security;
alter table driftlock.tuning force row level security;
create policy tenant on driftlock.tuning to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.tuning to driftlock_node using (true) with check (true);
grant select on driftlock.tuning to driftlock_api;
grant select, insert, update, delete on driftlock.tuning to driftlock_node;

-- Whoever changes a profile, and from wherever, it is written down in the same transaction; the newest thousand stay. The row of
-- the stream is locked by the change, so numbers follow each other.
create function driftlock.tuning_note() returns trigger
language plpgsql
as $$
declare
  v_n bigint;
begin
  select coalesce(max(t.n), 0) + 1 into v_n from driftlock.tuning t where t.stream_id = new.id;
  insert into driftlock.tuning (stream_id, n, tenant_id, before, after)
  values (new.id, v_n, new.tenant_id, old.profile, new.profile);
  delete from driftlock.tuning t where t.stream_id = new.id and t.n <= v_n - 1000;
  return null;
end
$$;
create trigger tuning_note after update of profile on driftlock.streams
  for each row when (old.profile is distinct from new.profile and new.profile is not null)
  execute function driftlock.tuning_note();

revoke execute on all functions in schema driftlock from public;
