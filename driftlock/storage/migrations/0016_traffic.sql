-- Keys over REST: who made them, what they replace, how much one may ask, when it was last used. Answers that are kept for an
-- Idempotency-Key.

alter table driftlock.api_keys
  add column created_by text not null default '' check (octet_length(created_by) <= 256),
  add column replaces text check (octet_length(replaces) = 16),
  add column requests_per_minute integer check (requests_per_minute between 1 and 1000000),
  add column last_used_at timestamptz;
grant update (expires_at) on driftlock.api_keys to driftlock_api;
grant update (last_used_at), delete on driftlock.api_keys to driftlock_node;

-- The tenant of a server that brings its own database pays nobody.
update driftlock.tenants set plan = 'local' where name = 'local' and plan = 'free';

-- One row for each Idempotency-Key of a tenant and a route. `claim` is the run that may finish it: whoever takes a run over
-- writes another one, so that a change of the first run, which marks its claim in the transaction of the change, fails.
create table driftlock.idempotent_requests (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  route text not null check (octet_length(route) between 1 and 64),
  key_hash bytea not null check (octet_length(key_hash) = 16),
  content_hash bytea not null check (octet_length(content_hash) = 16),
  claim uuid not null,
  claimed_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  happened boolean not null default false,
  status smallint check (status between 200 and 299),
  headers jsonb check (octet_length(headers::text) <= 8192),
  body bytea check (octet_length(body) <= 65536),
  primary key (tenant_id, route, key_hash)
);
create unique index idempotent_requests_by_claim on driftlock.idempotent_requests (claim);
create index idempotent_requests_by_age on driftlock.idempotent_requests (expires_at);
alter table driftlock.idempotent_requests enable row level security;
alter table driftlock.idempotent_requests force row level security;
create policy tenant on driftlock.idempotent_requests to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.idempotent_requests to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.idempotent_requests to driftlock_api;
-- What people say of a stream is written by the node: it marks the claim as the API does.
grant select, delete, update (happened) on driftlock.idempotent_requests to driftlock_node;

revoke execute on all functions in schema driftlock from public;
