"""Which streams of a tenant are watched for silence, and whose silence was told."""

from uuid import UUID

from driftlock.engine.correlation.flag import Watch


class Watching:
    """Streams whose silence is worth telling from some time of the clock on. It is told once, until they have records again.

    Those of other shards (`Watch.remote`) are asked there, and only there: here it is known of them whether it was told.
    """

    def __init__(self, watches: dict[UUID, Watch] | None = None) -> None:
        self.watches: dict[UUID, Watch] = {} if watches is None else watches
        self.silent = {stream_id for stream_id, watch in self.watches.items() if watch.told}
        """Streams whose silence was told and lasts."""

    def heard(self, stream_id: UUID, due_ns: int, *, remote: bool = False) -> None:
        """A stream had a row; its silence is worth telling from `due_ns` on (0 = never). Without records nothing changes."""
        watch = self.watches.get(stream_id)
        if watch is not None and watch.due_ns == due_ns:
            return
        self.watches.pop(stream_id, None)
        self.silent.discard(stream_id)
        if due_ns:
            self.watches[stream_id] = Watch(due_ns, remote=remote)

    def accepts(self, stream_id: UUID) -> bool:
        """Whether a stream is to be called silent now; False when that was told, or when nobody waits for it."""
        watch = self.watches.get(stream_id)
        if watch is None or watch.told:
            return False
        watch.told = True
        self.silent.add(stream_id)
        return True

    def waiting_at(self, now_ns: int) -> bool:
        """Whether any stream is to be asked at that time."""
        return any(_asked(watch) and watch.due_ns <= now_ns for watch in self.watches.values())

    def first_due_ns(self) -> int | None:
        """The earliest time by which a stream is to be asked; None when none will be without further records."""
        return min((watch.due_ns for watch in self.watches.values() if _asked(watch)), default=None)

    def due(self, now_ns: int) -> list[UUID]:
        """Streams whose silence may be worth telling at `now_ns`, and was not told since their last records; by id."""
        return sorted(stream_id for stream_id, watch in self.watches.items() if _asked(watch) and watch.due_ns <= now_ns)

    def postpone(self, stream_id: UUID, due_ns: int) -> bool:
        """Take the word of a stream for when it will be due, if that is later: what is known here is an older state's."""
        watch = self.watches.get(stream_id)
        if watch is None or not _asked(watch) or watch.due_ns >= due_ns:
            return False
        self.watches[stream_id] = Watch(due_ns)
        return True

    def give_up(self, now_ns: int) -> None:
        """Wait no more for streams that are due at `now_ns` and did not answer: until they have records, they never will."""
        for stream_id in self.due(now_ns):
            del self.watches[stream_id]


def _asked(watch: Watch) -> bool:
    return not watch.told and not watch.remote
