-- The streams of a tenant over several shards: what their folds tell the fold of the tenant travels from shard to shard.
--
-- A tenant's own shard (tenants.shard, its home) has its fold. A step of another shard leaves what it tells that fold in `derived`,
-- in its own transaction; the owner of the home takes it from there into its journal, as rows of kind 10, and folds it from there.

-- Over how many shards the streams of a tenant lie, for all tenants: said once, by the first process that works with such shards.
create table driftlock.spread (
  one boolean primary key default true check (one),
  spread integer not null check (spread between 1 and 1024)
);
grant select, insert on driftlock.spread to driftlock_node;

-- The spread that holds from now on, or since earlier. Streams that are there already have not been spread.
create function driftlock.spread_settle(p_spread integer) returns integer
language plpgsql
as $$
begin
  if not exists (select from driftlock.spread) then
    insert into driftlock.spread (spread)
    select case when exists (select from driftlock.streams s where s.shard > 0) then 1 else p_spread end
    on conflict do nothing;
  end if;
  return (select w.spread from driftlock.spread w);
end
$$;

create table driftlock.derived (
  home integer not null,  -- no foreign keys: whoever writes here holds its shard's position, and must not wait for appends
  source integer not null,
  seq bigint not null,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  crc bigint not null,
  body bytea not null,
  primary key (home, source, seq, tenant_id)
);
alter table driftlock.derived alter column body set storage external;  -- it is compressed already
create index derived_by_tenant on driftlock.derived (tenant_id);
alter table driftlock.derived enable row level security;
alter table driftlock.derived force row level security;
create policy tenant on driftlock.derived to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.derived to driftlock_node using (true) with check (true);
grant select, insert, delete on driftlock.derived to driftlock_node;

-- What a shard that is not its home remembers of a tenant; those of homes stay in tenant_checkpoints.
create table driftlock.relay_checkpoints (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  shard integer not null,
  seq bigint not null,
  crc bigint not null,
  state bytea not null,
  primary key (tenant_id, shard, seq)
);
alter table driftlock.relay_checkpoints enable row level security;
alter table driftlock.relay_checkpoints force row level security;
create policy tenant on driftlock.relay_checkpoints to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.relay_checkpoints to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.relay_checkpoints to driftlock_node;

-- Up to which wall-clock time (ns) a shard has folded all that had come: homes do not let their clocks run ahead of it.
create table driftlock.shard_clock (
  shard integer primary key,
  epoch bigint not null,
  clock_ns bigint not null
) with (fillfactor = 50);
grant select, insert, update on driftlock.shard_clock to driftlock_node;

alter table driftlock.journal
  drop constraint journal_kind_check,
  drop constraint journal_check,
  add constraint journal_kind_check check (kind between 0 and 10),
  add constraint journal_check check (
    (kind in (0, 3, 5, 7, 8) or (kind = 9 and stream_id is not null)) = (stream_id is not null)
    and (kind in (0, 3, 4, 5, 7, 8, 9, 10)) = (tenant_id is not null));
create index journal_derived on driftlock.journal (tenant_id, seq) where kind = 10;

