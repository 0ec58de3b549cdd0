-- Many shards of the journal side by side: each has its own order, its own owner and its own tables. Shard 0 is that of
-- `driftlock serve`, and stays as it is; the owner of the schema makes more (`driftlock migrate --shards`).
--
-- Own error codes: ZD409 what is written about is kept in another shard, ZD412 the position of a source is another one.

-- ---- The journal, by shard at first, then by slot. ----
-- To become a partition the journal of shard 0 is read once, without its long bodies; nothing is rewritten.

alter table driftlock.journal rename to journal_s0;
alter table driftlock.journal_s0 rename constraint journal_pkey to journal_s0_pkey;
alter index driftlock.journal_by_stream rename to journal_s0_by_stream;
alter index driftlock.journal_budgets rename to journal_s0_budgets;
alter index driftlock.journal_rules rename to journal_s0_rules;
revoke all on driftlock.journal_s0 from driftlock_api, driftlock_node;
drop policy tenant on driftlock.journal_s0;
drop policy node on driftlock.journal_s0;

create table driftlock.journal (
  like driftlock.journal_s0 including defaults including constraints including storage,
  constraint journal_pkey primary key (shard, seq, slot)
) partition by list (shard);
alter table driftlock.journal attach partition driftlock.journal_s0 for values in (0);
create index journal_by_stream on driftlock.journal (stream_id, seq) include (records) where stream_id is not null;
create index journal_budgets on driftlock.journal (tenant_id, seq) where kind = 4;
create index journal_rules on driftlock.journal (tenant_id, seq) where kind = 9;
alter table driftlock.journal enable row level security;
alter table driftlock.journal force row level security;
create policy tenant on driftlock.journal to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.journal to driftlock_node using (true) with check (true);
grant select (shard, seq, kind, tenant_id, stream_id, received_ns, records, crc, body) on driftlock.journal to driftlock_api;
grant select, insert, update, delete on driftlock.journal to driftlock_node;

alter table driftlock.journal_shard add column slots smallint not null default 16 check (slots between 2 and 16);

-- The table of a slot. Those of shard 0 have the names that they had before there were others.
create function driftlock.journal_slot_table(p_shard integer, p_slot smallint) returns text
language sql immutable parallel safe
as $$
  select case when p_shard = 0 then 'journal_' else 'journal_s' || p_shard || '_' end || lpad(p_slot::text, 2, '0')
$$;

-- Make the shards 1 .. p_count, as far as they are not there; returns how many were made. For the owner of the schema alone.
-- Appends and steps of other shards go on: a table that is attached holds up nobody but another one.
create function driftlock.journal_add_shards(p_count integer) returns integer
language plpgsql
as $$
declare
  v_slots constant smallint := 4;
  v_made integer := 0;
  v_table text;
begin
  if p_count is null or p_count not between 0 and 1024 then
    raise exception 'from 0 to 1024 shards can be made, not %', p_count using errcode = '22023';
  end if;
  perform pg_advisory_xact_lock(hashtext('driftlock.journal_add_shards'));
  for v_shard in 1 .. p_count loop
    continue when exists (select from driftlock.journal_shard s where s.shard = v_shard);
    v_table := 'journal_s' || v_shard;
    execute format(
      'create table driftlock.%I (like driftlock.journal including defaults including constraints including storage) '
      'partition by list (slot)', v_table);
    execute format('alter table driftlock.%I enable row level security', v_table);
    execute format('alter table driftlock.%I force row level security', v_table);
    for v_slot in 0 .. v_slots - 1 loop
      execute format(
        'create table driftlock.%I partition of driftlock.%I for values in (%s)',
        driftlock.journal_slot_table(v_shard, v_slot::smallint), v_table, v_slot);
      execute format(
        'alter table driftlock.%I enable row level security', driftlock.journal_slot_table(v_shard, v_slot::smallint));
      execute format(
        'alter table driftlock.%I force row level security', driftlock.journal_slot_table(v_shard, v_slot::smallint));
      execute format(
        'grant truncate on driftlock.%I to driftlock_node', driftlock.journal_slot_table(v_shard, v_slot::smallint));
    end loop;
    execute format('alter table driftlock.journal attach partition driftlock.%I for values in (%s)', v_table, v_shard);
    insert into driftlock.journal_shard (shard, slots) values (v_shard, v_slots);
    insert into driftlock.journal_position (shard) values (v_shard);
    v_made := v_made + 1;
  end loop;
  return v_made;
