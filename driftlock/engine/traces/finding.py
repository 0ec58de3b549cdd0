"""From an alarm of the kernels, which speaks in numbers, to a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from uuid import UUID

from cbad_cy.calls import CALLS_VERSION
from cbad_cy.judgement import POOL_MADE, Judgement, SeenTrace
from cbad_cy.shapes import ALARM_LEVEL as SHAPES_LEVEL
from cbad_cy.shapes import SHAPES_VERSION
from cbad_cy.traces import TRACES_VERSION
from driftlock.engine.evidence import CallEvidence, Suspect, TraceExample
from driftlock.engine.numbers.finding import rounded
from driftlock.engine.profile import Profile
from driftlock.engine.traces.directory import Directory
from driftlock.engine.traces.graph import service_text
from driftlock.engine.traces.instances import Instances
from driftlock.engine.traces.level import p_value_at
from driftlock.engine.traces.sentence import Told, sentence, short_name
from driftlock.engine.verdict import OF_NO_WINDOW, Calibration, Evidence, Finding, Question, content_id

CODEC = "traces"
CODEC_VERSION = f"{TRACES_VERSION}.{CALLS_VERSION}.{SHAPES_VERSION}"
"""Of the kernels that put traces together and judge them: scores of another version are not comparable."""

SCORE_THRESHOLD = 0.5
"""The score of what just alarms."""

SUSPECTS_MAX = 10
CALLS_MAX = 20
EXAMPLES_MAX = 10
PATH_MAX = 32
SUBTREE_LINES_MAX = 40
"""What a finding shows at most of each."""

PARTS = frozenset({Question.SHAPE, Question.DEPENDENCY})
"""What is asked about parts of traces."""

UNITS: Mapping[str, str] = MappingProxyType(
    {"duration": "s", "self_time": "s", "gap": "s", "errors": "1", "calls": "1", "repeats": "1"}
)
"""The unit of each measure; "1" is a share: of calls that fail, or of traces in which a part is new, missing or repeated."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """What a finding needs to know of its stream and of the moment.

    `window` counts minutes of event time, `event` is the index in the stream of the span with which it was found.
    """

    stream: str
    profile: Profile
    p_value_threshold: float
    seed: int
    window: int
    event: int
    receive_timed: bool
    calibration: Calibration
    calibration_reason: str


class Words:
    """The names of what the kernels know by number."""

    def __init__(self, directory: Directory, instances: Instances, environment: str) -> None:
        self._directory = directory
        self._instances = instances
        self._environment = environment

    def service(self, number: int) -> str:
        """As streams of its own are keyed, without the signal; "" for 0."""
        return service_text(self._directory.services[number], self._environment) if number else ""

    def service_of(self, operation: int) -> int:
        """The number of an operation's service; 0 for 0."""
        return self._directory.service_of[operation]

    def of(self, operation: int) -> str:
        """The service of an operation; "" for 0."""
        return self.service(self.service_of(operation))

    def kind(self, operation: int) -> int:
        """Its kind as in OTLP; 0 for 0."""
        return self._directory.operations[operation].kind

    def operation(self, number: int) -> str:
        """Its name; "" for 0."""
        return self._directory.operations[number].name

    def tells_apart(self, operation: int) -> bool:
        """Whether it is one operation, and not all for which there was no number; also of 0."""
        return self._directory.tells_apart(operation)

    def place(self, operation: int) -> str:
        """Service and operation, as paths and subtrees show them."""
        found = self._directory.operations[operation]
        return f"{self._directory.services[found.service]} {found.name}"

    def instance(self, number: int) -> str:
        """Its name; "" for 0, or where it is forgotten."""
        return self._instances.name(number)


def trace_finding_id(stream_id: UUID, finding: Finding) -> UUID:
    """The id of a finding about calls or traces: as hard to guess as the stream's random id, the same on every replay.

    It is a function of its question, whom it is about, the oddest calls and its end: of one edge there is one alarm a time. Of
    all calls of a service the oddest are those of the operation that shows most.
    """
    of = next((it for it in finding.calls if it.operation), finding.calls[0] if finding.calls else None)
    names = (
        finding.question.value,
        finding.subject,
        *(("", "", "", "") if of is None else (of.caller, of.callee, of.operation, of.measure)),
    )
    about = b"".join(len(raw).to_bytes(4, "little") + raw for raw in (name.encode("utf-8", "replace") for name in names))
    return content_id(stream_id.bytes + b"trace" + about + finding.end_ns.to_bytes(8, "little"))


