-- Alerts that deserve trust: a budget of them, why a stream's verdicts may be believed, and what happened to its baseline.

-- What the tenant's newest budget record says; null = the default. What holds for which record stands in the journal.
alter table driftlock.tenants add column alerts_per_day_max integer check (alerts_per_day_max >= 0);

-- Another kind of row: 4 the alert budget of a tenant, which has no stream.
alter table driftlock.journal
  drop constraint journal_kind_check,
  drop constraint journal_check,
  add constraint journal_kind_check check (kind between 0 and 4),
  add constraint journal_check
    check ((kind in (0, 3)) = (stream_id is not null) and (kind in (0, 3, 4)) = (tenant_id is not null));
create index journal_budgets on driftlock.journal (tenant_id, seq) where kind = 4;

-- Set the budget of a tenant: append the row that says so, and show it. Returns its position; 0 when the very same budget is
-- set already, null when there is no such tenant. Not metered.
create function driftlock.journal_set_budget(
  p_shard integer, p_epoch bigint, p_bytes_max bigint, p_tenant uuid, p_alerts integer, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_alerts integer;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  select t.alerts_per_day_max into v_alerts from driftlock.tenants t where t.id = p_tenant for no key update;
  if not found then
    return null;
  end if;
  if v_alerts = p_alerts then
    return 0;
  end if;
  if v_shard.bytes + driftlock.journal_row_bytes(p_body) > p_bytes_max then
    raise exception 'journal full' using errcode = 'ZD002';
  end if;
  insert into driftlock.journal (shard, seq, kind, tenant_id, received_ns, records, raw_bytes, crc, body)
  values (
    p_shard, v_shard.next_seq, 4, p_tenant, (extract(epoch from clock_timestamp()) * 1000000000)::bigint, 0, 0, p_crc, p_body);
  update driftlock.journal_shard s set next_seq = s.next_seq + 1, bytes = s.bytes + driftlock.journal_row_bytes(p_body)
   where s.shard = p_shard;
  update driftlock.tenants t set alerts_per_day_max = p_alerts where t.id = p_tenant;
  return v_shard.next_seq;
end
$$;

-- As before, but a stored profile that lacks values which profiles had not when it was written is the expected one if all
-- that it has is: whoever read it took the missing ones for the default.
create or replace function driftlock.journal_configure(
  p_shard integer, p_epoch bigint, p_bytes_max bigint, p_tenant uuid, p_stream uuid, p_profile jsonb, p_crc bigint,
  p_body bytea, p_fresh boolean,
  p_expected jsonb, p_expected_default boolean
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_profile jsonb;
begin
  -- The lock of all appends: nothing gets between what is looked at here and what is written.
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  select s.profile into v_profile from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant for no key update;
  if not found then
    return null;
  end if;
  if p_fresh and (
    v_profile is not null
    or exists (select from driftlock.journal j where j.stream_id = p_stream)
    or exists (select from driftlock.stream_status t where t.stream_id = p_stream)
  ) then
    return null;
  end if;
  if p_expected is not null and not coalesce(
    v_profile = (select jsonb_object_agg(e.key, e.value) from jsonb_each(p_expected) e where v_profile ? e.key),
    p_expected_default
  ) then
    return -1;
  end if;
  if v_profile = p_profile then
    return v_shard.next_seq - 1;
  end if;
  if v_shard.bytes + driftlock.journal_row_bytes(p_body) > p_bytes_max then
    raise exception 'journal full' using errcode = 'ZD002';
  end if;
  insert into driftlock.journal (shard, seq, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (
    p_shard, v_shard.next_seq, 3, p_tenant, p_stream, (extract(epoch from clock_timestamp()) * 1000000000)::bigint, 0, 0,
    p_crc, p_body);
  update driftlock.journal_shard s set next_seq = s.next_seq + 1, bytes = s.bytes + driftlock.journal_row_bytes(p_body)
   where s.shard = p_shard;
  update driftlock.streams s set profile = p_profile where s.id = p_stream;
  return v_shard.next_seq;
end
$$;

-- Whether the budget allowed an incident's alert, and at which event time (null = it did not). The stream that an incident
-- began in is the one whose budget it uses.
alter table driftlock.incidents
  add column surprise_max double precision not null default 0,
  add column alerted boolean not null default true,
  add column alerted_ns bigint,
  add column began_in uuid generated always as (stream_ids[1]) stored;
create index incidents_by_stream on driftlock.incidents (began_in, end_ns);
create index incidents_by_end on driftlock.incidents (tenant_id, end_ns);

-- What a finding is about. Its key is what was found, not the window: several things may be found by the time of one window.
alter table driftlock.anomalies
  add column question text not null default 'novelty',
  drop constraint anomalies_pkey,
  drop constraint anomalies_id_key,
  add primary key (id);

alter table driftlock.stream_status add column calibration_reason text not null default '';

-- What happened to the baseline or the calibration of a stream. The id is what makes a replay say everything once.
create table driftlock.stream_events (
  id uuid primary key,
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  stream_id uuid not null references driftlock.streams on delete cascade,
  kind text not null,
  event_no bigint not null,
  window_no bigint not null,
  time_ns bigint not null,
  reason text not null,
  recorded_at timestamptz not null default now()
);
create index stream_events_by_time on driftlock.stream_events (stream_id, time_ns desc, event_no desc, id desc);
create index stream_events_by_tenant on driftlock.stream_events (tenant_id);
alter table driftlock.stream_events enable row level security;
alter table driftlock.stream_events force row level security;
create policy tenant on driftlock.stream_events to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.stream_events to driftlock_node using (true) with check (true);
grant select on driftlock.stream_events to driftlock_api;
grant select, insert, delete on driftlock.stream_events to driftlock_node;

-- As before, and a tenant's fold takes in its budget records as well.
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
             where j.kind = 0 and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
          ) newer on true
          left join lateral (
            select j.seq from driftlock.journal j
             where j.kind = 0 and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
          ) older on true
         where s.tenant_id = t.id
        union all
        select min(j.seq) filter (where j.seq > k.newest), min(j.seq)
          from driftlock.journal j where j.kind = 4 and j.tenant_id = t.id and j.seq > k.previous
      ) rows
    ) first
$$;

-- As before, with every row of the tenant.
create or replace function driftlock.tenant_delete(p_tenant uuid) returns boolean
language plpgsql
as $$
begin
  -- In the order in which appends and steps take them: nothing of the tenant is on its way in after this.
  perform from driftlock.journal_shard s order by s.shard for update;
  perform from driftlock.journal_position p order by p.shard for update;
  update driftlock.journal_shard s set bytes = s.bytes - freed.bytes
    from (
      select j.shard, sum(octet_length(j.body))::bigint as bytes from driftlock.journal j
       where j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant)
          or (j.kind = 4 and j.tenant_id = p_tenant)
       group by j.shard
    ) freed
   where freed.shard = s.shard;
  update driftlock.journal j
     set kind = 2, tenant_id = null, stream_id = null, records = 0, raw_bytes = 0, crc = 0, body = ''
   where j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant)
      or (j.kind = 4 and j.tenant_id = p_tenant);
  delete from driftlock.journal_request r where r.tenant_id = p_tenant;
  delete from driftlock.tenants t where t.id = p_tenant;
  return found;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_set_budget(integer, bigint, bigint, uuid, integer, bigint, bytea)
to driftlock_node;
