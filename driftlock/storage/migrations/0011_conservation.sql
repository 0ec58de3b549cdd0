-- Nothing is lost and nothing is counted twice, and anyone can check: a ledger beside the journal, resends recognised for as
-- long as each tenant wants, a journal that lets go of its past by emptying partitions, and epochs that never come again.

-- ---- The journal in 16 partitions, a ring: what is over leaves by TRUNCATE, which leaves nothing for VACUUM. ----
-- Rows go to the slot that journal_shard names. A full or old slot is closed and noted in journal_slot; it is emptied when
-- everything in it is applied and no fold would have to read it again.

alter table driftlock.journal rename to journal_00;
alter table driftlock.journal_00 add column slot smallint not null default 0;
alter table driftlock.journal_00 drop constraint journal_pkey;
alter table driftlock.journal_00 add constraint journal_00_pkey primary key (shard, seq, slot);
alter index driftlock.journal_by_stream rename to journal_00_by_stream;
alter index driftlock.journal_budgets rename to journal_00_budgets;

create table driftlock.journal (
  like driftlock.journal_00 including defaults including constraints including storage,
  constraint journal_pkey primary key (shard, seq, slot)
) partition by list (slot);
alter table driftlock.journal attach partition driftlock.journal_00 for values in (0);
create index journal_by_stream on driftlock.journal (stream_id, seq) include (records) where stream_id is not null;
create index journal_budgets on driftlock.journal (tenant_id, seq) where kind = 4;
alter table driftlock.journal enable row level security;
alter table driftlock.journal force row level security;
create policy tenant on driftlock.journal to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal to driftlock_node using (true) with check (true);
grant select (shard, seq, kind, tenant_id, stream_id, records) on driftlock.journal to driftlock_api;
grant select, insert, update, delete on driftlock.journal to driftlock_node;

-- Nobody reads or writes a partition by its name; the node may empty one.
do $do$
declare
  v_name text;
begin
  revoke all on driftlock.journal_00 from driftlock_api, driftlock_node;
  drop policy tenant on driftlock.journal_00;
  drop policy node on driftlock.journal_00;
  for n in 0 .. 15 loop
    v_name := 'journal_' || lpad(n::text, 2, '0');
    if n > 0 then
      execute format('create table driftlock.%I partition of driftlock.journal for values in (%s)', v_name, n);
      execute format('alter table driftlock.%I enable row level security', v_name);
      execute format('alter table driftlock.%I force row level security', v_name);
    end if;
    execute format('grant truncate on driftlock.%I to driftlock_node', v_name);
  end loop;
end
$do$;

alter table driftlock.journal_shard
  add column slot smallint not null default 0,
  add column slot_first_seq bigint not null default 1,
  add column slot_bytes bigint not null default 0,
  add column slot_newest_ns bigint not null default 0,  -- the newest receive time in the slot
  add column slot_since_ns bigint not null default 0;   -- that of its first row
update driftlock.journal_shard s
   set slot_first_seq = s.truncated_seq + 1, slot_bytes = s.bytes,
       slot_newest_ns = coalesce((select max(j.received_ns) from driftlock.journal_00 j where j.shard = s.shard), 0),
       slot_since_ns = coalesce((select min(j.received_ns) from driftlock.journal_00 j where j.shard = s.shard), 0);

create table driftlock.journal_slot (
  shard integer not null references driftlock.journal_shard,
  slot smallint not null,
  first_seq bigint not null,
  last_seq bigint not null,
  bytes bigint not null,
  newest_ns bigint not null,
  primary key (shard, slot)
);
grant select, insert, update, delete on driftlock.journal_slot to driftlock_node;

-- Note that so many rows were appended. The caller holds the shard's row.
create function driftlock.journal_grow(p_shard integer, p_rows bigint, p_bytes bigint, p_newest_ns bigint) returns void
language plpgsql
as $$
begin
  update driftlock.journal_shard s
     set next_seq = s.next_seq + p_rows, bytes = s.bytes + p_bytes, slot_bytes = s.slot_bytes + p_bytes,
         slot_newest_ns = greatest(s.slot_newest_ns, p_newest_ns),
         slot_since_ns = case when s.slot_first_seq = s.next_seq then p_newest_ns else s.slot_since_ns end
   where s.shard = p_shard;
