"""How far the streams of a tenant have come: all of them, those of a service, and those of many services' traces."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from uuid import UUID

from driftlock.engine.correlation.flag import Progress
from driftlock.engine.correlation.story import Story

SPARE_ENTRIES = 64


@dataclass(slots=True)
class Behind:
    """Streams that may still say something: how many there are, and how far the slowest of them is."""

    count: int = 0
    watermark_ns: int = 0

    def add(self, watermark_ns: int) -> None:
        """One more stream."""
        self.watermark_ns = min(self.watermark_ns, watermark_ns) if self.count else watermark_ns
        self.count += 1


class Streams:
    """The progress of each stream. Moving one costs about the same however many there are."""

    def __init__(self) -> None:
        self.progress: dict[UUID, Progress] = {}
        self._across: set[UUID] = set()
        self._of_service: dict[str, set[UUID]] = {}
        self._slowest: list[tuple[int, UUID]] = []
        """A heap of watermarks; an entry that is not the stream's watermark any more is void."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.progress)

    def put(self, stream_id: UUID, progress: Progress) -> None:
        """A stream has come so far."""
        known = self.progress.get(stream_id)
        if known is None or known.stream != progress.stream:
            if known is not None:
                self._unlist(stream_id, known)
            if progress.across:
                self._across.add(stream_id)
            else:
                self._of_service.setdefault(progress.service, set()).add(stream_id)
        self.progress[stream_id] = progress
        if known is None or known.watermark_ns != progress.watermark_ns:
            heappush(self._slowest, (progress.watermark_ns, stream_id))
            if len(self._slowest) > 2 * len(self.progress) + SPARE_ENTRIES:
                self._slowest = [(it.watermark_ns, known_id) for known_id, it in self.progress.items()]
                heapify(self._slowest)

    def remove(self, stream_id: UUID) -> None:
        """A stream is waited for no more."""
        self._unlist(stream_id, self.progress.pop(stream_id))

    def _unlist(self, stream_id: UUID, progress: Progress) -> None:
        if progress.across:
            self._across.remove(stream_id)
            return
        self._of_service[progress.service].remove(stream_id)
        if not self._of_service[progress.service]:
            del self._of_service[progress.service]

    @property
    def watermark_ns(self) -> int:
        """How far the slowest one has come, 0 when there is none."""
        while self._slowest:
            watermark_ns, stream_id = self._slowest[0]
            known = self.progress.get(stream_id)
            if known is not None and known.watermark_ns == watermark_ns:
                return watermark_ns
            heappop(self._slowest)
        return 0

    def behind(self, story: Story) -> Behind | None:
        """Those whose flags may join a story by the time; None when there is none but its only stream.

        Where it knows traces these are all: lines of any service may name one of them.
        """
        known = Behind()
        if story.exemplars:
            known = Behind(len(self), self.watermark_ns)
        else:
            services = (self._of_service.get(service, ()) for service, _ in story.suspicion)
            for stream_ids in (self._across, *services):
                for stream_id in stream_ids:
                    known.add(self.progress[stream_id].watermark_ns)
        return known if known.count > 1 or self._across else None
