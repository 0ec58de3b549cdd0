"""How many events a stream needs before its p-values can speak, and whether they hold what they promise."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from cbad_cy.mix import BLOCKS_MIN as PATTERN_BLOCKS_MIN
from cbad_cy.mix import FURTHER, HORIZON_MAX
from cbad_cy.rank import BLOCKS_MIN
from cbad_cy.slide import SHARES
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile


def reference_sizes(profile: Profile, limits: Limits) -> tuple[int, int, int]:
    """(windows kept, windows of a block, newest windows left out) of the past that a window is ranked in.

    A window is never compared with one that shares its events, and a block never covers less than a window does: where
    windows overlap more than `block_windows` deep, blocks and lag grow with the overlap, and so does what is kept.
    """
    overlap = -(-profile.window_size // profile.hop_size)
    block = max(limits.block_windows, overlap)
    return limits.reference_windows_max // limits.block_windows * block, block, max(limits.lag_windows, overlap)


def events_until_first_alarm(profile: Profile, limits: Limits) -> int:
    """Events a stream must have before this profile can alarm at all.

    Whether a window is new: a p-value is at least the rank's 1/(windows + 1), twice that for two statistics, by the question's
    share of the false-alarm rate; and it is 1 before there are enough blocks. What `cbad_cy.mix` asks has blocks of its own,
    and a p-value of at least a `FURTHER`-th of their rank's.

    >>> from driftlock.engine.profile import PROFILES
    >>> events_until_first_alarm(PROFILES["balanced"], Limits())
    1500
    """
    _, block, lag = reference_sizes(profile, limits)
    windows = BLOCKS_MIN * block
    while 2 / (windows + 1) / SHARES["novelty"] > profile.p_value_threshold:
        windows += 1
    blocks = PATTERN_BLOCKS_MIN
    while 1 / (FURTHER * (blocks + 1)) / SHARES["pattern"] > profile.p_value_threshold:
        blocks += 1
    first = profile.baseline_size + profile.window_size
    horizon = min(HORIZON_WINDOWS * profile.window_size, HORIZON_MAX)
    return max(first, min(first + (windows + lag) * profile.hop_size, (2 + blocks) * horizon))


def events_until_calibrated(profile: Profile, limits: Limits) -> int:
    """Events after which verdicts are no longer provisional."""
    return max(limits.calibrated_events_min, events_until_first_alarm(profile, limits))


HORIZON_WINDOWS = 10
"""Of the longest horizon of `cbad_cy.mix`."""

WATCHED_WINDOWS = 1000
"""So many of the newest windows say whether alarms are as rare as promised."""


class CalibrationWatch:
    """Whether windows are flagged as rarely as the profile promises.

    By their construction as ranks p-values are small no more often than promised while a stream behaves as it did. More
    flagged windows than that among the last `WATCHED_WINDOWS` mean that it does not: its p-values then say that it
    changes, and no longer how rarely.
    """

    def __init__(self) -> None:
        self.flagged: deque[int] = deque()
        self.told = False
        self.degraded = False

    def flag(self, window: int, p_value_threshold: float, *, promised: bool) -> bool:
        """Note a flagged window; True when with it there are too many. Nothing is too many before anything is `promised`."""
        self._forget(window)
        self.flagged.append(window)
        began = promised and not self.degraded and self._too_many(p_value_threshold)
        self.degraded = self.degraded or began
        return began

    def recovers_at(self, p_value_threshold: float) -> int | None:
        """The number of the window with which few enough are left, if no other is flagged; None while all is well."""
        if not self.degraded:
            return None
        surplus = len(self.flagged) - int(p_value_threshold * WATCHED_WINDOWS)
        return self.flagged[max(0, surplus - 1)] + WATCHED_WINDOWS

    def look(self, window: int, p_value_threshold: float) -> bool:
        """True when the p-values can be trusted again with this window."""
        self._forget(window)
        recovered = self.degraded and not self._too_many(p_value_threshold)
        self.degraded = self.degraded and not recovered
        return recovered

    @property
    def share(self) -> float:
        """Share of flagged windows among the last ones."""
        return len(self.flagged) / WATCHED_WINDOWS

    def _forget(self, window: int) -> None:
        while self.flagged and self.flagged[0] <= window - WATCHED_WINDOWS:
            self.flagged.popleft()

    def _too_many(self, p_value_threshold: float) -> bool:
        return len(self.flagged) > p_value_threshold * WATCHED_WINDOWS

    def restore(self, flagged: Iterable[int], *, told: bool, degraded: bool) -> None:
        """Continue from what was stored."""
        self.flagged, self.told, self.degraded = deque(flagged), told, degraded


@dataclass(slots=True)
class Episode:
    """What was usual when windows began to be flagged: it is over when none was for a baseline's time.

    `known` are the templates of the baseline before `first_event`, `last_window` the newest flagged window.
    """

    first_event: int
    last_window: int
    known: frozenset[int]

    def settles_at(self, profile: Profile) -> int:
        """The number of the window with which a whole baseline has passed unflagged."""
        return self.last_window + -(-(profile.baseline_size + profile.window_size) // profile.hop_size)