end
$$;

-- ---- Who belongs to which shard: said once, never changed. ----
-- A stream's rows are all in one shard, and so are those of all streams of a tenant, because its fold takes them in as one. A
-- tenant belongs to none before its first stream, or before something is said of it as a whole.

alter table driftlock.streams add column shard integer not null default 0;
alter table driftlock.tenants add column shard integer default 0;  -- who is there has been served by shard 0 ...
alter table driftlock.tenants alter column shard drop default;
create index streams_of_shard on driftlock.streams (shard) where shard > 0;

-- ... but for those of whom nothing was kept yet. The owner sees past the policies for this once.
alter table driftlock.tenants no force row level security;
alter table driftlock.streams no force row level security;
alter table driftlock.tenant_checkpoints no force row level security;
update driftlock.tenants t set shard = null
 where t.alerts_per_day_max is null
   and not exists (select from driftlock.streams s where s.tenant_id = t.id)
   and not exists (select from driftlock.tenant_checkpoints c where c.tenant_id = t.id);
alter table driftlock.tenants force row level security;
alter table driftlock.streams force row level security;
alter table driftlock.tenant_checkpoints force row level security;

-- Let a tenant belong to a shard from now on. Raises ZD409 where it belongs to another one.
create function driftlock.tenant_settle(p_tenant uuid, p_shard integer) returns void
language plpgsql
as $$
begin
  if exists (select from driftlock.tenants t where t.id = p_tenant and t.shard = p_shard) then
    return;
  end if;
  update driftlock.tenants t set shard = p_shard where t.id = p_tenant and t.shard is null;
  if exists (select from driftlock.tenants t where t.id = p_tenant and t.shard <> p_shard) then
    raise exception 'the tenant belongs to another shard' using errcode = 'ZD409';
  end if;
end
$$;

-- The stream of every key of one tenant, in the order of the arrays; see the one with fewer arguments, which takes shard 0. New
-- streams belong to p_shard. Raises ZD409 where one, or the tenant, belongs to another.
create function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[], p_shard integer
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
  v_room integer;  -- null until the tenant is locked, which only new keys need
  v_created integer := 0;
begin
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
      perform driftlock.tenant_settle(p_tenant, p_shard);
      select s.id, s.overflow, s.shard into v_id, v_over, v_of from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = p_service[i]
          and s.namespace = p_namespace[i] and s.environment = p_environment[i];
    end if;
    if v_id is null and v_room - v_created <= 0 then
      v_over := true;
      -- Spans that are to be put together to traces are no lines, so they share a stream of their own kind.
      v_shared := case when p_signal[i] = 'traces' and p_service[i] = '_traces' then '_traces' else '_overflow' end;
      select s.id, s.shard into v_id, v_of from driftlock.streams s
        where s.tenant_id = p_tenant and s.signal = p_signal[i] and s.service = v_shared and s.namespace = ''
          and s.environment = '';
      if v_id is null then
        -- No key's slug begins with an underscore, but that of another stream of traces may.
        insert into driftlock.streams (tenant_id, signal, service, slug, overflow, shard)
          values (
            p_tenant, p_signal[i], v_shared,
            v_shared || case when p_signal[i] = 'logs' or v_shared = '_traces' then '' else '-' || p_signal[i] end, true,
            p_shard)
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

-- As the version before calls it.
create or replace function driftlock.streams_resolve(
  p_tenant uuid, p_signal text[], p_service text[], p_namespace text[], p_environment text[],
  p_slug text[], p_slug_unique text[]
) returns table (stream_id uuid, overflow boolean)
language sql
as $$
  select r.stream_id, r.overflow
    from driftlock.streams_resolve(p_tenant, p_signal, p_service, p_namespace, p_environment, p_slug, p_slug_unique, 0) r
$$;

-- ---- Appending. As before, into the slots of the shard, and about what belongs to it. ----

create or replace function driftlock.journal_roll(p_shard integer) returns boolean
language plpgsql
as $$
declare
  v_next smallint;
begin
  select (s.slot + 1) % s.slots into v_next from driftlock.journal_shard s where s.shard = p_shard;
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

