"""One plain sentence about numbers. What it says of the past is true, or it is not said."""

from collections.abc import Sequence
from types import MappingProxyType

from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.explanation.sentence import quoted
from driftlock.engine.numbers.wording import Shown, beside, moment, number, span

EXPERT_WORDS = MappingProxyType(
    {
        "last": "after its last value",
        "fast": "by its newest values",
        "level": "by its level",
        "slow": "in the long run",
        "trend": "by its trend",
        "day": "at this time of day",
        "week": "at this hour of the week",
        "day_change": "by how it changes at this time of day",
        "momentum": "by its last step",
        "range": "among all its values",
    }
)
"""Which way of predicting a range comes from, by the name of the expert of `cbad_cy.series`."""

TOGETHER_NAMED_MAX = 3

SHAPE = " shape"
"""How the name of a series ends that says by how much the distribution of another one has changed."""


def value_sentence(it: SeriesEvidence, *, points: int, end_ns: int, record: bool = False) -> str:
    """A number that was not expected. `points` of the series were seen by then, `end_ns` is the time of this one.

    `record`: it lies beyond all of them.
    """
    shown, since = _beside(it), _since(it, end_ns, "at")
    words = "" if it.expert == "range" else _expert(it)
    if it.low <= it.value <= it.high:
        if shown.value == shown.expected:
            return f"{_named(it)} is {shown.value}, very near to what was expected{words} ({since})."
        return f"{_named(it)} is {shown.value}, expected was {shown.expected}{words} ({since})."
    extreme = f": the {'highest' if it.value > it.high else 'lowest'} of {points:,} points" if record else ""
    usual = _hair(it, shown, "what is usual") or _usually(shown)
    return f"{_named(it)} is {shown.value}, {usual}{_expert(it)} ({since}){extreme}."


def shape_sentence(it: SeriesEvidence, *, end_ns: int, record: bool = False) -> str:
    """How histograms of a series, whose name is that of `it` without `SHAPE`, are distributed; its numbers are bits of change.

    `record`: no change was as large.
    """
    shown, since = _beside(it), _since(it, end_ns, "at")
    named, bits = _whose(quoted(it.series.removesuffix(SHAPE)), it.instance), f"{shown.value} bits of change"
    if it.low <= it.value <= it.high:
        return f"{named} is distributed otherwise than expected: {bits}, expected was {shown.expected} ({since})."
    if it.value < it.low:
        return f"{named} changes its distribution less than usual: {bits}, {_usually(shown)} ({since})."
    how = "as never before" if record else "otherwise than usual"
    return f"{named} is distributed {how}: {bits}, {_usually(shown)} ({since})."


def shift_sentence(it: SeriesEvidence, *, end_ns: int) -> str:
    """Many numbers in a row are away from what the long past expects, each perhaps near the one before."""
    value = number(it.value)
    return f"{_named(it)} stays away from what its long past expects ({_since(it, end_ns, 'by')}): it is {value} now."


def point_sentence(it: SeriesEvidence, *, end_ns: int) -> str:
    """A single number that is far from what the long past expects, beside the points next to it or not."""
    shown, since = _beside(it), _since(it, end_ns, "at")
    if hair := _hair(it, shown, "what its long past expects"):
        return f"{_named(it)} is {shown.value}, {hair} ({since})."
    usual = shown.expected if it.low <= it.value <= it.high else _range(shown)
    return f"{_named(it)} is {shown.value}, where its long past expects {usual} ({since})."


def pattern_sentence(it: SeriesEvidence, *, points: int, end_ns: int) -> str:
    """The newest numbers together are unlike any stretch of the `points` before."""
    shown = _beside(it)
    since = f" (since {moment(it.since_ns, end_ns)})" if it.since_ns < end_ns else ""
    return (
        f"{_named(it)} moves as in no stretch of the {points:,} points before{since}: "
        f"it is {shown.value} at {moment(end_ns, end_ns)}, {_usually(shown)}{_expert(it)}."
    )


def flatline_sentence(it: SeriesEvidence, *, points: int, end_ns: int) -> str:
    """A number that stands still for longer than it ever did."""
    lasted = span(max(0, end_ns - it.since_ns))
    return (
        f"{_named(it)} has stood still at {number(it.value)} for {lasted} (since {moment(it.since_ns, end_ns)}), "
        f"longer than ever in {points:,} points."
    )


def missing_sentence(series: str, instance: str, *, last_ns: int, step_ns: int, now_ns: int) -> str:
    """A series without points since `last_ns`, which usually has one every `step_ns`."""
    return (
        f"{_whose(quoted(series), instance)} has not come for {span(now_ns - last_ns)} (since {moment(last_ns, now_ns)}); "
        f"it usually comes every {span(step_ns)}."
    )


