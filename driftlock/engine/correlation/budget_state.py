"""The alert budget of a tenant as messages of its checkpoint, and back."""

from collections.abc import Iterable
from uuid import UUID

from driftlock.engine.correlation.budget import Budget, Ledger, Peak, Span, Strength
from driftlock.engine.limits import Limits
from driftlock.v1 import state_pb2


def budget_message(budget: Budget) -> state_pb2.AlertBudget:
    """All that a budget remembers; equal budgets give equal messages."""
    return state_pb2.AlertBudget(
        alerts_per_day_max=budget.alerts_per_day_max,
        tenant=_ledger_message(b"", budget.tenant),
        stream=[_ledger_message(stream_id.bytes, ledger) for stream_id, ledger in budget.streams.items()],
        given_up=_span_messages(budget.given_up),
    )


def budget_from(message: state_pb2.AlertBudget, limits: Limits) -> Budget:
    """The budget that `budget_message` was given."""
    budget = Budget(limits)
    budget.alerts_per_day_max = message.alerts_per_day_max
    ledgers = {UUID(bytes=ledger.stream_id): _ledger_from(ledger) for ledger in message.stream}
    budget.restore(ledgers, _ledger_from(message.tenant), _spans_from(message.given_up))
    return budget


def strength_message(strength: Strength) -> state_pb2.Evidence:
    """How strong an incident is."""
    return state_pb2.Evidence(surprise=strength.surprise, p_value=-strength.rarity, ncd=strength.distance)


def strength_from(message: state_pb2.Evidence) -> Strength:
    """The strength that `strength_message` was given."""
    return Strength(message.surprise, -message.p_value, message.ncd)


def _ledger_message(stream_id: bytes, ledger: Ledger) -> state_pb2.AlertLedger:
    return state_pb2.AlertLedger(
        stream_id=stream_id,
        alert_ns=ledger.alerts,
        forgotten=_span_messages(ledger.forgotten),
        peak=[
            state_pb2.AlertPeak(
                time_ns=peak.time_ns, strength=strength_message(peak.strength), incident_id=peak.incident_id.bytes
            )
            for peak in ledger.peaks
        ],
    )


def _ledger_from(message: state_pb2.AlertLedger) -> Ledger:
    peaks = [Peak(peak.time_ns, strength_from(peak.strength), UUID(bytes=peak.incident_id)) for peak in message.peak]
    return Ledger(list(message.alert_ns), _spans_from(message.forgotten), peaks)


def _span_messages(spans: Iterable[Span]) -> list[state_pb2.AlertSpan]:
    return [state_pb2.AlertSpan(first_ns=first, last_ns=last) for first, last in spans]


def _spans_from(messages: Iterable[state_pb2.AlertSpan]) -> list[Span]:
    return [(message.first_ns, message.last_ns) for message in messages]