create or replace function driftlock.journal_append(
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
  if v_shard.slot_bytes >= p_bytes_max / v_shard.slots and driftlock.journal_roll(p_shard) then
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
          select a.n::integer as n, a.tenant_id, a.content, a.received_ns, t.id is not null and t.closed_at is null
                   and coalesce(t.shard, p_shard) = p_shard as open,
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
    -- Or none of this shard. With the code of a foreign key, so that the request is found among those of the group and refused
    -- alone.
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

-- Raises ZD409 where a stream of the tenant belongs to another shard than p_shard.
create function driftlock.stream_check(p_tenant uuid, p_stream uuid, p_shard integer) returns void
language plpgsql stable
as $$
begin
  if exists (
    select from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant and s.shard <> p_shard
  ) then
    raise exception 'the stream belongs to another shard' using errcode = 'ZD409';
  end if;
end
$$;

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
  perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant and s.shard = p_shard
     and s.closed_at is null for key share;
  if not found then
    return null;
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, 5, p_tenant, p_stream, p_received, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), p_received);
  return v_shard.next_seq;
end
$$;

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
  perform driftlock.tenant_settle(p_tenant, p_shard);
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
  perform driftlock.stream_check(p_tenant, p_stream, p_shard);
  if p_fresh and (
    v_profile is not null
    or exists (select from driftlock.journal j where j.shard = p_shard and j.stream_id = p_stream)
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

create or replace function driftlock.journal_control(
  p_shard integer, p_epoch bigint, p_bytes_max bigint, p_tenant uuid, p_stream uuid, p_kind smallint, p_crc bigint,
  p_body bytea
) returns bigint
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_now_ns bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
begin
  -- The lock of all appends: nothing gets between what is looked at here and what is written.
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.tenants t where t.id = p_tenant and t.closed_at is null for key share;
  if not found then
    return null;
  end if;
  if p_stream is not null then
    perform from driftlock.streams s where s.id = p_stream and s.tenant_id = p_tenant for key share;
    if not found then
      return null;
    end if;
    perform driftlock.stream_check(p_tenant, p_stream, p_shard);
  else
    perform driftlock.tenant_settle(p_tenant, p_shard);
  end if;
  if v_shard.bytes + driftlock.journal_row_bytes(p_body) > p_bytes_max then
    raise exception 'journal full' using errcode = 'ZD002';
  end if;
  insert into driftlock.journal (shard, seq, slot, kind, tenant_id, stream_id, received_ns, records, raw_bytes, crc, body)
  values (p_shard, v_shard.next_seq, v_shard.slot, p_kind, p_tenant, p_stream, v_now_ns, 0, 0, p_crc, p_body);
  perform driftlock.journal_grow(p_shard, 1, driftlock.journal_row_bytes(p_body), v_now_ns);
  return v_shard.next_seq;
end
$$;

-- ---- Where folds stand, and letting go. As before, for what belongs to the shard: other shards' tables are not looked at. ----

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
      select j.seq from driftlock.journal j
       where j.shard = p_shard and j.stream_id = s.id and j.seq > k.newest order by j.seq limit 1
    ) newer on true
    left join lateral (
      select j.seq from driftlock.journal j
       where j.shard = p_shard and j.stream_id = s.id and j.seq > k.previous order by j.seq limit 1
    ) older on true
   where s.shard = p_shard
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
      ) rows
    ) first
   where coalesce(t.shard, 0) = p_shard
$$;

-- As before, and planned for the shard at hand: it must hold no lock on tables of others.
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
       where j.shard = p_shard and j.slot = p_slot and j.kind in (0, 4, 5) group by 1
    ) r
    cross join lateral (
      select coalesce(max(c.seq), 0) as newest, case when count(*) > 1 then min(c.seq) else 0 end as previous
        from driftlock.tenant_checkpoints c where c.tenant_id = r.tenant_id
    ) k
    where r.last > k.previous and (
      exists (
        select from driftlock.streams s where s.tenant_id = r.tenant_id and s.shard = p_shard and exists (
          select from driftlock.journal n
           where n.shard = p_shard and n.stream_id = s.id and n.kind in (0, 5) and n.seq > k.newest and n.seq <= p_applied))
      or exists (
        select from driftlock.journal n
         where n.shard = p_shard and n.tenant_id = r.tenant_id and n.kind = 4 and n.seq > k.newest and n.seq <= p_applied))
  );