-- Take what other shards tell the tenants of p_shard into its journal, each shard's in the order of its steps. Returns the
-- position of the last row, null where there is nothing. Raises ZD001 after a take-over, ZD002 where the journal is full.
create function driftlock.journal_take_derived(p_shard integer, p_epoch bigint, p_bytes_max bigint, p_rows_max integer)
returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_rows bigint;
  v_bytes bigint;
  v_now_ns bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  if v_shard.bytes > p_bytes_max and exists (select from driftlock.derived d where d.home = p_shard) then
    raise exception 'journal full' using errcode = 'ZD002';
  end if;
  if v_shard.slot_bytes >= p_bytes_max / v_shard.slots and driftlock.journal_roll(p_shard) then
    select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard;
  end if;
  with taken as (
    delete from driftlock.derived d
     using (
       select n.home, n.source, n.seq, n.tenant_id from driftlock.derived n where n.home = p_shard
        order by n.source, n.seq, n.tenant_id limit p_rows_max) n
     where d.home = n.home and d.source = n.source and d.seq = n.seq and d.tenant_id = n.tenant_id
    returning d.source, d.seq, d.tenant_id, d.crc, d.body
  ), kept as (
    insert into driftlock.journal (shard, seq, slot, kind, tenant_id, received_ns, records, raw_bytes, crc, body)
    select p_shard, v_shard.next_seq - 1 + row_number() over (order by k.source, k.seq, k.tenant_id), v_shard.slot, 10, k.tenant_id,
           v_now_ns, 0, 0, k.crc, k.body
      from taken k join driftlock.tenants t on t.id = k.tenant_id and t.closed_at is null
    returning driftlock.journal_row_bytes(body) as bytes
  )
  select count(*), sum(k.bytes) into v_rows, v_bytes from kept k;
  if v_rows = 0 then
    return null;
  end if;
  perform driftlock.journal_grow(p_shard, v_rows, v_bytes, v_now_ns);
  return v_shard.next_seq + v_rows - 1;
end
$$;

-- Whether what is a tenant's may lie in p_shard, its home being p_home (null: it has none yet).
create function driftlock.tenant_in(p_home integer, p_shard integer) returns boolean
language sql stable
as $$
  select p_home is null or p_home = p_shard
      or (p_home > 0 and p_shard > 0 and exists (select from driftlock.spread w where w.spread > 1))
$$;

-- The shards in which something of a tenant may lie: all of them before it has a home.
create function driftlock.tenant_shards(p_tenant uuid) returns setof integer
language sql stable
as $$
  select s.shard from driftlock.tenants t, driftlock.journal_shard s where t.id = p_tenant and driftlock.tenant_in(t.shard, s.shard)
$$;

-- Functions that speak of the shard of a tenant: these words of them change, and nothing else.
do $$
declare
  v_change record;
  v_before text;
begin
  for v_change in
    select * from (values
      ('journal_append', 'coalesce(t.shard, p_shard) = p_shard', 'driftlock.tenant_in(t.shard, p_shard)'),
      ('tenant_close', 's.shard = (select coalesce(t.shard, s.shard) from driftlock.tenants t where t.id = p_tenant)',
       's.shard in (select driftlock.tenant_shards(p_tenant))'),
      ('tenant_shed', 'p.shard = (select coalesce(t.shard, p.shard) from driftlock.tenants t where t.id = p_tenant)',
       'p.shard in (select driftlock.tenant_shards(p_tenant))'),
      ('tenant_shed', '''tenant_checkpoints'', ''anchors''', '''tenant_checkpoints'', ''relay_checkpoints'', ''derived'', ''anchors'''),
      ('tenant_finish', 's.shard = (select coalesce(t.shard, s.shard) from driftlock.tenants t where t.id = p_tenant)',
       's.shard in (select driftlock.tenant_shards(p_tenant))'),
      ('tenant_finish', 'p.shard = (select coalesce(t.shard, p.shard) from driftlock.tenants t where t.id = p_tenant)',
       'p.shard in (select driftlock.tenant_shards(p_tenant))'),
      ('tenant_finish', 'j.kind = 9)', 'j.kind = 9)
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 10)')
    ) as c (name, old, new)
  loop
    select pg_get_functiondef(p.oid) into strict v_before from pg_proc p
     where p.pronamespace = 'driftlock'::regnamespace and p.proname = v_change.name
     order by p.pronargs desc limit 1;
    if strpos(v_before, v_change.old) = 0 then
      raise exception '% is not as it is expected to be', v_change.name;
    end if;
    execute replace(v_before, v_change.old, v_change.new);
  end loop;
end
$$;