def trace_finding(it: Judgement, words: Words, context: TraceContext) -> Finding:
    """The finding, its numbers rounded; what findings say of a window of lines is neutral in it."""
    question = Question(it.question)
    calls, suspects = _calls(it, words), _suspects(it, words)
    score, p_value, surprise = rounded(it.score), rounded(_p_value(it)), rounded(it.surprise)
    since_ns = min(it.since_ns, it.time_ns)
    signs = {node[2] for node in it.subtree} - {0}
    told = Told(
        since_ns=since_ns,
        time_ns=it.time_ns,
        roots=tuple(dict.fromkeys(words.operation(seen[4]) for seen in it.examples if seen[4])),
        sign=min(signs) if len(signs) == 1 else 0,
        repeats=max((node[3] for node in it.subtree), default=1),
        kind=words.kind(it.operation),
        caller_kind=words.kind(it.caller),
        pool=it.pool,
        above=words.operation(it.operation),
        suspects=[(short_name(suspect.service), suspect.share) for suspect in suspects],
    )
    return Finding(
        **OF_NO_WINDOW,
        stream=context.stream,
        window=context.window,
        first_event=context.event,
        last_event=context.event,
        start_ns=since_ns,
        end_ns=it.time_ns,
        ncd=score,
        ncd_threshold=SCORE_THRESHOLD,
        ncd_classical=score,
        p_value=p_value,
        p_value_threshold=context.p_value_threshold,
        confidence=rounded(1.0 - p_value),
        profile=context.profile.name,
        calibration=context.calibration,
        codec=CODEC,
        codec_level=0,
        codec_version=CODEC_VERSION,
        seed=context.seed,
        receive_timed=context.receive_timed,
        explanation=sentence(question, calls[0], told),
        lines=(),
        question=question,
        surprise=surprise,
        evidence=(Evidence(question, p_value, score, surprise),),
        subject=suspects[0].service,
        p_without=p_value,
        p_without_others=p_value,
        calibration_reason=context.calibration_reason,
        calls=calls,
        suspects=suspects,
        examples=tuple(_example(seen, words) for seen in it.examples[:EXAMPLES_MAX]),
        subtree=_subtree(it, words),
    )


def _p_value(it: Judgement) -> float:
    """The threshold at which it would just alarm. Of shapes the kernel tells bits, of calls this."""
    return p_value_at(SHAPES_LEVEL, it.surprise) if it.question in PARTS else it.p_value


def _calls(it: Judgement, words: Words) -> tuple[CallEvidence, ...]:
    """What alarmed, then the other odd edges, the oddest first.

    Of all calls of a service, or of an instance: these together, without operation; then the operation that shows most.
    """
    first = _call(it.measure, it.caller, it.operation, it.calls, it.affected, it.value, it.usual, it.surprise, words)
    first = replace(first, instance=words.instance(it.instance))
    if it.pool:
        first = replace(first, caller="", callee=words.of(_pooled(it)), operation="")
    kept = 1 if it.pool else 0
    more = [*it.calls_more[:kept], *sorted(it.calls_more[kept:], key=lambda odd: (-odd[7], *odd[:3]))][: CALLS_MAX - 1]
    return (first, *(_call(*odd, words) for odd in more))


def _pooled(it: Judgement) -> int:
    """An operation of the service of which all calls are meant."""
    return it.caller if it.pool == POOL_MADE and it.caller else it.operation


def _call(
    measure: str,
    caller: int,
    operation: int,
    calls: int,
    affected: int,
    value: float,
    usual: float,
    bits: float,
    words: Words,
) -> CallEvidence:
    return CallEvidence(
        caller=words.of(caller),
        callee=words.of(operation),
        operation=words.operation(operation),
        measure=measure,
        calls=calls,
        affected=affected,
        value=rounded(value),
        usual=rounded(usual),
        unit=UNITS[measure],
        bits=rounded(bits),
    )


def suspected(it: Judgement, words: Words) -> list[tuple[int, float]]:
    """Services by number with the bits against them, the most first; those of equal bits by name.

    Where the kernel names nobody it is the service of the operation. Some service is to blame for what the alarm says: where
    less speaks against the first than the bits of the alarm, all are raised in proportion, so that it has them. What operations
    that are not told apart call says nothing, nor how often they are called: of their parts nobody (0) is suspected.
    """
    if it.question in PARTS and not all(
        map(words.tells_apart, (it.caller, it.operation, *(node[1] for node in it.subtree[:1])))
    ):
        return [(0, it.surprise)]
    found: dict[int, float] = {}
    for service, bits in it.suspects:
        if service and bits > 0:
            found[service] = found.get(service, 0.0) + bits
    if not found:
        return [(words.service_of(it.operation), it.surprise)]
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], words.service(pair[0])))
    raised = max(1.0, it.surprise / ranked[0][1])
    return [(service, bits * raised) for service, bits in ranked]


def _suspects(it: Judgement, words: Words) -> tuple[Suspect, ...]:
    ranked = suspected(it, words)
    total = sum(bits for _, bits in ranked)
    return tuple(
        Suspect(words.service(service), rounded(bits), rounded(bits / total if total else 1.0))
        for service, bits in ranked[:SUSPECTS_MAX]
    )


def _example(seen: SeenTrace, words: Words) -> TraceExample:
    trace_id, start_ns, duration_ns, spans, root, path, error = seen
    return TraceExample(
        trace_id=trace_id.hex(),
        start_ns=start_ns,
        duration_ns=duration_ns,
        spans=spans,
        root=words.place(root) if root else "",
        path=tuple(words.place(number) for number in _ends_of(path)),
        error=bool(error),
    )


def _ends_of(path: Sequence[int]) -> Sequence[int]:
    """A path that is too deep to be shown loses its middle."""
    return path if len(path) <= PATH_MAX else (*path[: PATH_MAX // 2], *path[-PATH_MAX // 2 :])


def _subtree(it: Judgement, words: Words) -> tuple[str, ...]:
    """Its lines; without operations that are not told apart, and what is below them."""
    lines, below = [], SUBTREE_LINES_MAX
    for depth, operation, sign, repeats in it.subtree[:SUBTREE_LINES_MAX]:
        if depth > below:
            continue
        below = SUBTREE_LINES_MAX if words.tells_apart(operation) else depth
        if below == depth:
            continue
        mark = {1: "+ ", -1: "- "}.get(sign, "  ")
        lines.append(f"{mark}{'  ' * depth}{words.place(operation)}{f' x{repeats}' if repeats > 1 else ''}")
    return tuple(lines)
