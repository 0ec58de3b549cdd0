"""A million findings, made by SQL of one real one: other ids, times, streams, tenants, distances and p-values, the same body.

The asked tenant has nine of ten findings. Times lie evenly over `DAYS`; one finding in fifty is of a backfill, whose events are
a year older than their detection. One in a hundred is silenced, one in a hundred names a trace.
"""

import time
from dataclasses import dataclass
from uuid import UUID

import asyncpg

DAYS = 30
OTHER_TENANTS, STREAMS, OTHER_STREAMS = 20, 100, 5
FINDINGS_PER_INCIDENT = 10
SCORED_STREAMS, SCORED_MINUTES = 20, 10_000
AUDIT_ROWS = 100_000
LIVE_EVENTS = 10_000
BATCH = 50_000
FILL_TIMEOUT_S = 1_800

# Loading must not be slowed by foreign keys that hold by construction, nor be seen half done by the serving process.
PREPARE = """
set session_replication_role = replica;
set synchronous_commit = off;
set maintenance_work_mem = '512MB';
"""
# A cursor is made of what a finding says of itself. The copies have times of their own in the columns alone, all of them later
# than this, so that no page begins with the last finding of the page before (and an export leaves out its last one).
AGE = """
update driftlock.anomalies a
   set body = convert_to(regexp_replace(convert_from(a.body, 'UTF8'), '"(start|end)_ns": ?[0-9]+', '"\\1_ns":1', 'g'), 'UTF8'),
       start_ns = 1, end_ns = 1
 where a.id = $1
"""
TENANTS = """
insert into driftlock.tenants (name) select 'other-' || n from generate_series(1, $1::integer) n
"""
SPREAD = """
insert into driftlock.streams (tenant_id, signal, service, slug)
select t.id, 'logs', 'service-' || n, 'service-' || n
  from driftlock.tenants t
 cross join lateral generate_series(1, case when t.id = $1 then $2::integer else $3::integer end) n
"""
STATUS = """
insert into driftlock.stream_status
  (stream_id, tenant_id, events, windows, first_event_ns, last_event_ns, calibration, events_until_ready)
select s.id, s.tenant_id, 1000000, 100000, 1, (extract(epoch from now()) * 1e9)::bigint, 'ok', 0
  from driftlock.streams s on conflict do nothing
"""
PLACES = """
create temporary table places as
select s.tenant_id, s.id as stream_id, row_number() over (partition by s.tenant_id = $1 order by s.id) - 1 as place,
       s.tenant_id = $1 as asked
  from driftlock.streams s
"""
INCIDENTS = """
insert into driftlock.incidents
  (id, tenant_id, state, start_ns, end_ns, findings, ncd_max, p_value_min, title, surprise_max, alerted, alerted_ns, stream_ids)
select gen_random_uuid(), p.tenant_id, case when n % 500 = 7 then 'open' else 'closed' end, t.start_ns,
       t.start_ns + 60000000000, $3::integer,
       .5 + .5 * random(), random() * .05, 'service ' || p.place || ' says what it never said', 100 * random(),
       n % 3 = 0, case when n % 3 = 0 then t.start_ns end, array[p.stream_id]
  from generate_series(1, $1::integer) n
 cross join lateral (
   select (extract(epoch from now() - make_interval(secs => $2::integer * 86400 * n::float8 / $1)) * 1e9)::bigint as start_ns) t
  join places p on p.asked = (n % 10 > 0) and p.place = n % (select count(*) from places o where o.asked = (n % 10 > 0))
"""
NUMBERED = """
create temporary table numbered as
select i.id, i.tenant_id, row_number() over (partition by i.tenant_id order by i.start_ns desc) - 1 as place
  from driftlock.incidents i
"""
FINDINGS = """
insert into driftlock.anomalies
  (id, tenant_id, stream_id, incident_id, window_no, detected_at, start_ns, end_ns, first_event, last_event, ncd, p_value,
   confidence, explanation, question, silenced_by, journal_seq, body)
select gen_random_uuid(), p.tenant_id, p.stream_id, i.id, n, t.at, t.end_ns - 1000000000, t.end_ns, n * 10, n * 10 + 50,
       .3 + .7 * random(), .05 * power(random(), 3), 1, f.explanation,
       case when n % 20 = 9 then 'order' when n % 4 = 1 then 'more' else 'novelty' end,
       case when n % 100 = 7 then f.id end, n, f.body
  from generate_series($1::integer, $2::integer) n
 cross join lateral (select now() - make_interval(secs => $4::integer * 86400 * n::float8 / $3) as at) d
 cross join lateral (
   select d.at, (extract(epoch from d.at - case when n % 50 = 3 then interval '1 year' else interval '2 seconds' end)
                 * 1e9)::bigint as end_ns) t
  join places p on p.asked = (n % 10 > 0) and p.place = n / 7 % (select count(*) from places o where o.asked = (n % 10 > 0))
  left join numbered i on i.tenant_id = p.tenant_id and i.place = n / $6::integer and n % 5 > 0
 cross join (select * from driftlock.anomalies o where o.id = $5) f
"""
TRACES = """
insert into driftlock.anomaly_traces (anomaly_id, trace_id, tenant_id)
select a.id, md5(a.window_no::text), a.tenant_id from driftlock.anomalies a where a.window_no % 100 = 11
"""
SCORES = """
insert into driftlock.stream_scores (stream_id, minute, tenant_id, events, windows, flagged, surprise_max, ncd_max, p_value_min)
select p.stream_id, extract(epoch from now())::bigint / 60 - n, p.tenant_id, 600, 60, n % 7 / 6, 40 * random(), random(),
       random()
  from places p cross join generate_series(1, $2::integer) n where p.asked and p.place < $1
on conflict do nothing
"""
AUDIT = """
insert into driftlock.audit (tenant_id, at, actor_kind, actor_id, actor_name, action, target)
select $1, now() - make_interval(secs => n * 20), 'key', 'dl-0000000000000', 'bench',
       case when n % 1000 = 0 then 'profile.changed' else 'stream.changed' end, 'service-' || n % 100
  from generate_series(1, $2::integer) n
"""
LIVE = """
with head as (select coalesce(max(h.seq), 0) as seq from driftlock.live_heads h where h.tenant_id = $1),
told as (
  insert into driftlock.live_events (tenant_id, seq, kind, anomaly_id)
  select $1, head.seq + row_number() over (order by a.detected_at), 'anomaly', a.id
    from head, (select o.* from driftlock.anomalies o where o.tenant_id = $1 order by o.detected_at desc limit $2) a
  on conflict do nothing returning seq
)
insert into driftlock.live_heads as h (tenant_id, seq) select $1, max(told.seq) from told
on conflict (tenant_id) do update set seq = greatest(h.seq, excluded.seq)
"""
TABLES = (
    "tenants", "streams", "stream_status", "incidents", "anomalies", "anomaly_traces", "stream_scores", "audit", "live_events"
)  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """What is in the tables by now."""

    findings: int
    seconds: float
    database_mib: float


