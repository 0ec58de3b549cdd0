"""Which findings evidence is to be made of: noted in the step that stores them, so that what it takes stays until then."""

from collections.abc import Sequence
from uuid import UUID

from driftlock.engine.ports import IncidentRow, Step
from driftlock.storage.columns import columns
from driftlock.storage.pool import Connection

WAITING_MAX = 100
"""Findings of a tenant that wait for their evidence at a time; each may keep one more checkpoint of its stream."""

# In the order in which they are given. The checkpoint is looked for before the step lets older ones go, and is kept as long as
# its finding waits. What is known already was said before, by the row that is noted.
WANT = """
insert into driftlock.evidence (anomaly_id, tenant_id, stream_id, seq, base_seq, state)
select w.anomaly_id, w.tenant_id, w.stream_id, w.seq,
       coalesce((select max(c.seq) from driftlock.stream_checkpoints c where c.stream_id = w.stream_id and c.seq < w.seq), 0),
       case when w.place + (
         select count(*) from driftlock.evidence e where e.tenant_id = w.tenant_id and e.state = 'waiting') <= $5
       then 'waiting' else 'skipped' end
  from (
    select n.*, row_number() over (partition by n.tenant_id order by n.at) as place
      from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[])
        with ordinality as n (anomaly_id, tenant_id, stream_id, seq, at)
  ) w
  join driftlock.anomalies a on a.id = w.anomaly_id and a.tenant_id = w.tenant_id
on conflict do nothing
"""


async def want_evidence(connection: Connection, step: Step, waiting_max: int = WAITING_MAX) -> None:
    """Note the findings of a step, in its transaction: after they and its checkpoints are stored, before older ones go.

    Those come first that begin an incident, those that nobody is told of last. Of findings of a tenant's fold, which are
    functions of many streams, nothing is noted.
    """
    first = _first_ones(step.incidents)
    wanted = sorted(
        (row for row in step.findings if row.seq),
        key=lambda row: (row.silenced_by is not None, row.finding_id not in first, row.seq),
    )
    if wanted:
        rows = columns([(row.finding_id, row.tenant_id, row.stream_id, row.seq) for row in wanted])
        await connection.execute(WANT, *rows, waiting_max)


def _first_ones(incidents: Sequence[IncidentRow]) -> frozenset[UUID]:
    """Findings with which incidents begin: all that these have joined them in this step."""
    return frozenset(row.joined[0] for row in incidents if row.joined and row.incident.findings == len(row.joined))