end
$$;

-- Close the slot that is written to and go on in the next one, if that is empty and this one is not. The caller holds the
-- shard's row. With all slots taken the last one grows.
create function driftlock.journal_roll(p_shard integer) returns boolean
language plpgsql
as $$
declare
  v_next smallint;
begin
  select (s.slot + 1) % 16 into v_next from driftlock.journal_shard s where s.shard = p_shard;
  if exists (select from driftlock.journal_slot t where t.shard = p_shard and t.slot = v_next) then
    return false;
  end if;
  insert into driftlock.journal_slot (shard, slot, first_seq, last_seq, bytes, newest_ns)
  select s.shard, s.slot, s.slot_first_seq, s.next_seq - 1, s.slot_bytes, s.slot_newest_ns
    from driftlock.journal_shard s where s.shard = p_shard and s.next_seq > s.slot_first_seq;
  if not found then
    return false;
  end if;
  update driftlock.journal_shard s
     set slot = v_next, slot_first_seq = s.next_seq, slot_bytes = 0, slot_newest_ns = 0, slot_since_ns = 0
   where s.shard = p_shard;
  return true;
end
$$;

-- ---- The ledger: what became of every record that was read. ----
-- received = journaled + rejected + refused + deduplicated, and journaled = what is metered = what the journal holds and held.

create table driftlock.ledger (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  node text not null,
  signal text not null,
  received bigint not null default 0,      -- as counted on the wire, before anything was decided
  journaled bigint not null default 0,     -- as counted in journal rows
  rejected bigint not null default 0,      -- answered as rejected in a partial success
  refused bigint not null default 0,       -- of requests that were answered with an error
  deduplicated bigint not null default 0,  -- of resends
  primary key (tenant_id, node, signal)
) with (fillfactor = 70);
alter table driftlock.ledger enable row level security;
alter table driftlock.ledger force row level security;
create policy tenant on driftlock.ledger to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.ledger to driftlock_node using (true) with check (true);
grant select on driftlock.ledger to driftlock_api;
grant select, insert, update on driftlock.ledger to driftlock_node;

-- Records of rows that have left the journal.
create table driftlock.journal_removed (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  signal text not null,
  records bigint not null,
  primary key (tenant_id, signal)
) with (fillfactor = 70);
alter table driftlock.journal_removed enable row level security;
alter table driftlock.journal_removed force row level security;
create policy tenant on driftlock.journal_removed to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal_removed to driftlock_node using (true) with check (true);
grant select on driftlock.journal_removed to driftlock_api;
grant select, insert, update on driftlock.journal_removed to driftlock_node;

-- What came in before the ledger began is taken from the meter.
insert into driftlock.ledger (tenant_id, node, signal, received, journaled)
select m.tenant_id, m.node, m.signal, sum(m.records), sum(m.records) from driftlock.meter m group by 1, 2, 3;
insert into driftlock.journal_removed (tenant_id, signal, records)
select m.tenant_id, m.signal, m.records - coalesce(j.records, 0)
  from (select tenant_id, signal, sum(records) as records from driftlock.meter group by 1, 2) m
  left join (
    select j.tenant_id, s.signal, sum(j.records) as records
      from driftlock.journal j join driftlock.streams s on s.id = j.stream_id group by 1, 2
  ) j on j.tenant_id = m.tenant_id and j.signal = m.signal;

-- Add what never reached the journal, a row a tenant and signal. Tenants that are gone are left out.
create function driftlock.ledger_add(
  p_node text, p_tenant uuid[], p_signal text[], p_received bigint[], p_rejected bigint[], p_refused bigint[]
) returns void
language sql
as $$
  insert into driftlock.ledger as l (tenant_id, node, signal, received, rejected, refused)
  select a.tenant_id, p_node, a.signal, sum(a.received), sum(a.rejected), sum(a.refused)
    from unnest(p_tenant, p_signal, p_received, p_rejected, p_refused) as a (tenant_id, signal, received, rejected, refused)
    join driftlock.tenants t on t.id = a.tenant_id
   group by 1, 2, 3 order by 1, 3
  on conflict (tenant_id, node, signal) do update set
    received = l.received + excluded.received, rejected = l.rejected + excluded.rejected,
    refused = l.refused + excluded.refused