-- The stream of every key of one tenant, as before; the tenant's home is p_home. Streams beyond the tenant's cap share one a
-- shard: what is in other shards has another namespace.
create function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[], p_shard integer, p_home integer
) returns table (stream_id uuid, overflow boolean)
language plpgsql
as $$
declare
  i integer;
  v_ids uuid[] := array[]::uuid[];
  v_overflow boolean[] := array[]::boolean[];
  v_id uuid;
  v_over boolean;
  v_of integer;
  v_shared text;
  v_beside constant text := case when p_shard = p_home then '' else 'shard-' || p_shard end;
  v_room integer;  -- null until the tenant is locked, which only new keys need
  v_created integer := 0;
begin
  if not driftlock.tenant_in(p_home, p_shard) then
    raise exception 'the tenant belongs to another shard' using errcode = 'ZD409';
  end if;
  for i in 1 .. cardinality(p_signal) loop
    select s.id, s.overflow, s.shard into v_id, v_over, v_of from driftlock.streams s
      where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
        and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    if v_id is null and v_room is null then
      -- One creator at a time per tenant, or two would both see room for the last stream. Then look again.
      select t.streams_max - t.streams into v_room from driftlock.tenants t
       where t.id = p_tenant and t.closed_at is null for no key update;
      if not found then
        raise exception 'no such tenant' using errcode = 'ZD404';
      end if;
      perform driftlock.tenant_settle(p_tenant, p_home);
      select s.id, s.overflow, s.shard into v_id, v_over, v_of from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
          and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    end if;
    if v_id is null and v_room - v_created <= 0 then
      v_over := true;
      -- Spans that are to be put together to traces are no lines, so they share a stream of their own kind.
      v_shared := case when p_signal[i] = 'traces' and p_service[i] = '_traces' then '_traces' else '_overflow' end;
      select s.id, s.shard into v_id, v_of from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = v_shared and s.namespace = v_beside
          and s.environment = '';
      if v_id is null then
        -- No key's slug begins with an underscore, but that of another stream of traces may.
        insert into driftlock.streams (tenant_id, signal, service, namespace, slug, overflow, shard)
          values (
            p_tenant, p_signal[i], v_shared, v_beside,
            v_shared || case when p_signal[i] = 'logs' or v_shared = '_traces' then '' else '-' || p_signal[i] end
              || case when v_beside = '' then '' else '-' || v_beside end, true, p_shard)
          returning id, shard into v_id, v_of;
      end if;
    elsif v_id is null then
      v_over := false;
      insert into driftlock.streams (tenant_id, signal, service, namespace, environment, slug, shard)
        values (
          p_tenant, p_signal[i], p_service[i], p_namespace[i], p_environment[i],
          case when exists (select from driftlock.streams s where s.tenant_id = p_tenant and s.slug = p_slug[i])
            then p_slug_unique[i] else p_slug[i] end, p_shard)
        returning id, shard into v_id, v_of;
      v_created := v_created + 1;
    end if;
    if v_of <> p_shard then
      raise exception 'the stream belongs to another shard' using errcode = 'ZD409';
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

-- As the version before calls it: all of a tenant is in one shard.
create or replace function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[], p_shard integer
) returns table (stream_id uuid, overflow boolean)
language sql
as $$
  select r.stream_id, r.overflow
    from driftlock.streams_resolve(
      p_tenant, p_signal, p_service, p_namespace, p_environment, p_slug, p_slug_unique, p_shard, p_shard) r
$$;

-- The newest two checkpoints of a tenant in a shard: those of its fold at home, elsewhere those of what is told from there.
create function driftlock.tenant_standing(p_tenant uuid, p_shard integer) returns table (newest bigint, previous bigint)
language sql stable
as $$
  select coalesce(max(c.seq), 0), case when count(*) > 1 then min(c.seq) else 0 end
    from (
      select k.seq from driftlock.tenant_checkpoints k join driftlock.tenants t on t.id = k.tenant_id
       where k.tenant_id = p_tenant and coalesce(t.shard, 0) = p_shard
      union all
      select k.seq from driftlock.relay_checkpoints k where k.tenant_id = p_tenant and k.shard = p_shard
    ) c
