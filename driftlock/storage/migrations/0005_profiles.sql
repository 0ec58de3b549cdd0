-- Every stream has a profile of its own. What is configured stands in streams, for lists; what holds for which record
-- stands in the journal, among the records, so that a replay judges each as it was judged at first.

-- All values of the profile by name; null = the default profile.
alter table driftlock.streams add column profile jsonb check (jsonb_typeof(profile) = 'object');
grant update (profile) on driftlock.streams to driftlock_node;

-- Another kind of row: 3 the configuration of a stream.
alter table driftlock.journal
  drop constraint journal_kind_check,
  drop constraint journal_check,
  add constraint journal_kind_check check (kind between 0 and 3),
  add constraint journal_check
    check ((kind in (0, 3)) = (stream_id is not null) and (kind in (0, 3)) = (tenant_id is not null));
drop index driftlock.journal_by_stream;
create index journal_by_stream on driftlock.journal (stream_id, seq) include (records) where stream_id is not null;

-- Configure a stream: append the row that says so, and show it. Returns its position; that of the last row when the very
-- same profile is configured already; null when the tenant has no such stream or, with p_fresh, when the stream has a past
-- or a profile; -1 when another profile than p_expected is configured (p_expected_default: none at all will do as well;
-- p_expected null: whatever it is). Not metered.
create function driftlock.journal_configure(
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
  if p_expected is not null and not coalesce(v_profile = p_expected, p_expected_default) then
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

-- As before, with every row of the stream: its fold needs configurations as well as records.
create or replace function driftlock.stream_folds(p_shard integer) returns table (
  tenant_id uuid, stream_id uuid, newest_seq bigint, previous_seq bigint, after_newest bigint, after_previous bigint
)
language sql stable
as $$
  select s.tenant_id, s.id, k.newest, k.previous,
         case when newer.seq <= p.applied_seq then newer.seq end,
         case when older.seq <= p.applied_seq then older.seq end
    from driftlock.streams s
    join driftlock.journal_position p on p.shard = p_shard
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.stream_checkpoints c where c.stream_id = s.id
    ) k
    left join lateral (
      select j.seq from driftlock.journal j where j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
    ) newer on true
    left join lateral (
      select j.seq from driftlock.journal j where j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
    ) older on true
$$;

-- As before, with every row of the tenant's streams.
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
       group by j.shard
    ) freed
   where freed.shard = s.shard;
  update driftlock.journal j
     set kind = 2, tenant_id = null, stream_id = null, records = 0, raw_bytes = 0, crc = 0, body = ''
   where j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant);
  delete from driftlock.journal_request r where r.tenant_id = p_tenant;
  delete from driftlock.tenants t where t.id = p_tenant;
  return found;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_configure(
    integer, bigint, bigint, uuid, uuid, jsonb, bigint, bytea, boolean, jsonb, boolean
  )
to driftlock_node;