$$;

-- ---- Resends: known for as long as the request, its tenant or the server says. ----

alter table driftlock.tenants add column dedup_window_ns bigint
  check (dedup_window_ns between 0 and 24 * 3600 * 1000000000::bigint);  -- null = the server's; 0 = every request counts

-- A tenant that is being deleted takes no more records.
alter table driftlock.tenants add column closed_at timestamptz;

-- `content`: where the hash is that of a key which the sender chose, the hash of what came with it.
alter table driftlock.journal_request add column until_ns bigint, add column content bytea;
update driftlock.journal_request r set until_ns = r.received_ns + 900000000000;
alter table driftlock.journal_request alter column until_ns set not null;
drop index driftlock.journal_request_by_age;
create index journal_request_by_end on driftlock.journal_request (until_ns);

-- ---- Ownership. ----

-- Take the shard over: everything that carries another epoch fails from now on. An epoch is a moment of the database's
-- clock, so that a database which was restored from a backup does not give out one that somebody still carries.
create or replace function driftlock.journal_acquire(p_shard integer) returns bigint
language plpgsql
as $$
declare
  v_epoch bigint;
begin
  update driftlock.journal_shard s
     set epoch = greatest(s.epoch + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint)
   where s.shard = p_shard returning s.epoch into strict v_epoch;
  update driftlock.journal_position p set epoch = v_epoch where p.shard = p_shard;
  return v_epoch;
end
$$;

-- ---- Appending. ----

