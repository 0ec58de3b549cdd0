-- The journal: what was acknowledged, in one order, until nothing needs it any more.
--
-- Own error codes: ZD001 the caller's epoch is stale, ZD002 the journal is full, ZD003 a row that is not applied yet would
-- be deleted (a bug), ZD404 no such tenant.

-- The appending side. epoch counts owners: whoever takes the shard over adds one and thereby fences all before it.
create table driftlock.journal_shard (
  shard integer primary key,
  epoch bigint not null default 0,
  next_seq bigint not null default 1,
  truncated_seq bigint not null default 0,  -- rows up to here are gone
  bytes bigint not null default 0
) with (fillfactor = 50);

-- The applying side, apart from journal_shard so that an append and a step never wait for each other's commit.
create table driftlock.journal_position (
  shard integer primary key references driftlock.journal_shard,
  epoch bigint not null default 0,
  applied_seq bigint not null default 0
) with (fillfactor = 50);

insert into driftlock.journal_shard (shard) values (0);
insert into driftlock.journal_position (shard) values (0);
grant select, update on driftlock.journal_shard, driftlock.journal_position to driftlock_node;
grant select on driftlock.journal_position to driftlock_api;

-- kind: 0 records of a stream, 1 a control record (no tenant), 2 what is left of a deleted tenant's row, to keep the
-- order gapless. seq has no foreign keys: an append must not pay for them row by row.
create table driftlock.journal (
  shard integer not null,
  seq bigint not null,
  kind smallint not null check (kind between 0 and 2),
  tenant_id uuid,
  stream_id uuid,
  received_ns bigint not null,
  records integer not null,
  raw_bytes bigint not null,
  crc bigint not null,
  body bytea not null,
  primary key (shard, seq),
  check ((kind = 0) = (stream_id is not null) and (kind = 0) = (tenant_id is not null))
);
alter table driftlock.journal alter column body set storage external;  -- it is compressed already
create index journal_by_stream on driftlock.journal (stream_id, seq) include (records) where kind = 0;
alter table driftlock.journal enable row level security;
alter table driftlock.journal force row level security;
create policy tenant on driftlock.journal to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal to driftlock_node using (true) with check (true);
-- For the count of records that wait to be applied; bodies are none of the API's business.
grant select (shard, seq, kind, tenant_id, stream_id, records) on driftlock.journal to driftlock_api;
grant select, insert, update, delete on driftlock.journal to driftlock_node;

-- Requests seen lately, by the hash of their bytes: a byte-identical resend is answered from here.
create table driftlock.journal_request (
  tenant_id uuid not null,
  hash bytea not null check (octet_length(hash) = 16),
  received_ns bigint not null,
  seq bigint not null,
  primary key (tenant_id, hash)
);
create index journal_request_by_age on driftlock.journal_request (received_ns);
alter table driftlock.journal_request enable row level security;
alter table driftlock.journal_request force row level security;
create policy tenant on driftlock.journal_request to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal_request to driftlock_node using (true) with check (true);
grant select, insert, update, delete on driftlock.journal_request to driftlock_node;

-- Journaled records and raw bytes by hour of the database's clock: written in the appending transaction, so that what is
-- metered is what is journaled.
create table driftlock.meter (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  node text not null,
  hour timestamptz not null,
  signal text not null,
  records bigint not null,
  bytes bigint not null,
  primary key (tenant_id, node, hour, signal)
) with (fillfactor = 70);
alter table driftlock.meter enable row level security;
alter table driftlock.meter force row level security;
create policy tenant on driftlock.meter to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.meter to driftlock_node using (true) with check (true);
grant select on driftlock.meter to driftlock_api;
grant select, insert, update on driftlock.meter to driftlock_node;

-- What a row costs on disk, near enough for a bound: its body, its columns, and its entries in two indexes.
create function driftlock.journal_row_bytes(p_body bytea) returns bigint
language sql immutable parallel safe
as $$ select octet_length(p_body)::bigint + 200 $$;

-- Take the shard over: everything that carries an older epoch fails from now on.
create function driftlock.journal_acquire(p_shard integer) returns bigint
language plpgsql
as $$
declare
  v_epoch bigint;
begin
  update driftlock.journal_shard s set epoch = s.epoch + 1 where s.shard = p_shard returning s.epoch into strict v_epoch;
  update driftlock.journal_position p set epoch = v_epoch where p.shard = p_shard;
  return v_epoch;
end
$$;

