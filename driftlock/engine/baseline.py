"""The stream's accepted recent past: the dictionary that windows are coded against, and what was accepted since."""

from collections import deque
from collections.abc import Sequence

from cbad_cy.codec import Codec, Prepared

SEPARATOR = b"\n"


class Baseline:
    """The newest `lines_max` accepted lines, prepared as a dictionary at deterministic epochs.

    Preparing costs as much as scoring a hundred events, so it happens once per `lines_max / 4` accepted events and never
    per window. Between epochs windows are coded against the same bytes whatever the batch sizes were. Texts are bounded
    by `bytes_max` in the dictionary, and by half as much in the lines accepted since; older lines make room.
    """

    def __init__(self, lines_max: int, bytes_max: int) -> None:
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self.epoch_events = max(1, lines_max // 4)
        self.dictionary: list[bytes] = []
        self.accepted: deque[bytes] = deque()
        self.accepted_events = 0
        self._accepted_bytes = 0
        self._prepared: Prepared | None = None

    def restore(self, dictionary: Sequence[bytes], accepted: Sequence[bytes], accepted_events: int) -> None:
        """Put back what `dictionary`, `accepted` and `accepted_events` held."""
        self.dictionary, self.accepted, self.accepted_events = list(dictionary), deque(accepted), accepted_events
        self._accepted_bytes = sum(map(len, self.accepted)) + len(self.accepted)
        self._prepared = None

    def accept(self, lines: Sequence[bytes]) -> None:
        """Take masked lines into the past; they count from the next epoch on."""
        self.accepted.extend(lines)
        self.accepted_events += len(lines)
        self._accepted_bytes += sum(map(len, lines)) + len(lines)
        room = self._bytes_max // 2 if self.dictionary else self._bytes_max
        while self._accepted_bytes > room and len(self.accepted) > 1:
            self._accepted_bytes -= len(self.accepted.popleft()) + 1

    def events_until_epoch(self) -> int:
        """How many more accepted events end the epoch (at least 0)."""
        return max(0, self.epoch_events - self.accepted_events)

    def turn_epoch(self) -> None:
        """Make the newest accepted lines the dictionary."""
        lines = self.dictionary + list(self.accepted)
        kept: list[bytes] = []
        room = self._bytes_max
        for line in reversed(lines[-self._lines_max :]):
            room -= len(line) + 1
            if room < 0 and kept:
                break
            kept.append(line)
        kept.reverse()
        self.restore(kept, (), 0)

    def text(self) -> bytes:
        """The dictionary as the codec sees it."""
        return SEPARATOR.join(self.dictionary)

    def prepared(self, codec: Codec) -> Prepared:
        """The dictionary, prepared once an epoch."""
        if self._prepared is None:
            self._prepared = codec.prepare(self.text())
        return self._prepared