-- Append a group of requests: all arrays p_r_* have one entry a request, p_row_* one a row, p_row_request counts from 1.
-- Rows of one request get consecutive positions. Returns for every request what became of it and its last position:
-- 0 journaled, 1 a resend, 2 its hash is known with another content. p_r_records are the records that the request held,
-- p_r_rejected those of them that are answered as rejected, p_r_window the request's own time to be remembered, in ns.
create function driftlock.journal_append(
  p_shard integer, p_epoch bigint, p_node text, p_window_ns bigint, p_bytes_max bigint,
  p_r_tenant uuid[], p_r_signal text[], p_r_hash bytea[], p_r_content bytea[], p_r_window bigint[], p_r_received bigint[],
  p_r_records integer[], p_r_rejected integer[],
  p_row_request integer[], p_row_stream uuid[], p_row_records integer[], p_row_raw bigint[], p_row_crc bigint[],
  p_row_body bytea[]
) returns table (request integer, outcome smallint, seq bigint)
language plpgsql
as $$
#variable_conflict use_column
declare
  v_shard driftlock.journal_shard;
  v_window bigint[];   -- for every request how long it is remembered; 0 = not at all
  v_of integer[];      -- for every request the first of the group with the same hash (itself, when it is the first)
  v_known bigint[];    -- for every request the position under which it is known already, else null
  v_outcome smallint[];
  v_kept integer[];    -- requests that are journaled now
  v_open boolean;      -- whether the tenants of all requests are there
  v_last bigint[];     -- for every request its last position
  v_bytes bigint;
  v_rows integer;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  if v_shard.slot_bytes >= p_bytes_max / 16 and driftlock.journal_roll(p_shard) then
    select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard;
  end if;

  select array_agg(f.first order by f.n), array_agg(f.seq order by f.n), array_agg(f.window_ns order by f.n),
         array_agg(
           case when f.content is distinct from coalesce(f.known_content, p_r_content[f.first])
                 and (f.seq is not null or f.first <> f.n) then 2
                when f.seq is not null or f.first <> f.n then 1
                else 0 end::smallint order by f.n),
         array_agg(f.n order by f.n) filter (where f.n = f.first and f.seq is null), bool_and(f.open)
    into v_of, v_known, v_window, v_outcome, v_kept, v_open
    from (
      select r.n, r.open, r.window_ns, r.content, known.seq, known.content as known_content,
             case when r.hash is null then r.n else (min(r.n) over (partition by r.tenant_id, r.hash))::integer end as first
        from (
          select a.n::integer as n, a.tenant_id, a.content, a.received_ns, t.id is not null and t.closed_at is null as open,
                 coalesce(a.window_ns, t.dedup_window_ns, p_window_ns) as window_ns,
                 case when coalesce(a.window_ns, t.dedup_window_ns, p_window_ns) > 0 then a.hash end as hash
            from unnest(p_r_tenant, p_r_hash, p_r_content, p_r_window, p_r_received)
                   with ordinality as a (tenant_id, hash, content, window_ns, received_ns, n)
            left join driftlock.tenants t on t.id = a.tenant_id
        ) r
        left join driftlock.journal_request known
          on known.tenant_id = r.tenant_id and known.hash = r.hash and known.until_ns > r.received_ns
    ) f;
  if not v_open then
    -- With the code of a foreign key, so that the request is found among those of the group and refused alone.
    raise exception 'no such tenant' using errcode = '23503';
  end if;

  if v_kept is not null then
    -- Before anything is written: a full journal must not grow by what it refuses.
    select count(*), sum(driftlock.journal_row_bytes(w.body)) into v_rows, v_bytes
      from unnest(p_row_request, p_row_body) as w (request, body)
      join unnest(v_kept) as kept (request) on kept.request = w.request;
    if v_shard.bytes + v_bytes > p_bytes_max then
      raise exception 'journal full' using errcode = 'ZD002';
    end if;

    insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
    select p_shard, v_shard.next_seq - 1 + row_number() over (order by w.request, w.n), v_shard.slot, 0,
           p_r_tenant[w.request], w.stream_id, p_r_received[w.request], w.records, w.raw_bytes, w.crc, w.body
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

    insert into driftlock.journal_request as known (tenant_id, hash, received_ns, seq, until_ns, content)
    select p_r_tenant[n], p_r_hash[n], p_r_received[n], v_last[n], p_r_received[n] + v_window[n], p_r_content[n]
      from unnest(v_kept) as kept (n)
     where p_r_hash[n] is not null and v_window[n] > 0
    on conflict (tenant_id, hash) do update set
      received_ns = excluded.received_ns, seq = excluded.seq, until_ns = excluded.until_ns, content = excluded.content;

    insert into driftlock.meter as m (tenant_id, node, hour, signal, records, bytes)
    select p_r_tenant[w.request], p_node, date_trunc('hour', clock_timestamp(), 'UTC'), p_r_signal[w.request],
           sum(w.records), sum(w.raw_bytes)
      from unnest(p_row_request, p_row_records, p_row_raw) as w (request, records, raw_bytes)
      join unnest(v_kept) as kept (request) on kept.request = w.request
     group by 1, 2, 3, 4
     order by 1, 4
    on conflict (tenant_id, node, hour, signal)
      do update set records = m.records + excluded.records, bytes = m.bytes + excluded.bytes;

    perform driftlock.journal_grow(p_shard, v_rows, v_bytes, (select max(received) from unnest(p_r_received) as received));
  end if;

  -- What the requests said they hold, beside what was journaled of them: the two are compared by whoever reads the ledger.
  insert into driftlock.ledger as l (tenant_id, node, signal, received, journaled, rejected, deduplicated)
  select r.tenant_id, p_node, r.signal, sum(r.records), coalesce(sum(w.records), 0), sum(r.rejected),
         coalesce(sum(r.records - r.rejected) filter (where v_outcome[r.n] = 1), 0)
    from unnest(p_r_tenant, p_r_signal, p_r_records, p_r_rejected) with ordinality
           as r (tenant_id, signal, records, rejected, n)
    left join (
      select w.request, sum(w.records) as records from unnest(p_row_request, p_row_records) as w (request, records)
       where w.request = any (v_kept) group by 1
    ) w on w.request = r.n
   where v_outcome[r.n] <> 2
   group by 1, 2, 3 order by 1, 3
  on conflict (tenant_id, node, signal) do update set
    received = l.received + excluded.received, journaled = l.journaled + excluded.journaled,
    rejected = l.rejected + excluded.rejected, deduplicated = l.deduplicated + excluded.deduplicated;

  return query
  select n, v_outcome[n], coalesce(v_known[n], v_known[v_of[n]], v_last[v_of[n]])
    from generate_subscripts(p_r_tenant, 1) as r (n) order by n;
