"""The fold of a tenant as messages of its checkpoint, and back. What earlier versions did not store has a default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from driftlock.engine.correlation.budget import Budget
from driftlock.engine.correlation.budget_state import budget_from, budget_message
from driftlock.engine.correlation.flag import ALERTS_PER_DAY_MAX, Flag, Progress, Watch
from driftlock.engine.correlation.past_sums import PastSums
from driftlock.engine.correlation.pooling import Minute, Resource
from driftlock.engine.correlation.story import Story
from driftlock.engine.correlation.story_state import story_from, story_message
from driftlock.engine.evidence import SeriesEvidence, Suspect
from driftlock.engine.limits import Limits
from driftlock.engine.state import pack, unpack
from driftlock.v1 import state_pb2


@dataclass(slots=True)
class TenantParts:
    """All that the fold of a tenant remembers, see `driftlock.engine.correlation.correlator.Correlator`."""

    clock_ns: int
    progress: dict[UUID, Progress]
    reached: dict[UUID, int]
    pending: list[Flag]
    watches: dict[UUID, Watch]
    stories: list[Story]
    budget: Budget
    resources: dict[str, Resource]
    waiting: dict[int, dict[str, Minute]]


def tenant_bytes(parts: TenantParts) -> bytes:
    """The checkpoint; equal parts give equal bytes."""
    return pack(
        state_pb2.TenantState(
            clock_ns=parts.clock_ns,
            progress=[
                progress_message(stream_id, entry, parts.reached.get(stream_id))
                for stream_id, entry in sorted(parts.progress.items())
            ],
            pending=[flag_message(flag) for flag in parts.pending],
            incident=[story_message(story) for story in parts.stories],
            budget=budget_message(parts.budget),
            watch=[_watch_message(stream_id, watch) for stream_id, watch in sorted(parts.watches.items())],
            resource=[_resource_message(name, resource) for name, resource in parts.resources.items()],
            minute=list(_minute_messages(parts.waiting)),
        )
    )


def tenant_from(body: bytes, limits: Limits) -> TenantParts:
    """What `tenant_bytes` was given; raises `Internal` when the bytes are damaged."""
    state = unpack(state_pb2.TenantState(), body)
    waiting: dict[int, dict[str, Minute]] = {}
    for message in state.minute:
        waiting.setdefault(message.minute, {})[message.resource] = _minute_from(message)
    return TenantParts(
        clock_ns=state.clock_ns,
        progress={UUID(bytes=message.stream_id): progress_from(message) for message in state.progress},
        reached={UUID(bytes=message.stream_id): message.reached for message in state.progress if message.HasField("reached")},
        pending=[flag_from(message) for message in state.pending],
        watches={UUID(bytes=message.stream_id): _watch_from(message) for message in state.watch},
        stories=[story_from(message, limits.bucket_ns) for message in state.incident],
        # A state of a version without budgets has none.
        budget=budget_from(state.budget, limits) if state.HasField("budget") else Budget(limits),
        resources={message.resource: _resource_from(message) for message in state.resource},
        waiting=waiting,
    )


def relay_bytes(progress: Mapping[UUID, Progress], watches: Mapping[UUID, Watch]) -> bytes:
    """The checkpoint of a relay; equal parts give equal bytes."""
    return pack(
        state_pb2.TenantState(
            progress=[progress_message(stream_id, entry, None) for stream_id, entry in sorted(progress.items())],
            watch=[_watch_message(stream_id, watch) for stream_id, watch in sorted(watches.items())],
        )
    )


def relay_from(body: bytes) -> tuple[dict[UUID, Progress], dict[UUID, Watch]]:
    """What `relay_bytes` was given; raises `Internal` when the bytes are damaged."""
    state = unpack(state_pb2.TenantState(), body)
    return (
        {UUID(bytes=message.stream_id): progress_from(message) for message in state.progress},
        {UUID(bytes=message.stream_id): _watch_from(message) for message in state.watch},
    )


def progress_message(stream_id: UUID, entry: Progress, reached: int | None) -> state_pb2.StreamProgress:
    """How far a stream has come, and the bucket of its newest flag if there was one."""
    return state_pb2.StreamProgress(
        stream_id=stream_id.bytes,
        watermark_ns=entry.watermark_ns,
        windows=entry.windows,
        received_ns=entry.received_ns,
        historical=entry.historical,
        due_ns=entry.due_ns,
        stream=entry.stream,
        alerts_per_day_max=entry.alerts_per_day_max,
        reached=reached,
        closes_ns=entry.closes_ns,
    )


def progress_from(message: state_pb2.StreamProgress) -> Progress:
    """What `progress_message` was given."""
    return Progress(
        watermark_ns=message.watermark_ns,
        windows=message.windows,
        received_ns=message.received_ns,
        historical=message.historical,
        due_ns=message.due_ns,
        stream=message.stream,
        alerts_per_day_max=message.alerts_per_day_max if message.HasField("alerts_per_day_max") else ALERTS_PER_DAY_MAX,
        closes_ns=message.closes_ns,
    )


def _watch_message(stream_id: UUID, watch: Watch) -> state_pb2.SilenceWatch:
    """A stream that may fall silent."""
    return state_pb2.SilenceWatch(stream_id=stream_id.bytes, due_ns=watch.due_ns, told=watch.told, remote=watch.remote)


def _watch_from(message: state_pb2.SilenceWatch) -> Watch:
    """What `_watch_message` was given."""
    return Watch(message.due_ns, message.told, message.remote)


def flag_message(flag: Flag) -> state_pb2.PendingFlag:
    """A flag that waits."""
    return state_pb2.PendingFlag(
        stream_id=flag.stream_id.bytes,
        stream=flag.stream,
        seq=flag.seq,
        window=flag.window,
        start_ns=flag.start_ns,
        end_ns=flag.end_ns,
        ncd=flag.ncd,
        p_value=flag.p_value,
        finding_id=flag.finding_id.bytes,
        title=flag.title,
        historical=flag.historical,
        surprise=flag.surprise,
        alerts_per_day_max=flag.alerts_per_day_max,
        question=flag.question,
        service=flag.service,
        suspect=[state_pb2.FlagSuspect(service=it.service, bits=it.bits, share=it.share) for it in flag.blamed],
        trace_id=flag.named_traces,
    )


def flag_from(message: state_pb2.PendingFlag) -> Flag:
    """What `flag_message` was given."""
    return Flag(
        stream_id=UUID(bytes=message.stream_id),
        stream=message.stream,
        seq=message.seq,
        window=message.window,
        start_ns=message.start_ns,
        end_ns=message.end_ns,
        ncd=message.ncd,
        p_value=message.p_value,
        finding_id=UUID(bytes=message.finding_id),
        title=message.title,
        historical=message.historical,
        surprise=message.surprise,
        alerts_per_day_max=message.alerts_per_day_max if message.HasField("alerts_per_day_max") else ALERTS_PER_DAY_MAX,
        question=message.question,
        service=message.service,
        suspects=tuple(Suspect(it.service, it.bits, it.share) for it in message.suspect),
        trace_ids=tuple(message.trace_id),
    )


def _resource_message(name: str, resource: Resource) -> state_pb2.PooledResource:
    """The past of a resource."""
    bins = sorted(resource.past.bins.items())
    return state_pb2.PooledResource(
        resource=name,
        minute=resource.minute,
        digits=resource.digits,
        told_minute=resource.told_minute,
        told_digits=resource.told_digits,
        weight=resource.past.weight,
        total=resource.past.total,
        seen=resource.past.seen,
        bin=[place for place, _ in bins],
        bin_weight=[weight for _, weight in bins],
    )


def _resource_from(message: state_pb2.PooledResource) -> Resource:
    """What `_resource_message` was given."""
    bins = dict(zip(message.bin, message.bin_weight, strict=True))
    past = PastSums(message.weight, message.total, message.seen, bins)
    return Resource(message.minute, message.digits, message.told_minute, message.told_digits, past)


def _minute_messages(waiting: Mapping[int, Mapping[str, Minute]]) -> Iterator[state_pb2.PooledMinute]:
    """Minutes of resources that wait."""
    for minute, resources in sorted(waiting.items()):
        for name, said in sorted(resources.items()):
            yield state_pb2.PooledMinute(
                minute=minute,
                resource=name,
                points=said.points,
                series=said.series,
                odd=said.odd,
                digits=said.digits,
                strongest=[series_message(it) for it in said.strongest],
                share=[
                    state_pb2.PooledShare(stream_id=stream_id.bytes, digits=digits, window=window)
                    for stream_id, (digits, window) in sorted(said.shares.items())
                ],
            )


def _minute_from(message: state_pb2.PooledMinute) -> Minute:
    """What one message of `_minute_messages` was made from."""
    return Minute(
        points=message.points,
        series=message.series,
        odd=message.odd,
        digits=message.digits,
        strongest=tuple(map(series_from, message.strongest)),
        shares={UUID(bytes=share.stream_id): (share.digits, share.window) for share in message.share},
    )


def series_message(it: SeriesEvidence) -> state_pb2.PooledSeries:
    """A series that says much of what is said of a resource."""
    return state_pb2.PooledSeries(
        series=it.series,
        instance=it.instance,
        value=it.value,
        expected=it.expected,
        low=it.low,
        high=it.high,
        bits=it.bits,
        score=it.score,
        expert=it.expert,
        since_ns=it.since_ns,
    )


def series_from(message: state_pb2.PooledSeries) -> SeriesEvidence:
    """What `series_message` was given."""
    return SeriesEvidence(
        series=message.series,
        instance=message.instance,
        value=message.value,
        expected=message.expected,
        low=message.low,
        high=message.high,
        bits=message.bits,
        score=message.score,
        expert=message.expert,
        since_ns=message.since_ns,
    )