-- Append a group of requests: all arrays p_r* have one entry a request, p_row_* one a row, p_row_request counts from 1.
-- Rows of one request get consecutive positions. Returns for every request whether it is a resend, and its last position.
create function driftlock.journal_append(
  p_shard integer, p_epoch bigint, p_node text, p_window_ns bigint, p_bytes_max bigint,
  p_r_tenant uuid[], p_r_signal text[], p_r_hash bytea[], p_r_received bigint[],
  p_row_request integer[], p_row_stream uuid[], p_row_records integer[], p_row_raw bigint[], p_row_crc bigint[],
  p_row_body bytea[]
) returns table (request integer, duplicate boolean, seq bigint)
language plpgsql
as $$
#variable_conflict use_column
declare
  v_shard driftlock.journal_shard;
  v_of integer[];    -- for every request the first of the group with the same hash (itself, when it is the first)
  v_known bigint[];  -- for every request the position under which it is known already, else null
  v_kept integer[];  -- requests that are journaled now
  v_last bigint[];   -- for every request its last position
  v_bytes bigint;
  v_rows integer;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;

  select array_agg(r.first order by r.n), array_agg(r.seq order by r.n),
         array_agg(r.n order by r.n) filter (where r.n = r.first and r.seq is null)
    into v_of, v_known, v_kept
    from (
      select r.n::integer as n, known.seq,
             case when r.hash is null then r.n::integer
                  else (min(r.n) over (partition by r.tenant_id, r.hash))::integer end as first
        from unnest(p_r_tenant, p_r_hash, p_r_received) with ordinality as r (tenant_id, hash, received_ns, n)
        left join driftlock.journal_request known
          on known.tenant_id = r.tenant_id and known.hash = r.hash and known.received_ns > r.received_ns - p_window_ns
    ) r;

  if v_kept is not null then
    -- Before anything is written: a full journal must not grow by what it refuses.
    select count(*), sum(driftlock.journal_row_bytes(w.body)) into v_rows, v_bytes
      from unnest(p_row_request, p_row_body) as w (request, body)
      join unnest(v_kept) as kept (request) on kept.request = w.request;
    if v_shard.bytes + v_bytes > p_bytes_max then
      raise exception 'journal full' using errcode = 'ZD002';
    end if;

    insert into driftlock.journal (shard, seq, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
    select p_shard, v_shard.next_seq - 1 + row_number() over (order by w.request, w.n), 0, p_r_tenant[w.request],
           w.stream_id, p_r_received[w.request], w.records, w.raw_bytes, w.crc, w.body
      from unnest(p_row_request, p_row_stream, p_row_records, p_row_raw, p_row_crc, p_row_body)
        with ordinality as w (request, stream_id, records, raw_bytes, crc, body, n)
      join unnest(v_kept) as kept (request) on kept.request = w.request;

    -- Rows are numbered in the order of their requests, so a request's last position is a running count.
    select array_agg(k.last order by k.n) into v_last from (
      select r.n, v_shard.next_seq - 1 + (sum(count(w.n)) over (order by r.n))::bigint as last
        from generate_subscripts(p_r_tenant, 1) as r (n)
        left join unnest(p_row_request) with ordinality as w (request, n)
          on w.request = r.n and r.n = any (v_kept)
       group by r.n
    ) k;

    insert into driftlock.journal_request as known (tenant_id, hash, received_ns, seq)
    select p_r_tenant[n], p_r_hash[n], p_r_received[n], v_last[n] from unnest(v_kept) as kept (n)
     where p_r_hash[n] is not null
    on conflict (tenant_id, hash) do update set received_ns = excluded.received_ns, seq = excluded.seq;

    insert into driftlock.meter as m (tenant_id, node, hour, signal, records, bytes)
    select p_r_tenant[w.request], p_node, date_trunc('hour', clock_timestamp(), 'UTC'), p_r_signal[w.request],
           sum(w.records), sum(w.raw_bytes)
      from unnest(p_row_request, p_row_records, p_row_raw) as w (request, records, raw_bytes)
      join unnest(v_kept) as kept (request) on kept.request = w.request
     group by 1, 2, 3, 4
     order by 1, 4
    on conflict (tenant_id, node, hour, signal)
      do update set records = m.records + excluded.records, bytes = m.bytes + excluded.bytes;

    update driftlock.journal_shard s set next_seq = s.next_seq + v_rows, bytes = s.bytes + v_bytes where s.shard = p_shard;
  end if;

  return query
  select n, v_known[n] is not null or v_of[n] <> n, coalesce(v_known[n], v_last[v_of[n]])
    from generate_subscripts(p_r_tenant, 1) as r (n) order by n;
end
$$;

-- Append one control record; returns its position. It is exempt from p_bytes_max: a full journal must still let time pass.
create function driftlock.journal_append_control(
  p_shard integer, p_epoch bigint, p_received bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_seq bigint;
begin
  update driftlock.journal_shard s set next_seq = s.next_seq + 1, bytes = s.bytes + driftlock.journal_row_bytes(p_body)
   where s.shard = p_shard and s.epoch = p_epoch returning s.next_seq - 1 into v_seq;
  if v_seq is null then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  insert into driftlock.journal (shard, seq, kind, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_seq, 1, p_received, 0, 0, p_crc, p_body);
  return v_seq;
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function driftlock.journal_row_bytes(bytea), driftlock.journal_acquire(integer) to driftlock_node;
grant execute on function driftlock.journal_append(
  integer, bigint, text, bigint, bigint, uuid[], text[], bytea[], bigint[], integer[], uuid[], integer[], bigint[], bigint[], bytea[]
) to driftlock_node;
grant execute on function driftlock.journal_append_control(integer, bigint, bigint, bigint, bytea) to driftlock_node;
