"""Open incidents as messages of their tenant's checkpoint, and back. What earlier versions did not store has a default."""

from uuid import UUID

from driftlock.engine.correlation.budget import Strength
from driftlock.engine.correlation.budget_state import strength_from, strength_message
from driftlock.engine.correlation.exemplars import Exemplars
from driftlock.engine.correlation.story import Member, Story
from driftlock.engine.correlation.suspicion import Against, Suspicion, muted
from driftlock.engine.verdict import Incident, IncidentState
from driftlock.v1 import state_pb2


def story_message(story: Story) -> state_pb2.OpenIncident:
    """An open incident."""
    incident = story.incident
    return state_pb2.OpenIncident(
        stream_id=incident.stream_ids[0].bytes,
        incident_id=incident.incident_id.bytes,
        start_ns=incident.start_ns,
        end_ns=incident.end_ns,
        findings=incident.findings,
        ncd_max=incident.ncd_max,
        p_value_min=incident.p_value_min,
        title=story.title,
        historical=story.historical,
        surprise_max=incident.surprise_max,
        strongest=strength_message(story.strongest),
        alerted_ns=story.alerted_ns,
        stream=[stream_id.bytes for stream_id in incident.stream_ids],
        member=[
            state_pb2.IncidentMember(
                stream_id=stream_id.bytes, window=member.window, bucket=member.bucket, across=member.across
            )
            for stream_id, member in story.members.items()
        ],
        involved=[_involved_message(service, against) for service, against in story.suspicion],
        trace=[
            state_pb2.IncidentTrace(trace_id=trace_id, strength=strength_message(strength))
            for trace_id, strength in story.exemplars.shown.items()
        ],
        recent_trace=story.exemplars.recent,
        opened=story.opened,
        calls_bucket=story.suspicion.calls_bucket,
        own_bucket=story.suspicion.own_bucket,
    )


def story_from(message: state_pb2.OpenIncident, bucket_ns: int) -> Story:
    """What `story_message` was given."""
    first = UUID(bytes=message.stream_id)
    members = {UUID(bytes=it.stream_id): Member(it.window, it.bucket, it.across) for it in message.member}
    incident = Incident(
        incident_id=UUID(bytes=message.incident_id),
        stream_ids=tuple(UUID(bytes=stream_id) for stream_id in message.stream) or (first,),
        state=IncidentState.OPEN,
        start_ns=message.start_ns,
        end_ns=message.end_ns,
        findings=message.findings,
        ncd_max=message.ncd_max,
        p_value_min=message.p_value_min,
        title=message.title,
        surprise_max=message.surprise_max,
        alerted=message.HasField("alerted_ns"),
    )
    strongest = strength_from(message.strongest) if message.HasField("strongest") else _whole_strength(incident)
    story = Story(
        incident=incident,
        historical=message.historical,
        strongest=strongest,
        title=message.title,
        opened=message.opened if message.HasField("opened") else message.start_ns // bucket_ns,
        alerted_ns=message.alerted_ns if message.HasField("alerted_ns") else None,
        members=members or {first: Member(message.last_window, message.end_ns // bucket_ns)},
        suspicion=_suspicion_from(message, strongest),
        exemplars=Exemplars({it.trace_id: strength_from(it.strength) for it in message.trace}, message.recent_trace),
    )
    story.show()
    return story


def _involved_message(service: str, against: Against) -> state_pb2.InvolvedService:
    return state_pb2.InvolvedService(
        service=service,
        calls=against.calls,
        own=against.own,
        strongest=None if against.strongest is None else strength_message(against.strongest),
        title=against.title,
        recent=against.recent,
    )


def _suspicion_from(message: state_pb2.OpenIncident, strongest: Strength) -> Suspicion:
    suspicion = Suspicion(message.calls_bucket, message.own_bucket)
    for it in message.involved:
        known = strength_from(it.strongest) if it.HasField("strongest") else None
        against = Against(it.calls, it.own, known, it.title)
        against.recent = it.recent if it.HasField("recent") else against.bits  # of a version in which nothing faded
        suspicion.put(it.service, against)
    if message.service and not message.involved:  # of a version in which an incident was of one service
        own = max(0.0, message.surprise_max)
        suspicion.put(message.service, Against(0.0, own, strongest, message.title, muted(own)))
    return suspicion


def _whole_strength(incident: Incident) -> Strength:
    """The strength of an incident of whose findings only the extremes are known."""
    return Strength(incident.surprise_max, -incident.p_value_min, incident.ncd_max)
