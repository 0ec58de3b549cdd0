-- Traces close as time passes, even when no span comes: streams are told the time by rows of their own.

-- Another kind of row: 5 the wall clock, told to one stream.
alter table driftlock.journal
  drop constraint journal_kind_check,
  drop constraint journal_check,
  add constraint journal_kind_check check (kind between 0 and 5),
  add constraint journal_check
    check ((kind in (0, 3, 5)) = (stream_id is not null) and (kind in (0, 3, 4, 5)) = (tenant_id is not null));

-- Tell a stream the time; returns the row's position, null when the tenant has no such stream. Not metered, and exempt from
-- the journal's limit: a full journal must still let time pass.
create function driftlock.journal_append_time(
  p_shard integer, p_epoch bigint, p_tenant uuid, p_stream uuid, p_received bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_seq bigint;
begin
  select s.next_seq into v_seq from driftlock.journal_shard s where s.shard = p_shard and s.epoch = p_epoch for update;
  if v_seq is null then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant for key share;
  if not found then
    return null;
  end if;
  insert into driftlock.journal (shard, seq, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_seq, 5, p_tenant, p_stream, p_received, 0, 0, p_crc, p_body);
  update driftlock.journal_shard s set next_seq = s.next_seq + 1, bytes = s.bytes + driftlock.journal_row_bytes(p_body)
   where s.shard = p_shard;
  return v_seq;
end
$$;

-- As before, and a tenant's fold takes in what its streams found when they were told the time.
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
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.tenant_checkpoints c where c.tenant_id = t.id
    ) k
    cross join lateral (
      select min(rows.newer) as newer, min(rows.older) as older from (
        select newer.seq as newer, older.seq as older
          from driftlock.streams s
          left join lateral (
            select j.seq from driftlock.journal j
             where j.kind in (0, 5) and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
          ) newer on true
          left join lateral (
            select j.seq from driftlock.journal j
             where j.kind in (0, 5) and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
          ) older on true
         where s.tenant_id = t.id
        union all
        select min(j.seq) filter (where j.seq > k.newest), min(j.seq)
          from driftlock.journal j where j.kind = 4 and j.tenant_id = t.id and j.seq > k.previous
      ) rows
    ) first
$$;

-- As before, and a tenant whose number of streams is reached still has its traces put together: those of all environments
-- beyond it share one stream.
create or replace function driftlock.streams_resolve(
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
  v_shared text;
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
      -- Spans that are to be put together to traces are no lines, so they share a stream of their own kind.
      v_shared := case when p_signal[i] = 'traces' and p_service[i] = '_traces' then '_traces' else '_overflow' end;
      select s.id into v_id from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = v_shared and s.namespace = ''
          and s.environment = '';
      if v_id is null then
        -- No key's slug begins with an underscore, but that of another stream of traces may.
        insert into driftlock.streams (tenant_id, signal, service, slug, overflow)
          values (
            p_tenant, p_signal[i], v_shared,
            v_shared || case when p_signal[i] = 'logs' or v_shared = '_traces' then '' else '-' || p_signal[i] end, true)
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
grant execute on function
  driftlock.journal_append_time(integer, bigint, uuid, uuid, bigint, bigint, bytea)
to driftlock_node;