end
$$;

-- As the version before calls it, which may serve until it is replaced.
create or replace function driftlock.journal_append(
  p_shard integer, p_epoch bigint, p_node text, p_window_ns bigint, p_bytes_max bigint,
  p_r_tenant uuid[], p_r_signal text[], p_r_hash bytea[], p_r_received bigint[],
  p_row_request integer[], p_row_stream uuid[], p_row_records integer[], p_row_raw bigint[], p_row_crc bigint[],
  p_row_body bytea[]
) returns table (request integer, duplicate boolean, seq bigint)
language sql
as $$
  select a.request, a.outcome = 1, a.seq
    from driftlock.journal_append(
      p_shard, p_epoch, p_node, p_window_ns, p_bytes_max, p_r_tenant, p_r_signal, p_r_hash,
      array_fill(null::bytea, array[cardinality(p_r_tenant)]), array_fill(null::bigint, array[cardinality(p_r_tenant)]),
      p_r_received,
      array(
        select coalesce(sum(w.records), 0)::integer
          from generate_subscripts(p_r_tenant, 1) as r (n)
          left join unnest(p_row_request, p_row_records) as w (request, records) on w.request = r.n
         group by r.n order by r.n),
      array_fill(0, array[cardinality(p_r_tenant)]),
      p_row_request, p_row_stream, p_row_records, p_row_raw, p_row_crc, p_row_body) a
   order by a.request
$$;

-- Append one control record; returns its position. It is exempt from p_bytes_max: a full journal must still let time pass.
create or replace function driftlock.journal_append_control(
  p_shard integer, p_epoch bigint, p_received bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 1, p_received, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), p_received);
  return v_shard.next_seq;
end
$$;

-- As before, into the slot that is written to.
create or replace function driftlock.journal_append_time(
  p_shard integer, p_epoch bigint, p_tenant uuid, p_stream uuid, p_received bigint, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant for key share;
  if not found then
    return null;
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 5, p_tenant, p_stream, p_received, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), p_received);
  return v_shard.next_seq;
end
$$;

-- As before, into the slot that is written to.
create or replace function driftlock.journal_set_budget(
  p_shard integer, p_epoch bigint, p_bytes_max bigint, p_tenant uuid, p_alerts integer, p_crc bigint, p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_alerts integer;
  v_now_ns bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
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
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 4, p_tenant, v_now_ns, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), v_now_ns);
  update driftlock.tenants t set alerts_per_day_max = p_alerts where t.id = p_tenant;
  return v_shard.next_seq;
end
$$;

-- As before, into the slot that is written to.
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
  v_now_ns bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
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
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 3, p_tenant, p_stream, v_now_ns, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), v_now_ns);
  update driftlock.streams s set profile = p_profile where s.id = p_stream;
  return v_shard.next_seq;
end
$$;

-- ---- Letting go. ----

-- Whether a fold would have to read a closed slot again: it has applied rows beyond its newest checkpoint, and rows in the
-- slot beyond the one before, which it falls back to when the newest can not be read.
create function driftlock.journal_needed(p_shard integer, p_slot smallint, p_applied bigint) returns boolean
language sql stable
as $$
  select exists (
    select from (
      select j.stream_id, max(j.seq) as last from driftlock.journal j
       where j.slot = p_slot and j.shard = p_shard and j.stream_id is not null group by 1
    ) r
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.stream_checkpoints c where c.stream_id = r.stream_id
    ) k
    where r.last > k.previous and exists (
      select from driftlock.journal n where n.stream_id = r.stream_id and n.seq > k.newest and n.seq <= p_applied)
  ) or exists (
    select from (
      select j.tenant_id, max(j.seq) as last from driftlock.journal j
       where j.slot = p_slot and j.shard = p_shard and j.kind in (0, 4, 5) group by 1
    ) r
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.tenant_checkpoints c where c.tenant_id = r.tenant_id
    ) k
    where r.last > k.previous and (
      exists (
        select from driftlock.streams s where s.tenant_id = r.tenant_id and exists (
          select from driftlock.journal n
           where n.stream_id = s.id and n.kind in (0, 5) and n.seq > k.newest and n.seq <= p_applied))
      or exists (
        select from driftlock.journal n
         where n.tenant_id = r.tenant_id and n.kind = 4 and n.seq > k.newest and n.seq <= p_applied))
  )
