-- Streams: events of one key share one past. Texts of keys are capped by the journal, so they fit an index entry.

create table driftlock.streams (
  id uuid primary key default driftlock.uuid_v7(),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  signal text not null check (signal in ('logs', 'metrics', 'traces')),
  service text not null check (octet_length(service) between 1 and 256),
  namespace text not null default '' check (octet_length(namespace) <= 256),
  environment text not null default '' check (octet_length(environment) <= 256),
  slug text not null check (octet_length(slug) between 1 and 256),
  overflow boolean not null default false,
  created_at timestamptz not null default now(),
  unique (tenant_id, signal, service, namespace, environment),
  unique (tenant_id, slug)
);
alter table driftlock.streams enable row level security;
alter table driftlock.streams force row level security;
create policy tenant on driftlock.streams to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.streams to driftlock_node using (true) with check (true);
grant select on driftlock.streams to driftlock_api;
grant select, insert on driftlock.streams to driftlock_node;

-- What the applier last said of a stream. Apart from streams, because it is rewritten with every step.
create table driftlock.stream_status (
  stream_id uuid primary key references driftlock.streams on delete cascade,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  events bigint not null,
  windows bigint not null,
  first_event_ns bigint not null,
  last_event_ns bigint not null,
  calibration text not null,
  events_until_ready bigint not null,
  updated_at timestamptz not null default now()
) with (fillfactor = 70);
create index stream_status_by_tenant on driftlock.stream_status (tenant_id);
alter table driftlock.stream_status enable row level security;
alter table driftlock.stream_status force row level security;
create policy tenant on driftlock.stream_status to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.stream_status to driftlock_node using (true) with check (true);
grant select on driftlock.stream_status to driftlock_api;
grant select, insert, update on driftlock.stream_status to driftlock_node;

-- The stream of every key of one tenant, in the order of the arrays. Unknown keys get a stream each until the tenant has
-- streams_max of them; the rest shares the overflow stream of its signal. p_slug is used unless another key of the tenant
-- has it, then p_slug_unique, which ends in a hash of the key.
create function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[]
) returns table (stream_id uuid, overflow boolean)
language plpgsql
as $$
declare
  i integer;
  v_ids uuid[] := array[]::uuid[];
  v_overflow boolean[] := array[]::boolean[];
  v_id uuid;
  v_over boolean;
  v_room integer;  -- null until the tenant is locked, which only new keys need
  v_created integer := 0;
begin
  for i in 1 .. cardinality(p_signal) loop
    select s.id, s.overflow into v_id, v_over from driftlock.streams s
      where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
        and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    if v_id is null and v_room is null then
      -- One creator at a time per tenant, or two would both see room for the last stream. Then look again.
      select t.streams_max - t.streams into v_room from driftlock.tenants t where t.id = p_tenant for no key update;
      if not found then
        raise exception 'no such tenant' using errcode = 'ZD404';
      end if;
      select s.id, s.overflow into v_id, v_over from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
          and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    end if;
    if v_id is null and v_room - v_created <= 0 then
      v_over := true;
      select s.id into v_id from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = '_overflow' and s.namespace = ''
          and s.environment = '';
      if v_id is null then
        -- No key's slug begins with an underscore, so this one is free.
        insert into driftlock.streams (tenant_id, signal, service, slug, overflow)
          values (
            p_tenant, p_signal[i], '_overflow',
            '_overflow' || case p_signal[i] when 'logs' then '' else '-' || p_signal[i] end, true)
          returning id into v_id;
      end if;
    elsif v_id is null then
      v_over := false;
      insert into driftlock.streams (tenant_id, signal, service, namespace, environment, slug)
        values (
          p_tenant, p_signal[i], p_service[i], p_namespace[i], p_environment[i],
          case when exists (select from driftlock.streams s where s.tenant_id = p_tenant and s.slug = p_slug[i])
            then p_slug_unique[i] else p_slug[i] end)
        returning id into v_id;
      v_created := v_created + 1;
    end if;
    v_ids := v_ids || v_id;
    v_overflow := v_overflow || v_over;
  end loop;
  if v_created > 0 then
    update driftlock.tenants t set streams = t.streams + v_created where t.id = p_tenant;
  end if;
  return query select * from unnest(v_ids, v_overflow);
end
$$;
revoke execute on all functions in schema driftlock from public;
grant execute on function driftlock.streams_resolve(uuid, text[], text[], text[], text[], text[], text[]) to driftlock_node;
