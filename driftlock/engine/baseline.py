"""What happens to a stream's baseline: when verdicts become calibrated, when they stop holding, and when a new normal began."""

from array import array

from cbad_cy.codelength import template
from cbad_cy.slide import NEVER, Slide, Window
from driftlock.engine.calibration import CalibrationWatch, Episode, events_until_calibrated
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.verdict import Calibration, StreamEvent, StreamEventKind

REBASELINED_SHARE = 0.05
"""From this share of a baseline on, lines that were new when windows were flagged are a new normal."""


class Baseline:
    """How far the verdicts of one stream can be trusted, and what it tells of that. `slide` is the stream's own."""

    def __init__(self, slide: Slide, profile: Profile, limits: Limits) -> None:
        self.slide = slide
        self.profile = profile
        self.limits = limits
        self.origin = 0  # events before the present window geometry and codec took hold
        self.watch = CalibrationWatch()
        self.episode: Episode | None = None
        self.happened: list[StreamEvent] = []  # since somebody took them

    def restart(self, slide: Slide, profile: Profile) -> None:
        """Calibration begins anew, with an empty `slide`; what happened stays told."""
        self.origin += self.slide.lines
        self.slide, self.profile = slide, profile
        self.watch, self.episode = CalibrationWatch(), None

    @property
    def events(self) -> int:
        """Events folded."""
        return self.origin + self.slide.lines

    @property
    def calibration(self) -> Calibration:
        """How far this stream's p-values may be trusted by now."""
        if self.slide.lines < self.profile.baseline_size + self.profile.window_size:
            return Calibration.CALIBRATING
        if self.events_until_ready:
            return Calibration.PROVISIONAL
        return Calibration.DEGRADED if self.watch.degraded else Calibration.OK

    @property
    def calibration_reason(self) -> str:
        """Why, in one plain sentence."""
        promised = f"{100 * self.profile.p_value_threshold:g} %"
        match self.calibration:
            case Calibration.CALIBRATING:
                return "the baseline is filling: no window has been judged yet"
            case Calibration.PROVISIONAL:
                return f"{self.events_until_ready} more events until at most {promised} of normal windows are flagged"
            case Calibration.DEGRADED:
                share = f"{100 * self.watch.share:.1f} %"
                return f"{share} of the last windows were flagged, {promised} of normal ones would be: the stream is changing"
            case _:
                return f"at most {promised} of normal windows are flagged"

    @property
    def events_until_ready(self) -> int:
        """Events until verdicts are calibrated; 0 when they are."""
        return max(0, events_until_calibrated(self.profile, self.limits) - self.slide.lines)

    def tell_restart(self, time_ns: int) -> None:
        """Say that the first events after a restart of the calibration are coming."""
        reason = "it learns anew: another profile, or another version of its codec, gives other numbers"
        self._tell(StreamEventKind.RESTARTED, self.events, self.slide.windows, time_ns, reason)

    def ready(self, times_ns: "array[int]", before: int, after: int) -> None:
        """Say once when verdicts are no longer provisional, with the very record that makes them so.

        The records `before`..`after` - 1 of those that stand at `times_ns` have just been taken.
        """
        if self.watch.told or self.events_until_ready or before == after:
            return
        self.watch.told = True
        surplus = self.slide.lines - events_until_calibrated(self.profile, self.limits)
        record = max(after - 1 - surplus, before)
        lines = self.slide.lines - (after - 1 - record)
        self._tell(
            StreamEventKind.CALIBRATED,
            self.events - after + record,
            self.slide.windows - (self._windows_within(self.slide.lines) - self._windows_within(lines)),
            times_ns[record],
            self.calibration_reason,
        )

    def _windows_within(self, lines: int) -> int:
        """So many windows end within the first `lines` since the present geometry took hold."""
        profile = self.profile
        return max(0, (lines - profile.baseline_size - profile.window_size) // profile.hop_size + 1)

    def look_at(self) -> int:
        """The number of the next window that decides about the baseline, flagged or not."""
        due = [] if self.episode is None else [self.episode.settles_at(self.profile)]
        recovers = self.watch.recovers_at(self.profile.p_value_threshold)
        due += [] if recovers is None else [recovers]
        return max(min(due), self.slide.windows) if due else NEVER

    def flagged(self, window: Window, time_ns: int) -> None:
        """The newest window is flagged; it ends at `time_ns`."""
        if self.episode is None:
            known = frozenset(template(form) for form, count in self.slide.pool.distinct() if count)
            self.episode = Episode(self.events - self.profile.window_size, window.number, known)
        self.episode.last_window = window.number
        if self.watch.flag(window.number, self.profile.p_value_threshold, promised=not self.events_until_ready):
            self._tell(StreamEventKind.DEGRADED, self.events - 1, self.slide.windows, time_ns, self.calibration_reason)

    def looked(self, window: Window, time_ns: int) -> None:
        """The newest window has been judged: what does it decide? Call it before `flagged`."""
        if window.flagged:
            return
        if self.watch.look(window.number, self.profile.p_value_threshold):
            self._tell(StreamEventKind.RECOVERED, self.events - 1, self.slide.windows, time_ns, self.calibration_reason)
        episode = self.episode
        if episode is None or window.number < episode.settles_at(self.profile):
            return
        self.episode = None
        forms = [(form, count) for form, count in self.slide.pool.distinct() if count]
        fresh = [(count, form) for form, count in forms if template(form) not in episode.known]
        lines, new = sum(count for _, count in forms), sum(count for count, _ in fresh)
        if new >= REBASELINED_SHARE * lines:
            top = max(fresh)[1].decode("utf-8", "replace")
            reason = f"{new} of {lines} usual lines were unknown before event {episode.first_event}, most often `{top}`"
            self._tell(StreamEventKind.REBASELINED, self.events - 1, self.slide.windows, time_ns, reason)

    def _tell(self, kind: StreamEventKind, event: int, windows: int, time_ns: int, reason: str) -> None:
        self.happened.append(StreamEvent(kind, event, windows, time_ns, reason))

    def take_events(self) -> tuple[StreamEvent, ...]:
        """What happened since the last call."""
        happened, self.happened = tuple(self.happened), []
        return happened
