"""What the series of each resource said in a minute, for the tenant: weak evidence that no series shows alone."""

from array import array
from itertools import islice

from cbad_cy.points import ROLES, Taken, derived_number
from cbad_cy.pooled import Gathered, Gatherer, Strong
from driftlock.engine.event import RecordBatch
from driftlock.engine.evidence import SeriesEvidence
from driftlock.engine.findings import instance_number
from driftlock.engine.fold import SUMMARY_SERIES_MAX, Summary
from driftlock.engine.limits import MINUTE_NS
from driftlock.engine.numbers.columns import derived_name
from driftlock.engine.numbers.directory import Directory

BITS_A_DIGIT = 3.321928094887362
DIGITS_MOST = 3.5
"""The kernel says no more of one series in a minute; then its score is that of a point that just does not alarm."""


def resource_numbers(batch: RecordBatch) -> "array[int]":
    """The number of each record's resource, which is its instance; 0 = unknown."""
    if not batch.instance_index:
        return array("Q", bytes(8 * len(batch)))
    numbers = [0, *map(instance_number, batch.instances)]
    return array("Q", map(numbers.__getitem__, batch.instance_index))


class Summaries:
    """Names for what `cbad_cy.pooled` gathers. They are the directory's, and looked up only when they are asked for.

    Of a series that is forgotten they are looked up before that.
    """

    def __init__(self, gatherer: Gatherer, directory: Directory) -> None:
        self._gatherer = gatherer
        self._directory = directory
        self._raw: dict[int, tuple[int, int]] = {}  # number of a derived series -> number of its raw series, role
        self._named: list[Summary] = []

    def take(self, raw: "array[int]", taken: Taken) -> None:
        """Note of which series, `raw` by record, the numbers are."""
        fresh = set(taken.series).difference(self._raw)
        if fresh:
            for record, role, derived in zip(taken.record, taken.part, taken.series, strict=True):
                if derived in fresh:
                    self._raw[derived] = raw[record], role

    def forget(self, number: int) -> None:
        """A raw series is forgotten."""
        for role in range(len(ROLES)):
            self._raw.pop(derived_number(number, role), None)

    def closed(self, first_minute: int, first_window: int) -> tuple[Summary, ...]:
        """The minutes that are over since the last call. `first_window` is the window of `first_minute`."""
        self.name(first_minute, first_window)
        named, self._named = tuple(self._named), []
        return named

    def name(self, first_minute: int, first_window: int) -> None:
        """Name those minutes while all their series are known."""
        gathered = self._gatherer.closed()
        if not gathered:
            return
        self._recall({strong.series for it in gathered for strong in it.strongest}.difference(self._raw))
        for it in gathered:
            instance = self._directory.instance_named(it.resource)
            if instance is not None:  # else all its series were forgotten long ago
                self._named.append(self._summary(it, instance, first_window + max(0, it.minute - first_minute)))

    def _recall(self, unknown: set[int]) -> None:
        """Find out whose these are: after a restart, those that spoke in the open minute are not known."""
        for number in (*self._directory.entries, *self._directory.departed) if unknown else ():
            for role in range(len(ROLES)):
                derived = derived_number(number, role)
                if derived in unknown:
                    self._raw[derived] = number, role

    def _summary(self, it: Gathered, instance: str, window: int) -> Summary:
        evidence = (self._evidence(strong, it.minute) for strong in it.strongest)
        return Summary(
            minute=it.minute,
            window=window,
            resource=instance,
            points=it.points,
            series=it.series,
            odd=it.odd,
            digits=it.digits,
            strongest=tuple(islice((known for known in evidence if known is not None), SUMMARY_SERIES_MAX)),
        )

    def _evidence(self, strong: Strong, minute: int) -> SeriesEvidence | None:
        number, role = self._raw.get(strong.series, (0, 0))
        named = self._directory.named(number)
        if named is None:
            return None
        instance, name = named
        return SeriesEvidence(
            series=derived_name(name, role),
            value=strong.value,
            expected=strong.expected,
            low=strong.low,
            high=strong.high,
            bits=strong.digits * BITS_A_DIGIT,
            score=strong.digits / (2 * DIGITS_MOST),
            expert="slow",
            since_ns=minute * MINUTE_NS,
            instance=instance,
        )