$$;

-- Close the slot that is written to when it began before p_before_ns, or when room is needed; true when it was closed.
create function driftlock.journal_close(p_shard integer, p_epoch bigint, p_before_ns bigint, p_bytes_kept bigint)
returns boolean
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
begin
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  if v_shard.next_seq = v_shard.slot_first_seq or not (
    v_shard.slot_since_ns < p_before_ns or (v_shard.bytes > p_bytes_kept and v_shard.slot_bytes > p_bytes_kept / 16)
  ) then
    return false;
  end if;
  perform from driftlock.journal_shard s where s.shard = p_shard and s.epoch = p_epoch for update;
  return found and driftlock.journal_roll(p_shard);
end
$$;

-- The oldest closed slot, if it may be emptied: its rows are all applied, needed by no fold, and were received before
-- p_before_ns, or the journal has more than p_bytes_kept. With the records in it, which the one who empties it notes. It
-- locks nothing: what recovery needs only ever moves forward, and rows of a closed slot do not change, but for tenants that go.
create function driftlock.journal_due(p_shard integer, p_before_ns bigint, p_bytes_kept bigint)
returns table (slot smallint, first_seq bigint, last_seq bigint, tenant_ids uuid[], signals text[], records bigint[])
language sql stable
as $$
  select t.slot, t.first_seq, t.last_seq, r.tenant_ids, r.signals, r.records
    from (select * from driftlock.journal_slot c where c.shard = p_shard order by c.first_seq limit 1) t
    join driftlock.journal_shard s on s.shard = t.shard
    join driftlock.journal_position p on p.shard = t.shard
    cross join lateral (
      select array_agg(g.tenant_id) as tenant_ids, array_agg(g.signal) as signals, array_agg(g.records) as records
        from (
          select m.tenant_id, m.signal, sum(j.records)::bigint as records
            from driftlock.journal j join driftlock.streams m on m.id = j.stream_id
           where j.slot = t.slot and j.shard = t.shard and j.records > 0 group by 1, 2
        ) g
    ) r
   where t.last_seq <= p.applied_seq and (t.newest_ns < p_before_ns or s.bytes > p_bytes_kept)
     and not driftlock.journal_needed(p_shard, t.slot, p.applied_seq)
$$;

-- Empty the closed slot that begins at p_first_seq and holds these records; returns its rows, null when somebody reads it this
-- moment. Never one with a row that is not applied: that is asserted here, whatever the caller believes.
create function driftlock.journal_empty(
  p_shard integer, p_epoch bigint, p_slot smallint, p_first_seq bigint, p_tenant uuid[], p_signal text[], p_records bigint[]
) returns bigint
language plpgsql
as $$
declare
  v_slot driftlock.journal_slot;
begin
  perform from driftlock.journal_shard s where s.shard = p_shard and s.epoch = p_epoch for update;
  if not found then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  delete from driftlock.journal_slot t
   where t.shard = p_shard and t.slot = p_slot and t.first_seq = p_first_seq returning * into v_slot;
  if v_slot.slot is null then
    return 0;
  end if;
  if exists (select from driftlock.journal_position p where p.shard = p_shard and p.applied_seq < v_slot.last_seq)
     or exists (select from driftlock.journal_shard s where s.shard = p_shard and s.slot = p_slot) then
    raise exception 'slot % holds rows that are not applied yet', p_slot using errcode = 'ZD003';
  end if;
  -- Tenants are deleted under the shard's lock, so those that are there now stay until this is committed.
  insert into driftlock.journal_removed as r (tenant_id, signal, records)
  select g.tenant_id, g.signal, g.records from unnest(p_tenant, p_signal, p_records) as g (tenant_id, signal, records)
    join driftlock.tenants t on t.id = g.tenant_id and t.closed_at is null
   order by 1, 2
  on conflict (tenant_id, signal) do update set records = r.records + excluded.records;
  update driftlock.journal_shard s set bytes = s.bytes - v_slot.bytes, truncated_seq = v_slot.last_seq
   where s.shard = p_shard;
  -- Appends wait for this, so it does not wait for readers.
  set local lock_timeout = '100ms';
  execute format('truncate driftlock.%I', 'journal_' || lpad(p_slot::text, 2, '0'));
  return v_slot.last_seq - v_slot.first_seq + 1;