async def fill(dsn: str, tenant_id: UUID, finding_id: UUID, findings: int) -> Filled:
    """Fill the database of `dsn`, whose owner it names, for `tenant_id`, after the finding of that id."""
    began = time.monotonic()
    connection = await asyncpg.connect(dsn, command_timeout=FILL_TIMEOUT_S)
    try:
        await connection.execute(PREPARE)
        await connection.execute(AGE, finding_id)
        await connection.execute(TENANTS, OTHER_TENANTS)
        await connection.execute(SPREAD, tenant_id, STREAMS, OTHER_STREAMS)
        await connection.execute(STATUS)
        await connection.execute(PLACES.replace("$1", f"'{tenant_id}'::uuid"))  # a statement of this kind takes no parameters
        await connection.execute(INCIDENTS, findings // FINDINGS_PER_INCIDENT, DAYS, FINDINGS_PER_INCIDENT)
        await connection.execute(NUMBERED)
        await connection.execute("analyze places; analyze numbered")
        for first in range(1, findings + 1, BATCH):
            last = min(findings, first + BATCH - 1)
            await connection.execute(FINDINGS, first, last, findings, DAYS, finding_id, FINDINGS_PER_INCIDENT)
        await connection.execute(TRACES)
        await connection.execute(SCORES, SCORED_STREAMS, SCORED_MINUTES)
        await connection.execute(AUDIT, tenant_id, AUDIT_ROWS)
        await connection.execute(LIVE, tenant_id, LIVE_EVENTS)
        for table in TABLES:
            await connection.execute(f"vacuum (analyze) driftlock.{table}")
        await connection.execute("checkpoint")
        size = await connection.fetchval("select pg_database_size(current_database()) / 1048576.0")
        count = await connection.fetchval("select count(*) from driftlock.anomalies")
    finally:
        await connection.close()
    return Filled(count, time.monotonic() - began, float(size))
