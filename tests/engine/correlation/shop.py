"""A small shop: streams of a few services, the flags that they raise, and what a tenant's fold makes of them."""

from uuid import UUID

from driftlock.engine.correlation.correlator import Correlator, Flag, Progress
from driftlock.engine.detector import finding_id
from driftlock.engine.evidence import Suspect
from driftlock.engine.limits import Limits
from driftlock.engine.ports import IncidentRow
from driftlock.engine.verdict import IncidentState, Question, content_id
from tests.engine.streams import BASE_NS, SECOND_NS

TENANT = UUID(int=1)
LOGS, METRICS, TRACES, STRANGER, PAY, MAIL, SPANS = (UUID(int=number) for number in range(2, 9))
CART_SERVICE, PAY_SERVICE, MAIL_SERVICE = "shop/cart@prod", "shop/pay@prod", "shop/mail@prod"
TEXTS = {
    LOGS: "logs:shop/cart@prod",
    METRICS: "metrics:shop/cart@prod",
    TRACES: "traces:shop/cart@prod",
    STRANGER: "logs:shop/cart",
    PAY: "logs:shop/pay@prod",
    MAIL: "logs:shop/mail@prod",
    SPANS: "traces:_traces@prod",
}
"""Three streams of one service, one of no environment, two of other services, and the traces of all."""
WINDOW_NS = dict.fromkeys(TEXTS, 10 * SECOND_NS) | {
    METRICS: 60 * SECOND_NS,
    TRACES: 7 * SECOND_NS,
    SPANS: 60 * SECOND_NS,
}
MINUTE_NS = 60 * SECOND_NS
SOME_DAY_NS = 2**63
START_NS = BASE_NS - BASE_NS % MINUTE_NS


def flag(stream: UUID, seconds: int, *, surprise: float = 1.0, traces: tuple[str, ...] = ()) -> Flag:
    """A window of lines or numbers that ends so many seconds after the start."""
    end_ns = START_NS + seconds * SECOND_NS
    window = seconds * SECOND_NS // WINDOW_NS[stream]
    text = TEXTS[stream]
    return Flag(
        stream_id=stream,
        stream=text,
        seq=1,
        window=window,
        start_ns=end_ns - WINDOW_NS[stream],
        end_ns=end_ns,
        ncd=0.5,
        p_value=0.01,
        finding_id=finding_id(stream, window),
        title=f"{text} {seconds}",
        surprise=surprise,
        question=Question.NOVELTY.value,
        service=text.partition(":")[2],
        trace_ids=traces,
    )


def blame(seconds: int, *services: str, bits: float = 40.0, traces: tuple[str, ...] = ()) -> Flag:
    """A finding about traces: of `services`, each has half of the bits of the one before."""
    end_ns = START_NS + seconds * SECOND_NS
    weights = [0.5**number for number in range(len(services))]
    name = ",".join(services)
    return Flag(
        stream_id=SPANS,
        stream=TEXTS[SPANS],
        seq=1,
        window=seconds // 60,
        start_ns=end_ns - 30 * SECOND_NS,
        end_ns=end_ns,
        ncd=0.6,
        p_value=0.001,
        finding_id=content_id(f"{seconds} {name}".encode()),
        title=f"calls of {name} {seconds}",
        surprise=bits,
        question=Question.LATENCY.value,
        service=services[0],
        suspects=tuple(
            Suspect(service, bits * weight, weight / sum(weights)) for service, weight in zip(services, weights, strict=True)
        ),
        trace_ids=traces,
    )


class Tenant:
    """A correlator and the incidents it has reported so far."""

    def __init__(self) -> None:
        self.fold = Correlator(TENANT, Limits())
        self.rows: dict[UUID, IncidentRow] = {}
        self.joined: dict[UUID, UUID] = {}

    def take(self, rows: list[IncidentRow] | None) -> None:
        assert rows is not None
        for row in rows:
            self.rows[row.incident.incident_id] = row
            self.joined.update(dict.fromkeys(row.joined, row.incident.incident_id))

    def moves(self, stream: UUID, seconds: int, *flags: Flag, due_s: int = 0, historical: bool = False) -> None:
        """The stream has come to `seconds` after the start, and sent then."""
        time_ns = START_NS + seconds * SECOND_NS
        due_ns = START_NS + due_s * SECOND_NS if due_s else 0
        windows = seconds * SECOND_NS // WINDOW_NS[stream] + 1
        self.take(self.fold.derived(stream, Progress(time_ns, windows, time_ns, historical, due_ns, TEXTS[stream]), flags))

    def clock(self, seconds: int) -> None:
        self.take(self.fold.clock(START_NS + seconds * SECOND_NS))

    def restart(self) -> None:
        body = self.fold.to_bytes()
        self.fold = Correlator(TENANT, Limits())
        self.fold.restore(body)
        assert self.fold.to_bytes() == body

    def everybody(self, seconds: int) -> None:
        """All streams have come to so many seconds after the start."""
        for stream in TEXTS:
            self.moves(stream, seconds)

    @property
    def incidents(self) -> list[tuple[tuple[UUID, ...], int, IncidentState]]:
        rows = sorted(self.rows.values(), key=lambda row: (row.incident.start_ns, row.incident.stream_ids))
        return [(row.incident.stream_ids, row.incident.findings, row.incident.state) for row in rows]