$$;

create or replace function driftlock.tenant_folds(p_shard integer) returns table (
  tenant_id uuid, newest_seq bigint, previous_seq bigint, after_newest bigint, after_previous bigint
)
language sql stable
as $$
  select t.id, k.newest, k.previous,
         case when first.newer <= p.applied_seq then first.newer end,
         case when first.older <= p.applied_seq then first.older end
    from driftlock.tenants t
    join driftlock.journal_position p on p.shard = p_shard
    cross join lateral driftlock.tenant_standing(t.id, p_shard) k
    cross join lateral (
      select min(rows.newer) as newer, min(rows.older) as older from (
        select newer.seq as newer, older.seq as older
          from driftlock.streams s
          left join lateral (
            select j.seq from driftlock.journal j
             where j.shard = p_shard and j.kind in (0, 5) and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
          ) newer on true
          left join lateral (
            select j.seq from driftlock.journal j
             where j.shard = p_shard and j.kind in (0, 5) and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
          ) older on true
         where s.tenant_id = t.id and s.shard = p_shard
        union all
        select min(j.seq) filter (where j.seq > k.newest), min(j.seq)
          from driftlock.journal j
         where j.shard = p_shard and j.kind = 4 and j.tenant_id = t.id and j.seq > k.previous
        union all
        select min(j.seq) filter (where j.seq > k.newest), min(j.seq)
          from driftlock.journal j
         where j.shard = p_shard and j.kind = 10 and j.tenant_id = t.id and j.seq > k.previous
      ) rows
    ) first
   where coalesce(t.shard, 0) = p_shard
      or (p_shard > 0 and exists (select from driftlock.streams s where s.shard = p_shard and s.tenant_id = t.id))
$$;

create or replace function driftlock.journal_needed(p_shard integer, p_slot smallint, p_applied bigint) returns boolean
language plpgsql stable
set plan_cache_mode = force_custom_plan
as $$
begin
  return exists (
    select from (
      select j.stream_id, max(j.seq) as last from driftlock.journal j
       where j.shard = p_shard and j.slot = p_slot and j.stream_id is not null group by 1
    ) r
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.stream_checkpoints c where c.stream_id = r.stream_id
    ) k
    where r.last > k.previous and exists (
      select from driftlock.journal n
       where n.shard = p_shard and n.stream_id = r.stream_id and n.seq > k.newest and n.seq <= p_applied)
  ) or exists (
    select from (
      select j.tenant_id, max(j.seq) as last from driftlock.journal j
       where j.shard = p_shard and j.slot = p_slot and j.kind in (0, 4, 5, 10) group by 1
    ) r
    cross join lateral driftlock.tenant_standing(r.tenant_id, p_shard) k
    where r.last > k.previous and (
      exists (
        select from driftlock.streams s where s.tenant_id = r.tenant_id and s.shard = p_shard and exists (
          select from driftlock.journal n
           where n.shard = p_shard and n.stream_id = s.id and n.kind in (0, 5) and n.seq > k.newest and n.seq <= p_applied))
      or exists (
        select from driftlock.journal n
         where n.shard = p_shard and n.tenant_id = r.tenant_id and n.kind = 4 and n.seq > k.newest and n.seq <= p_applied)
      or exists (
        select from driftlock.journal n
         where n.shard = p_shard and n.tenant_id = r.tenant_id and n.kind = 10 and n.seq > k.newest and n.seq <= p_applied))
  );
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.spread_settle(integer), driftlock.journal_take_derived(integer, bigint, bigint, integer),
  driftlock.tenant_in(integer, integer), driftlock.tenant_shards(uuid), driftlock.tenant_standing(uuid, integer),
  driftlock.streams_resolve(uuid, text[], text[], text[], text[], text[], text[], integer, integer)
to driftlock_node;
