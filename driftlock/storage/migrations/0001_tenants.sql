-- Tenants, their API keys, and what every later table builds on: the tenant of a session and time-ordered ids.
--
-- Two roles use this schema. driftlock_api serves one tenant at a time and sees that tenant's rows only, by row-level
-- security. driftlock_node takes records in and applies them for all tenants, on the tables that this needs. Every table
-- that has a tenant_id forces row-level security, so that not even the owner reads past it.

revoke all on schema driftlock from public;
grant usage on schema driftlock to driftlock_api, driftlock_node;
grant select on driftlock.schema_migrations to driftlock_api, driftlock_node;

-- The tenant set for this transaction, or null, which matches no row. A custom setting that was set locally once reads ''
-- ever after.
create function driftlock.current_tenant() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('driftlock.tenant_id', true), '')::uuid $$;

-- RFC 9562, version 7: 48 bits of milliseconds, then randomness, so that new ids go to the right edge of their index.
do $do$
begin
  if exists (select from pg_proc where proname = 'uuidv7' and pronamespace = 'pg_catalog'::regnamespace) then
    create function driftlock.uuid_v7() returns uuid language sql volatile parallel safe
    as 'select pg_catalog.uuidv7()';
  else
    create function driftlock.uuid_v7() returns uuid language sql volatile parallel safe
    as $fn$
      -- A random version 4 id: its first six bytes become the time, and the version's nibble 4 becomes 7.
      select encode(
        set_bit(set_bit(
          substr(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint), 3) || substr(uuid_send(gen_random_uuid()), 7),
          52, 1), 53, 1),
        'hex')::uuid
    $fn$;
  end if;
end
$do$;
revoke execute on all functions in schema driftlock from public;  -- which has it by default
grant execute on function driftlock.current_tenant(), driftlock.uuid_v7() to driftlock_api, driftlock_node;

create table driftlock.tenants (
  id uuid primary key default driftlock.uuid_v7(),
  name text not null unique check (octet_length(name) between 1 and 256),
  plan text not null default 'free',
  streams_max integer not null default 10000 check (streams_max > 0),
  streams integer not null default 0,
  created_at timestamptz not null default now()
);
alter table driftlock.tenants enable row level security;
alter table driftlock.tenants force row level security;
create policy tenant_itself on driftlock.tenants to driftlock_api
  using (id = (select driftlock.current_tenant())) with check (id = (select driftlock.current_tenant()));
create policy node on driftlock.tenants to driftlock_node using (true) with check (true);
grant select on driftlock.tenants to driftlock_api;
grant select, insert, update, delete on driftlock.tenants to driftlock_node;

create table driftlock.api_keys (
  id text primary key check (octet_length(id) = 16),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  kind text not null,
  digest bytea not null check (octet_length(digest) = 32),
  name text not null check (octet_length(name) <= 256),
  scopes text[] not null check (cardinality(scopes) between 1 and 8),
  stream text check (octet_length(stream) <= 256),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_by_tenant on driftlock.api_keys (tenant_id, created_at);
alter table driftlock.api_keys enable row level security;
alter table driftlock.api_keys force row level security;
create policy tenant on driftlock.api_keys to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
-- A key is looked up before its tenant is known.
create policy node on driftlock.api_keys to driftlock_node using (true) with check (true);
grant select, insert on driftlock.api_keys to driftlock_api;
grant update (revoked_at) on driftlock.api_keys to driftlock_api;
grant select on driftlock.api_keys to driftlock_node;