exception when lock_not_available then
  return null;  -- nothing has happened
end
$$;

-- Forget up to p_rows_max requests whose time is over; returns how many.
create function driftlock.journal_forget(p_now_ns bigint, p_rows_max integer) returns integer
language plpgsql
as $$
declare
  v_rows integer;
begin
  delete from driftlock.journal_request r where (r.tenant_id, r.hash) in (
    select o.tenant_id, o.hash from driftlock.journal_request o where o.until_ns < p_now_ns
     order by o.until_ns limit p_rows_max for update skip locked
  );
  get diagnostics v_rows = row_count;
  return v_rows;
end
$$;

-- As the version before calls it.
create or replace function driftlock.journal_truncate(
  p_shard integer, p_epoch bigint, p_before_ns bigint, p_bytes_kept bigint, p_rows_max integer
) returns integer
language sql
as $$
  select driftlock.journal_forget((extract(epoch from clock_timestamp()) * 1000000000)::bigint, p_rows_max);
  select driftlock.journal_close(p_shard, p_epoch, p_before_ns, p_bytes_kept);
  select least(coalesce(sum(driftlock.journal_empty(
           p_shard, p_epoch, d.slot, d.first_seq, d.tenant_ids, d.signals, d.records)), 0), p_rows_max - 1)::integer
    from driftlock.journal_due(p_shard, p_before_ns, p_bytes_kept) d
$$;

-- As before; what is freed is taken off the slots.
create or replace function driftlock.tenant_delete(p_tenant uuid) returns boolean
language plpgsql
as $$
begin
  -- In the order in which appends and steps take them: nothing of the tenant is on its way in after this.
  perform from driftlock.journal_shard s order by s.shard for update;
  perform from driftlock.journal_position p order by p.shard for update;
  with freed as (
    select j.shard, j.slot, sum(octet_length(j.body))::bigint as bytes from driftlock.journal j
     where j.stream_id in (select t.id from driftlock.streams t where t.tenant_id = p_tenant)
        or (j.kind = 4 and j.tenant_id = p_tenant)
     group by 1, 2
  ), closed as (
    update driftlock.journal_slot t set bytes = t.bytes - freed.bytes from freed
     where t.shard = freed.shard and t.slot = freed.slot
  )
  update driftlock.journal_shard s
     set bytes = s.bytes - f.bytes, slot_bytes = s.slot_bytes - f.slot_bytes
    from (
      select s.shard, sum(freed.bytes)::bigint as bytes,
             coalesce(sum(freed.bytes) filter (where freed.slot = s.slot), 0)::bigint as slot_bytes
        from driftlock.journal_shard s join freed on freed.shard = s.shard group by 1
    ) f
   where f.shard = s.shard;
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
  driftlock.journal_grow(integer, bigint, bigint, bigint), driftlock.journal_roll(integer),
  driftlock.ledger_add(text, uuid[], text[], bigint[], bigint[], bigint[]),
  driftlock.journal_append(
    integer, bigint, text, bigint, bigint, uuid[], text[], bytea[], bytea[], bigint[], bigint[], integer[], integer[],
    integer[], uuid[], integer[], bigint[], bigint[], bytea[]),
  driftlock.journal_needed(integer, smallint, bigint),
  driftlock.journal_close(integer, bigint, bigint, bigint),
  driftlock.journal_due(integer, bigint, bigint),
  driftlock.journal_empty(integer, bigint, smallint, bigint, uuid[], text[], bigint[]),
  driftlock.journal_forget(bigint, integer)
to driftlock_node;
