"""Eras: from which position of the journal on other versions judge, and what that means for a fold.

What is learned with one version of a codec can not be compared with what another one says, so a fold that is touched learns
anew. Where it does so is written in the journal, once for all folds: rows up to `Era.since_seq` were judged and committed by
the versions before, and every row after it is judged by the new ones, however often and from wherever it is read again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cbad_cy.codec import CODECS
from driftlock.engine.event import TRACES_SERVICE, Signal
from driftlock.engine.fold import StreamFold
from driftlock.engine.numbers.finding import CODEC as NUMBERS
from driftlock.engine.numbers.finding import CODEC_VERSION as NUMBERS_VERSION
from driftlock.engine.traces.finding import CODEC as TRACES
from driftlock.engine.traces.finding import CODEC_VERSION as TRACES_VERSION

ALGORITHM_VERSION = 1
"""Raise it with every change after which the same records may give other findings: all streams begin a new era then."""

ALGORITHM = "algorithm"


def versions() -> dict[str, str]:
    """What can change a verdict, by name: the algorithm, the codecs of lines, and the codes of numbers and of traces.

    >>> versions()["algorithm"]
    '1'
    """
    codecs = {name: row.version for name, row in CODECS.items()}
    return codecs | {ALGORITHM: str(ALGORITHM_VERSION), NUMBERS: NUMBERS_VERSION, TRACES: TRACES_VERSION}


@dataclass(frozen=True, slots=True)
class Change:
    """A part that can change verdicts has another version; "" = there was none, or there is none any more."""

    name: str
    old: str
    new: str

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.name} {self.old or 'none'} -> {self.new or 'none'}"


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """What differs, by name.

    >>> changes({"zstd": "1.5.4"}, {"zstd": "1.5.7"})
    (Change(name='zstd', old='1.5.4', new='1.5.7'),)
    """
    names = sorted(old.keys() | new.keys())
    return tuple(Change(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name))


@dataclass(frozen=True, slots=True)
class Era:
    """What an era record says: `changes` judge the rows after `since_seq`.

    `database` says why the database is not the one that it was ("" = it is): that alone changes no verdict.
    """

    since_seq: int
    changes: tuple[Change, ...] = ()
    database: str = ""

    def touches(self, fold: StreamFold) -> bool:
        """Whether what `fold` has learned can not be compared with what it learns from here on."""
        mine = (ALGORITHM, _code_of(fold))
        return any(change.name in mine for change in self.changes)

    def reason(self, fold: StreamFold) -> str:
        """What a stream tells of it."""
        mine = (ALGORITHM, _code_of(fold))
        what = ", ".join(change.text for change in self.changes if change.name in mine)
        return f"a new era since journal position {self.since_seq}: {what}; it learns anew"


class Eras:
    """All eras that a journal has begun, so that a fold which comes back after years passes each of them once."""

    def __init__(self, eras: Iterable[Era] = ()) -> None:
        self._eras = sorted((era for era in eras if era.changes), key=lambda era: era.since_seq)
        self._newest = self._eras[-1].since_seq if self._eras else -1

    def knows(self, era: Era) -> bool:
        """Whether it is one of them, or one that changes nothing."""
        return not era.changes or era in self._eras

    def passed(self, after_seq: int, seq: int, fold: StreamFold) -> list[Era]:
        """Those that a fold which has taken the row `after_seq` enters before it takes the row `seq`."""
        if after_seq > self._newest or not fold.events:  # who has seen nothing has nothing to unlearn
            return []
        return [era for era in self._eras if after_seq <= era.since_seq < seq and era.touches(fold)]

    def judged_until(self, fold: StreamFold) -> int:
        """Rows up to here were judged by versions that are no more: `fold` may count them, and says nothing of them."""
        return max((era.since_seq for era in self._eras if era.touches(fold)), default=0)


def _code_of(fold: StreamFold) -> str:
    if fold.key.signal is Signal.METRICS:
        return NUMBERS
    if fold.key.signal is Signal.TRACES and fold.key.service == TRACES_SERVICE:
        return TRACES
    return fold.profile.codec