def resource_missing_sentence(instance: str, *, missing: int, series: int, example: str, last_ns: int, now_ns: int) -> str:
    """Most of the series of an instance ("" = of the senders that are not known by name) have had no points since `last_ns`."""
    whose, since = f" of {instance}" if instance else "", moment(last_ns, now_ns)
    return (
        f"{missing:,} of {series:,} series{whose} have not come for {span(now_ns - last_ns)} (since {since}), "
        f"among them {quoted(example)}."
    )


def rate_sentence(service: str, it: SeriesEvidence, *, minutes: int, end_ns: int, record: bool = False) -> str:
    """So many events in the minute that began at `end_ns` as the `minutes` before do not explain.

    `it.value` counts the events of a minute, `record` says that no minute had more (or fewer).
    """
    shown = _beside(it)
    if it.low <= it.value <= it.high:
        return (
            f"{service} had an unusual number of events a minute ({_since(it, end_ns, 'in the minute from')}): "
            f"{shown.value}, {_usually(shown)}{_expert(it)}."
        )
    extreme = f": the {'most' if it.value > it.high else 'fewest'} of {minutes:,} minutes" if record else ""
    since = _since(it, end_ns, "in the minute from")
    return f"{service} had {shown.value} events a minute, {_usually(shown)}{_expert(it)} ({since}){extreme}."


def line_silence_sentence(line: str, *, last_ns: int, now_ns: int, step_ns: int, longest_ns: int, gaps: int) -> str:
    """A usual line that has not come since `last_ns`; `line` is quoted already, as `explanation.sentence` does.

    `longest_ns` was the longest of its `gaps` until then.
    """
    return (
        f"{line} has not come for {span(now_ns - last_ns)}; it usually comes every {span(step_ns)} "
        f"(longest gap in {gaps:,}: {span(longest_ns)})."
    )


def silence_sentence(service: str, *, last_ns: int, now_ns: int, expected: float) -> str:
    """A stream from which nothing has come since `last_ns`, when so many events were to be expected."""
    return (
        f"Nothing has come from {service} for {span(now_ns - last_ns)} (since {moment(last_ns, now_ns)}); "
        f"about {number(expected, 2)} {'event was' if number(expected, 2) == '1' else 'events were'} to be expected."
    )


def together_sentence(resource: str, strongest: Sequence[SeriesEvidence], *, odd: int, series: int, alone: bool) -> str:
    """`odd` of the `series` of a resource ("" = of the tenant) are unusual at once; `alone`: one of them alarms by itself."""
    whose = f" of {resource}" if resource else ""
    none = "" if alone else ", none by itself enough"
    named = [_brief(it, resource) for it in strongest[:TOGETHER_NAMED_MAX]]
    further = odd - len(named)
    more = f" and {further:,} more" if further > 0 else ""
    return f"{odd:,} of {series:,} series{whose} are unusual at once{none}: {', '.join(named)}{more}."


def _brief(it: SeriesEvidence, resource: str) -> str:
    shown = _beside(it)
    name = quoted(it.series) if it.instance == resource else _named(it)
    return f"{name} {shown.value} ({_usually(shown)})"


def _named(it: SeriesEvidence) -> str:
    return _whose(quoted(it.series), it.instance)


def _whose(name: str, instance: str) -> str:
    return f"{name} of {instance}" if instance else name


def _beside(it: SeriesEvidence) -> Shown:
    return beside(it.value, it.low, it.high, it.expected)


def _range(shown: Shown) -> str:
    return shown.low if shown.low == shown.high else f"{shown.low} to {shown.high}"


def _usually(shown: Shown) -> str:
    return f"usually {_range(shown)}"


def _hair(it: SeriesEvidence, shown: Shown, what: str) -> str:
    """By how little a number is outside of `what`, where it looks like the end of the range that it is beyond; else "".

    >>> it = SeriesEvidence("x", 5.0000002, 5.0, 5.0, 5.0, 30.0, 0.6, "slow", 0)
    >>> _hair(it, beside(it.value, it.low, it.high, it.expected), "what is usual")
    '2e-07 above what is usual'
    """
    if it.value > it.high and shown.value == shown.high:
        return f"{number(it.value - it.high, 2)} above {what}"
    if it.value < it.low and shown.value == shown.low:
        return f"{number(it.low - it.value, 2)} below {what}"
    return ""


def _expert(it: SeriesEvidence) -> str:
    words = EXPERT_WORDS.get(it.expert, "")
    return f" {words}" if words else ""


def _since(it: SeriesEvidence, end_ns: int, when: str) -> str:
    """When it began; `when` it is, if it has only just begun."""
    return f"since {moment(it.since_ns, end_ns)}" if it.since_ns < end_ns else f"{when} {moment(end_ns, end_ns)}"
