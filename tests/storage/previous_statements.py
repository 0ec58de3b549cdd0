"""What a server of the version before may send to the database while the next one migrates it, and after.

Made by `python -m tests.storage.statements` at each release, from the code that is released; not to be edited.
"""

STATEMENTS = {
    "anomalies.TRACES": """
insert into driftlock.anomaly_traces (anomaly_id, trace_id, tenant_id)
select n.* from unnest($1::uuid[], $2::text[], $3::uuid[]) as n (anomaly_id, trace_id, tenant_id)
  join driftlock.anomalies a on a.id = n.anomaly_id and a.tenant_id = n.tenant_id
on conflict do nothing
""",
    "anomalies.450": """
select a.id, a.stream_id, s.slug, a.incident_id, a.detected_at, a.body
  from driftlock.anomalies a join driftlock.streams s on s.id = a.stream_id
 where a.id = $1
""",
    "budgets.SELECT": """
select t.alerts_per_day_max, s.until_ns, coalesce(i.spent, 0)::integer as spent, coalesce(i.muted, 0)::integer as muted
  from driftlock.tenants t
 cross join (select coalesce(max(s.last_event_ns), 0) as until_ns from driftlock.stream_status s where s.tenant_id = $1)
s
 cross join lateral (
   select count(*) filter (where i.alerted_ns > s.until_ns - $2::bigint) as spent,
          count(*) filter (where not i.alerted) as muted
     from driftlock.incidents i where i.tenant_id = $1 and i.end_ns > s.until_ns - $2::bigint
 ) i
 where t.id = $1
""",
    "checkpoints.ADVANCE": """
update driftlock.journal_position set applied_seq = $4 where shard = $1 and epoch = $2 and applied_seq = $3 returning 1
""",
    "checkpoints.ANOMALIES": """
insert into driftlock.anomalies
  (stream_id, window_no, id, tenant_id, start_ns, end_ns, first_event, last_event, ncd, p_value, confidence,
explanation,
   question, body)
select f.* from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[],
$8::bigint[],
                       $9::float8[], $10::float8[], $11::float8[], $12::text[], $13::text[], $14::bytea[])
    as f (stream_id, window_no, id, tenant_id, start_ns, end_ns, first_event, last_event, ncd, p_value, confidence,
          explanation, question, body)
  join driftlock.streams s on s.id = f.stream_id and s.tenant_id = f.tenant_id
on conflict do nothing
""",
    "checkpoints.JOINED": """
update driftlock.anomalies a set incident_id = j.incident_id
  from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as j (tenant_id, incident_id, anomaly_id)
  join driftlock.incidents i on i.id = j.incident_id and i.tenant_id = j.tenant_id
 where a.id = j.anomaly_id and a.tenant_id = j.tenant_id
""",
    "checkpoints.STATUS": """
insert into driftlock.stream_status
  (tenant_id, stream_id, events, windows, first_event_ns, last_event_ns, calibration, events_until_ready,
calibration_reason)
select n.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
$8::bigint[],
                       $9::text[])
    as n (tenant_id, stream_id, events, windows, first_event_ns, last_event_ns, calibration, events_until_ready,
          calibration_reason)
  join driftlock.streams s on s.id = n.stream_id and s.tenant_id = n.tenant_id
on conflict (stream_id) do update set
  events = excluded.events, windows = excluded.windows, first_event_ns = excluded.first_event_ns,
  last_event_ns = excluded.last_event_ns, calibration = excluded.calibration,
  events_until_ready = excluded.events_until_ready, calibration_reason = excluded.calibration_reason, updated_at = now()
""",
    "checkpoints.EVENTS": """
insert into driftlock.stream_events (id, tenant_id, stream_id, kind, event_no, window_no, time_ns, reason)
select e.* from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
$8::text[])
    as e (id, tenant_id, stream_id, kind, event_no, window_no, time_ns, reason)
  join driftlock.streams s on s.id = e.stream_id and s.tenant_id = e.tenant_id
on conflict do nothing
""",
    "checkpoints.KEEP_EVENTS": """
delete from driftlock.stream_events e using unnest($1::uuid[]) as touched (id)
 where e.stream_id = touched.id and (e.time_ns, e.event_no, e.id) < (
   select k.time_ns, k.event_no, k.id from driftlock.stream_events k where k.stream_id = touched.id
    order by k.time_ns desc, k.event_no desc, k.id desc offset $2 limit 1)
""",
    "checkpoints.SAVE_STREAMS": """
insert into driftlock.stream_checkpoints (tenant_id, stream_id, seq, crc, state)
select c.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bytea[])
    as c (tenant_id, stream_id, seq, crc, state)
  join driftlock.streams s on s.id = c.stream_id and s.tenant_id = c.tenant_id
on conflict (stream_id, seq) do update set crc = excluded.crc, state = excluded.state
""",
    "checkpoints.SAVE_TENANTS": """
insert into driftlock.tenant_checkpoints (tenant_id, seq, crc, state)
select c.* from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[]) as c (tenant_id, seq, crc, state)
  join driftlock.tenants t on t.id = c.tenant_id
on conflict (tenant_id, seq) do update set crc = excluded.crc, state = excluded.state
""",
    "checkpoints.KEEP_STREAMS": """
delete from driftlock.stream_checkpoints c using unnest($1::uuid[]) as saved (id)
 where c.stream_id = saved.id and c.seq < (
   select k.seq from driftlock.stream_checkpoints k where k.stream_id = saved.id order by k.seq desc offset 1 limit 1)
""",
    "checkpoints.KEEP_TENANTS": """
delete from driftlock.tenant_checkpoints c using unnest($1::uuid[]) as saved (id)
 where c.tenant_id = saved.id and c.seq < (
   select k.seq from driftlock.tenant_checkpoints k where k.tenant_id = saved.id order by k.seq desc offset 1 limit 1)
""",
    "checkpoints.LOAD_STREAMS": """
select stream_id as id, seq, crc, state from driftlock.stream_checkpoints where stream_id = any ($1) order by seq desc
""",
    "checkpoints.KEYS": """
select id, signal, service, namespace, environment from driftlock.streams where id = any ($1)
""",
    "checkpoints.LOAD_TENANTS": """
select tenant_id as id, seq, crc, state from driftlock.tenant_checkpoints where tenant_id = any ($1) order by seq desc
""",
    "checkpoints.1152": """
select epoch, applied_seq from driftlock.journal_position where shard = $1
""",
    "incidents.SAVE": """
insert into driftlock.incidents as known
  (id, tenant_id, state, start_ns, end_ns, findings, ncd_max, p_value_min, title, surprise_max, alerted, alerted_ns,
stream_ids,
   suspects, trace_ids)
select i.id, i.tenant_id, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, string_to_array(i.streams, ' ')::uuid[], i.suspects::jsonb, string_to_array(i.traces, '
')
  from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[], $7::float8[], $8::float8[],
              $9::text[], $10::float8[], $11::boolean[], $12::bigint[], $13::text[], $14::text[], $15::text[])
    as i (id, tenant_id, state, start_ns, end_ns, findings, ncd_max, p_value_min, title, surprise_max, alerted,
alerted_ns,
          streams, suspects, traces)
  join driftlock.tenants t on t.id = i.tenant_id
on conflict (id) do update set
  state = excluded.state, start_ns = excluded.start_ns, end_ns = excluded.end_ns, findings = excluded.findings,
  ncd_max = excluded.ncd_max, p_value_min = excluded.p_value_min, title = excluded.title, stream_ids =
excluded.stream_ids,
  surprise_max = excluded.surprise_max, alerted = excluded.alerted, alerted_ns = excluded.alerted_ns,
  suspects = excluded.suspects, trace_ids = excluded.trace_ids, updated_at = now()
where known.tenant_id = excluded.tenant_id
""",
    "incidents.466": """
select i.id, i.stream_ids, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, i.suspects, i.trace_ids, i.updated_at,
       array(select coalesce(s.slug, '') from unnest(i.stream_ids) with ordinality as n (id, position)
               left join driftlock.streams s on s.id = n.id order by n.position) as slugs
  from driftlock.incidents i
 where $2::bigint is null or (i.start_ns, i.id) < ($2, $3::uuid) order by i.start_ns desc, i.id desc limit $1
""",
    "incidents.477": """
select i.id, i.stream_ids, i.state, i.start_ns, i.end_ns, i.findings, i.ncd_max, i.p_value_min, i.title, i.surprise_max,
       i.alerted, i.alerted_ns, i.suspects, i.trace_ids, i.updated_at,
       array(select coalesce(s.slug, '') from unnest(i.stream_ids) with ordinality as n (id, position)
               left join driftlock.streams s on s.id = n.id order by n.position) as slugs
  from driftlock.incidents i
 where i.id = $1
""",
    "journal.APPEND": """
select duplicate, seq from driftlock.journal_append(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) order by request
""",
    "journal.APPEND_CLOCK": """
select driftlock.journal_append_control($1, $2, $3, $4, $5)
""",
    "journal.APPEND_TIME": """
select driftlock.journal_append_time($1, $2, $3, $4, $5, $6, $7)
""",
    "journal.SET_BUDGET": """
select driftlock.journal_set_budget($1, $2, $3, $4, $5, $6, $7)
""",
    "journal.CONFIGURE": """
select driftlock.journal_configure($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
""",
    "journal_reader.READ": """
select j.seq, j.kind, j.received_ns, j.crc, case when known.seq is null then j.body end as body, j.body_bytes,
j.tenant_id,
       j.stream_id, s.signal, s.service, s.namespace, s.environment, s.profile, t.id as known_tenant,
t.alerts_per_day_max
  from (
    select p.seq, p.kind, p.received_ns, p.crc, p.body, p.tenant_id, p.stream_id, octet_length(p.body) as body_bytes,
           sum(octet_length(p.body)) over (order by p.seq) - octet_length(p.body) as before
      from driftlock.journal p where p.shard = $1 and p.seq > $2 and p.seq <= $2 + $4
  ) j
  left join unnest($5::bigint[]) as known (seq) on known.seq = j.seq
  left join driftlock.streams s on s.id = j.stream_id
  left join driftlock.tenants t on t.id = j.tenant_id
 where j.before < $3
 order by j.seq
""",
    "journal_reader.LAST": """
select next_seq - 1 from driftlock.journal_shard where shard = $1
""",
    "journal_reader.404": """
select applied_seq from driftlock.journal_position where shard = $1
""",
    "journal_reader.408": """
select bytes from driftlock.journal_shard where shard = $1
""",
    "keys.672": """
insert into driftlock.api_keys (id, tenant_id, kind, digest, name, scopes, stream, expires_at) values ($1, $2, $3, $4,
$5, $6, $7, $8) returning *
""",
    "keys.688": """
select * from driftlock.api_keys where $2::timestamptz is null or (created_at, id) < ($2, $3) order by created_at desc,
id desc limit $1
""",
    "keys.700": """
update driftlock.api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning 1
""",
    "keys.750": """
select * from driftlock.api_keys where id = $1
""",
    "pool.660": """
select set_config('driftlock.tenant_id', $1, true)
""",
    "recovery.STREAM_FOLDS": """
select stream_id as id, newest_seq, after_newest, after_previous from driftlock.stream_folds($1) where after_newest is
not null
""",
    "recovery.TENANT_FOLDS": """
select tenant_id as id, newest_seq, after_newest, after_previous from driftlock.tenant_folds($1) where after_newest is
not null
""",
    "recovery.253": """
select distinct tenant_id from driftlock.tenant_checkpoints order by tenant_id
""",
    "retention.TRUNCATE": """
select driftlock.journal_truncate($1, $2, $3, $4, $5)
""",
    "series_states.SAVE": """
insert into driftlock.series_states (tenant_id, stream_id, series, seq, crc, state)
select c.* from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
    as c (tenant_id, stream_id, series, seq, crc, state)
  join driftlock.streams s on s.id = c.stream_id and s.tenant_id = c.tenant_id
on conflict (stream_id, series, seq) do update set crc = excluded.crc, state = excluded.state
""",
    "series_states.KEEP": """
delete from driftlock.series_states a
 using unnest($1::uuid[], $2::bigint[]) as saved (stream_id, series)
 where a.stream_id = saved.stream_id and a.series = saved.series and exists (
   select from driftlock.series_states b
    where b.stream_id = a.stream_id and b.series = a.series and b.seq > a.seq
      and b.seq <= (select min(c.seq) from driftlock.stream_checkpoints c where c.stream_id = a.stream_id))
""",
    "series_states.DROP": """
delete from driftlock.series_states a
 using unnest($1::uuid[], $2::bigint[]) as dropped (stream_id, series)
 where a.stream_id = dropped.stream_id and a.series = dropped.series
""",
    "series_states.LOAD": """
select distinct on (series) series, seq, crc, state from driftlock.series_states
 where stream_id = $1 and seq <= $2 and series = any ($3::bigint[])
 order by series, seq desc
""",
    "service_graphs.SAVE": """
insert into driftlock.service_graphs as known (tenant_id, stream_id, seq, as_of_ns, edges_known, edges)
select g.tenant_id, g.stream_id, g.seq, g.as_of_ns, g.edges_known, g.edges::jsonb
  from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[])
    as g (tenant_id, stream_id, seq, as_of_ns, edges_known, edges)
  join driftlock.streams s on s.id = g.stream_id and s.tenant_id = g.tenant_id
on conflict (stream_id) do update set
  seq = excluded.seq, as_of_ns = excluded.as_of_ns, edges_known = excluded.edges_known, edges = excluded.edges
where known.seq <= excluded.seq
""",
    "service_graphs.LOAD": """
select seq, as_of_ns, edges_known, edges from driftlock.service_graphs where stream_id = $1
""",
    "shard.134": """
select driftlock.journal_acquire($1)
""",
    "stream_events.LIST": """
select e.id, e.kind, e.event_no, e.window_no, e.time_ns, e.reason, e.recorded_at
  from driftlock.stream_events e
 where e.stream_id = $2 and ($3::bigint is null or (e.time_ns, e.event_no, e.id) < ($3, $4::bigint, $5::uuid))
 order by e.time_ns desc, e.event_no desc, e.id desc limit $1
""",
    "stream_ids.RESOLVE": """
select stream_id, overflow from driftlock.streams_resolve($1, $2, $3, $4, $5, $6, $7)
""",
    "streams.426": """
select s.id, s.slug, s.signal, s.service, s.namespace, s.environment, s.created_at, s.profile,
       coalesce(t.events, 0) as events, coalesce(t.windows, 0) as windows, coalesce(t.first_event_ns, 0) as
first_event_ns,
       coalesce(t.last_event_ns, 0) as last_event_ns, coalesce(t.calibration, 'calibrating') as calibration,
       coalesce(t.events_until_ready, 0) as events_until_ready, coalesce(t.calibration_reason, '') as
calibration_reason,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $2::bigint and i.alerted_ns > t.last_event_ns -
$2::bigint
       ) as alerts_spent,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $2::bigint and not i.alerted) as alerts_muted,
       (select coalesce(sum(j.records), 0)::bigint from driftlock.journal j
         where j.stream_id = s.id and j.shard = $1
           and j.seq > (select p.applied_seq from driftlock.journal_position p where p.shard = $1)) as pending
  from driftlock.streams s left join driftlock.stream_status t on t.stream_id = s.id
 where $4::text is null or (s.slug, s.id) > ($4, $5::uuid) order by s.slug, s.id limit $3
""",
    "streams.444": """
select s.id, s.slug, s.signal, s.service, s.namespace, s.environment, s.created_at, s.profile,
       coalesce(t.events, 0) as events, coalesce(t.windows, 0) as windows, coalesce(t.first_event_ns, 0) as
first_event_ns,
       coalesce(t.last_event_ns, 0) as last_event_ns, coalesce(t.calibration, 'calibrating') as calibration,
       coalesce(t.events_until_ready, 0) as events_until_ready, coalesce(t.calibration_reason, '') as
calibration_reason,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $2::bigint and i.alerted_ns > t.last_event_ns -
$2::bigint
       ) as alerts_spent,
       (select count(*)::integer from driftlock.incidents i
         where i.began_in = s.id and i.end_ns > t.last_event_ns - $2::bigint and not i.alerted) as alerts_muted,
       (select coalesce(sum(j.records), 0)::bigint from driftlock.journal j
         where j.stream_id = s.id and j.shard = $1
           and j.seq > (select p.applied_seq from driftlock.journal_position p where p.shard = $1)) as pending
  from driftlock.streams s left join driftlock.stream_status t on t.stream_id = s.id
 where s.id = $3::uuid or s.slug = $4 order by s.id = $3::uuid desc nulls last limit 1
""",
    "tenants.188": """
select * from driftlock.tenants where name > coalesce($1, '') order by name limit $2
""",
    "tenants.338": """
insert into driftlock.tenants (name, plan, streams_max) values ($1, $2, $3) on conflict (name) do nothing returning *
""",
    "tenants.360": """
select * from driftlock.tenants where name = $1
""",
    "tenants.369": """
select * from driftlock.tenants where id = $1
""",
    "tenants.469": """
select driftlock.tenant_delete($1)
""",
}