end
$$;

create or replace function driftlock.journal_close(p_shard integer, p_epoch bigint, p_before_ns bigint, p_bytes_kept bigint)
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
    v_shard.slot_since_ns < p_before_ns or (v_shard.bytes > p_bytes_kept and v_shard.slot_bytes > p_bytes_kept / v_shard.slots)
  ) then
    return false;
  end if;
  perform from driftlock.journal_shard s where s.shard = p_shard and s.epoch = p_epoch for update;
  return found and driftlock.journal_roll(p_shard);
end
$$;

create or replace function driftlock.journal_due(p_shard integer, p_before_ns bigint, p_bytes_kept bigint)
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
           where j.shard = p_shard and j.slot = t.slot and j.records > 0 group by 1, 2
        ) g
    ) r
   where t.last_seq <= p.applied_seq and (t.newest_ns < p_before_ns or s.bytes > p_bytes_kept)
     and not driftlock.journal_needed(p_shard, t.slot, p.applied_seq)
$$;

create or replace function driftlock.journal_empty(
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
  execute format('truncate driftlock.%I', driftlock.journal_slot_table(p_shard, p_slot));
  return v_slot.last_seq - v_slot.first_seq + 1;
exception when lock_not_available then
  return null;  -- nothing has happened
end
$$;

-- ---- Deleting. As before, and only the shard of the tenant, or of the stream, is held up meanwhile. ----

create or replace function driftlock.tenant_close(p_tenant uuid) returns boolean
language plpgsql
as $$
begin
  -- As appends take it: nothing of the tenant is on its way in after this.
  perform from driftlock.journal_shard s
    where s.shard = (select coalesce(t.shard, s.shard) from driftlock.tenants t where t.id = p_tenant)
    order by s.shard for update;
  delete from driftlock.api_keys k where k.tenant_id = p_tenant;
  update driftlock.tenants t set closed_at = clock_timestamp(), name = 'deleted-' || t.id
   where t.id = p_tenant and t.closed_at is null;
  return exists (select from driftlock.tenants t where t.id = p_tenant);
end
$$;

create or replace function driftlock.tenant_shed(p_tenant uuid, p_rows_max integer) returns bigint
language plpgsql
as $$
declare
  v_table text;
  v_weight integer;
  v_rows bigint;
  v_left bigint := p_rows_max;
begin
  -- As steps take it: none of them is halfway through rows of the tenant.
  perform from driftlock.journal_position p
    where p.shard = (select coalesce(t.shard, p.shard) from driftlock.tenants t where t.id = p_tenant)
    order by p.shard for update;
  if not exists (select from driftlock.tenants t where t.id = p_tenant and t.closed_at is not null) then
    return 0;
  end if;
  for v_table in
    select c.relname from pg_class c
     where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and not c.relispartition and c.relname <> 'streams'
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
     order by c.relname in ('anomalies', 'incidents', 'members'), c.relname
  loop
    v_weight := case
      when v_table in (
        'journal_quarantine', 'stream_checkpoints', 'tenant_checkpoints', 'anchors', 'evidence', 'dead_letters') then 10 else 1
    end;
    execute format(
      'delete from driftlock.%1$I where ctid = any (array(select ctid from driftlock.%1$I where tenant_id = $1 limit $2))',
      v_table
    ) using p_tenant, (v_left + v_weight - 1) / v_weight;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows * v_weight;
    exit when v_left <= 0;
  end loop;
  return p_rows_max - v_left;
end
$$;

create or replace function driftlock.tenant_finish(p_tenant uuid, p_streams_max integer) returns bigint
language plpgsql
as $$
declare
  v_rows bigint;
  v_last bigint;
begin
  -- In the order in which appends and steps take them.
  perform from driftlock.journal_shard s
    where s.shard = (select coalesce(t.shard, s.shard) from driftlock.tenants t where t.id = p_tenant)
    order by s.shard for update;
  perform from driftlock.journal_position p
    where p.shard = (select coalesce(t.shard, p.shard) from driftlock.tenants t where t.id = p_tenant)
    order by p.shard for update;
  if not exists (select from driftlock.tenants t where t.id = p_tenant and t.closed_at is not null) then
    return 0;
  end if;
  delete from driftlock.streams s
   where s.id in (
     select o.id from driftlock.streams o
      where o.tenant_id = p_tenant and not exists (select from driftlock.journal j where j.shard = o.shard and j.stream_id = o.id)
      limit p_streams_max);
  get diagnostics v_rows = row_count;
  delete from driftlock.tenants t
   where t.id = p_tenant
     and not exists (select from driftlock.streams s where s.tenant_id = p_tenant)
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 4)
     and not exists (select from driftlock.journal j where j.tenant_id = p_tenant and j.kind = 9);
  get diagnostics v_last = row_count;
  return v_rows + v_last;
