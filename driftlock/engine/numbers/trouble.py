"""Whether too many of the newest points of a stream say nothing, as when several senders share a series."""

from dataclasses import dataclass

BLOCK = 500
"""After so many points all counts are halved, so that about the newest thousand count."""

SHARE_MAX = 0.1
"""Up to this share is usual: a retry, a restart, a number that can not be computed."""


@dataclass(slots=True)
class Trouble:
    """Counts of the newest points: all, those that came twice or late or restarted their counter, those that are no number.

    Senders that share a series look like the second.
    """

    points: int = 0
    shared: int = 0
    not_finite: int = 0

    def room(self, first_event: int) -> int:
        """So many points from this one of the stream on may be counted at once."""
        return BLOCK - first_event % BLOCK

    def count(self, first_event: int, points: int, shared: int, not_finite: int) -> None:
        """Count points of the stream from `first_event` on, at most `room`."""
        if first_event % BLOCK == 0:
            self.points, self.shared, self.not_finite = self.points // 2, self.shared // 2, self.not_finite // 2
        self.points += points
        self.shared += shared
        self.not_finite += not_finite

    @property
    def reason(self) -> str:
        """What is wrong, in one sentence; "" = nothing, or too few points have come."""
        mute = self.shared + self.not_finite
        if self.points < BLOCK or mute <= SHARE_MAX * self.points:
            return ""
        percent = f"{100 * mute / self.points:.1f} % of the newest points"
        if self.not_finite > self.shared:
            return f"{percent} say nothing, most of them because their value is no finite number: look at what computes it"
        return (
            f"{percent} came twice, late or restarted their counter: do several senders share a series? "
            "Give each a service.instance.id"
        )