end
$$;

create or replace function driftlock.stream_close(p_shard integer, p_epoch bigint, p_tenant uuid, p_stream uuid) returns boolean
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_overflow boolean;
begin
  -- As appends take it: nothing that was journaled before is behind it.
  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  perform from driftlock.tenants t where t.id = p_tenant for no key update;
  perform driftlock.stream_check(p_tenant, p_stream, p_shard);
  update driftlock.streams s
     set closed_at = clock_timestamp(), slug = '_deleted-' || s.id, environment = '_deleted-' || s.id
   where s.id = p_stream and s.tenant_id = p_tenant and s.closed_at is null
  returning s.overflow into v_overflow;
  if not found then
    return false;
  end if;
  update driftlock.tenants t set streams = greatest(0, t.streams - 1) where t.id = p_tenant and not v_overflow;
  delete from driftlock.redaction_rules r where r.stream_id = p_stream;
  return true;
end
$$;

create or replace function driftlock.stream_shed(p_stream uuid, p_rows_max integer) returns bigint
language plpgsql
as $$
declare
  v_table text;
  v_weight integer;
  v_rows bigint;
  v_left bigint := p_rows_max;
begin
  -- As steps take it: none of them is halfway through rows of the stream.
  perform from driftlock.journal_position p
    where p.shard = (select o.shard from driftlock.streams o where o.id = p_stream) for update;
  if not exists (select from driftlock.streams s where s.id = p_stream and s.closed_at is not null) then
    return 0;
  end if;
  for v_table in
    select c.relname from pg_class c
     where c.relnamespace = 'driftlock'::regnamespace and c.relkind = 'r' and not c.relispartition
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'stream_id' and not a.attisdropped)
     order by c.relname = 'anomalies', c.relname
  loop
    v_weight := case when v_table in ('journal_quarantine', 'stream_checkpoints', 'anchors', 'evidence') then 10 else 1 end;
    execute format(
      'delete from driftlock.%1$I where ctid = any (array(select ctid from driftlock.%1$I where stream_id = $1 limit $2))',
      v_table
    ) using p_stream, (v_left + v_weight - 1) / v_weight;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows * v_weight;
    if v_left <= 0 then
      return p_rows_max - v_left;
    end if;
  end loop;
  delete from driftlock.incidents i where i.id = any (array(
    select o.id from driftlock.incidents o where o.began_in = p_stream and o.stream_ids <@ array[p_stream] limit v_left));
  get diagnostics v_rows = row_count;
  return p_rows_max - v_left + v_rows;
end
$$;

create or replace function driftlock.stream_finish(p_stream uuid, p_grace interval) returns boolean
language plpgsql
as $$
begin
  -- In the order in which appends and steps take them.
  perform from driftlock.journal_shard s
    where s.shard = (select o.shard from driftlock.streams o where o.id = p_stream) for update;
  perform from driftlock.journal_position p
    where p.shard = (select o.shard from driftlock.streams o where o.id = p_stream) for update;
  delete from driftlock.incidents i using driftlock.streams s
   where s.id = p_stream and s.closed_at < clock_timestamp() - p_grace and i.began_in = p_stream
     and i.stream_ids <@ array[p_stream];
  delete from driftlock.streams s
   where s.id = p_stream and s.closed_at < clock_timestamp() - p_grace
     and not exists (select from driftlock.journal j where j.shard = s.shard and j.stream_id = p_stream);
  return found;
end
$$;

-- ---- Sources: where in a partition of a topic a shard goes on reading. ----

create table driftlock.source_position (
  shard integer primary key references driftlock.journal_shard,
  topic text not null check (octet_length(topic) between 1 and 249),
  partition integer not null check (partition >= 0),
  next_offset bigint not null check (next_offset >= 0),
  advanced_at timestamptz not null default now(),
  unique (topic, partition)
) with (fillfactor = 50);
grant select, insert, update on driftlock.source_position to driftlock_node;

-- Offsets that were never read, because the source did not hold them any more: from_offset up to before to_offset.
create table driftlock.source_gap (
  id uuid primary key default driftlock.uuid_v7(),
  shard integer not null references driftlock.journal_shard,
  topic text not null,
  partition integer not null,
  from_offset bigint not null check (from_offset >= 0),
  to_offset bigint not null check (to_offset >= 0),
  reason text not null check (octet_length(reason) <= 1024),
  found_at timestamptz not null default now()
);
create index source_gap_by_shard on driftlock.source_gap (shard, id);
grant select, insert on driftlock.source_gap to driftlock_node;

-- Messages that could not become rows of the journal. tenant_id is null where it is not known, or gone. The beginning of a body
-- is kept, none of a tenant that is gone; body_bytes says how long it was.
create table driftlock.dead_letters (
  id uuid primary key default driftlock.uuid_v7(),
  tenant_id uuid references driftlock.tenants on delete cascade,
  topic text not null check (octet_length(topic) between 1 and 249),
  partition integer not null check (partition >= 0),
  "offset" bigint not null check ("offset" >= 0),
  key bytea check (octet_length(key) <= 1024),
  body bytea check (octet_length(body) <= 1048576),
  body_bytes bigint not null check (body_bytes >= 0),
  headers jsonb not null default '[]' check (jsonb_typeof(headers) = 'array' and octet_length(headers::text) <= 65536),
  reason text not null check (octet_length(reason) <= 1024),
  state text not null default 'dead' check (state in ('dead', 'retried')),
  at timestamptz not null default clock_timestamp(),
  unique (topic, partition, "offset")
);
alter table driftlock.dead_letters alter column body set storage external;  -- it is compressed already
create index dead_letters_by_tenant on driftlock.dead_letters (tenant_id, id);
create index dead_letters_by_age on driftlock.dead_letters (at);
alter table driftlock.dead_letters enable row level security;
alter table driftlock.dead_letters force row level security;
create policy tenant on driftlock.dead_letters to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.dead_letters to driftlock_node using (true) with check (true);
grant select on driftlock.dead_letters to driftlock_api;
grant select, insert, update, delete on driftlock.dead_letters to driftlock_node;

-- The first statement of a transaction that journals messages of a source: the shard is held and the position moves from p_from
-- to p_next. Returns those of p_streams that are gone, or closed, or of another shard: then nothing has happened. Raises ZD001
-- after a take-over, ZD412 where the position is another one, or that of another source. A shard without a position begins
-- wherever its first reader does.
create function driftlock.source_advance(
  p_shard integer, p_epoch bigint, p_topic text, p_partition integer, p_from bigint, p_next bigint, p_streams uuid[]
) returns uuid[]
language plpgsql
as $$
declare
  v_epoch bigint;
  v_gone uuid[];
  v_at driftlock.source_position;
begin
  select s.epoch into strict v_epoch from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;
  select array_agg(distinct w.id) into v_gone
    from unnest(p_streams) as w (id)
    left join driftlock.streams s on s.id = w.id and s.shard = p_shard and s.closed_at is null
   where s.id is null;
  if v_gone is not null then
    return v_gone;
  end if;
  select * into v_at from driftlock.source_position p where p.shard = p_shard for update;
  if not found then
    insert into driftlock.source_position (shard, topic, partition, next_offset) values (p_shard, p_topic, p_partition, p_next);
  elsif v_at.topic <> p_topic or v_at.partition <> p_partition or v_at.next_offset <> p_from then
    raise exception 'the shard is at offset % of %/%', v_at.next_offset, v_at.topic, v_at.partition using errcode = 'ZD412';
  else
    update driftlock.source_position p set next_offset = p_next, advanced_at = now() where p.shard = p_shard;
  end if;
  return '{}';
end
$$;

revoke execute on all functions in schema driftlock from public;
grant execute on function
  driftlock.journal_slot_table(integer, smallint), driftlock.tenant_settle(uuid, integer),
  driftlock.stream_check(uuid, uuid, integer),
  driftlock.streams_resolve(uuid, text[], text[], text[], text[], text[], text[], integer),
  driftlock.source_advance(integer, bigint, text, integer, bigint, bigint, uuid[])
to driftlock_node;
