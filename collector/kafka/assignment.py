"""What a consumer's thread knows of its partitions: where each goes on, what is on its way, and why it is held.

Pure: no Kafka and no clock. A partition that is taken away and comes back is another one, with another generation, so that
nothing said of the first reaches the second.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Hold(StrEnum):
    """Why nothing is read from a partition; each is a value of a metric's label."""

    OPENING = "opening"  # its shard is not taken over yet, so nobody knows where it goes on
    PARTITION_BYTES = "partition_bytes_max"
    IN_FLIGHT_BYTES = "in_flight_bytes_max"
    BACKLOG = "backlog_bytes_max"
    BAD_MESSAGES = "bad_messages"


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """`messages_max` is what one call takes from Kafka. The `*_bytes_max` are bytes of messages that are read and not stored.

    A partition that is held for them goes on when half of them are stored. `revoke_s` is how long a partition that moves to
    another worker is waited for: it has to be well below the session's time. Offsets are told to Kafka `commit_s` apart.
    """

    messages_max: int = 1000
    poll_s: float = 0.1
    partition_bytes_max: int = 8 * 1024**2
    in_flight_bytes_max: int = 64 * 1024**2
    revoke_s: float = 4.0
    commit_s: float = 5.0
    look_s: float = 1.0


@dataclass(slots=True)
class Held:
    """One partition: the next offset to read, bytes on their way, and the reasons why nothing is read."""

    generation: int
    next_offset: int = -1
    in_flight_bytes: int = 0
    holds: set[Hold] = field(default_factory=lambda: {Hold.OPENING})
    paused: bool = True


class Assignment:
    """The partitions of one consumer. Not thread-safe: the consumer's thread has it."""

    def __init__(self, limits: ConsumerLimits) -> None:
        """Without partitions."""
        self._limits = limits
        self._partitions: dict[int, Held] = {}
        self._generation = 0
        self._in_flight_bytes = 0

    def is_of(self, partition: int, generation: int) -> bool:
        """Whether a partition is ours, and has not been another's meanwhile."""
        return self._known(partition, generation) is not None

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of messages of all partitions that are read and not stored."""
        return self._in_flight_bytes

    def add(self, partition: int) -> int:
        """A partition is ours from now on, and held until it is opened; returns its generation."""
        self.remove(partition)
        self._generation += 1
        self._partitions[partition] = Held(self._generation)
        return self._generation

    def remove(self, partition: int) -> None:
        """A partition is not ours any more; what is on its way is forgotten."""
        gone = self._partitions.pop(partition, None)
        if gone is not None:
            self._in_flight_bytes -= gone.in_flight_bytes

    def open(self, partition: int, generation: int, offset: int) -> bool:
        """Read a partition from `offset` on; False when it is not that one any more."""
        found = self._known(partition, generation)
        if found is None:
            return False
        self._in_flight_bytes -= found.in_flight_bytes
        found.next_offset, found.in_flight_bytes = offset, 0
        found.holds.clear()
        return True

    def close(self, partition: int, generation: int) -> None:
        """Read nothing more of a partition until it is opened again; what is on its way is forgotten."""
        found = self._known(partition, generation)
        if found is not None:
            self._in_flight_bytes -= found.in_flight_bytes
            found.next_offset, found.in_flight_bytes = -1, 0
            found.holds = {Hold.OPENING}

    def generation(self, partition: int) -> int | None:
        """That of a partition which is open; None of others."""
        found = self._partitions.get(partition)
        return None if found is None or Hold.OPENING in found.holds else found.generation

    def next_offset(self, partition: int) -> int:
        """Where an open partition goes on; -1 for others."""
        found = self._partitions.get(partition)
        return -1 if found is None else found.next_offset

    def take(self, partition: int, offset: int, size: int) -> bool:
        """Whether a message that was read is to be used; one of a partition that is not open, or from before, is not."""
        found = self._partitions.get(partition)
        if found is None or Hold.OPENING in found.holds or offset < found.next_offset:
            return False
        found.next_offset = offset + 1
        found.in_flight_bytes += size
        self._in_flight_bytes += size
        return True

    def skip(self, partition: int, offset: int) -> None:
        """An open partition goes on at another place, which may be before this one."""
        self._partitions[partition].next_offset = offset

    def stored(self, partition: int, generation: int, size: int) -> None:
        """So many bytes of messages are not on their way any more."""
        found = self._known(partition, generation)
        if found is not None:
            done = min(size, found.in_flight_bytes)
            found.in_flight_bytes -= done
            self._in_flight_bytes -= done

    def hold(self, partition: int, generation: int, why: Hold, *, on: bool) -> None:
        """Hold a partition for a reason, or do so no more."""
        found = self._known(partition, generation)
        if found is not None and Hold.OPENING not in found.holds:
            (found.holds.add if on else found.holds.discard)(why)

    def turns(self) -> tuple[list[int], list[int]]:
        """Partitions to be paused, and those to be resumed, since this was asked last."""
        limits = self._limits
        for found in self._partitions.values():
            self._bound(found, Hold.PARTITION_BYTES, found.in_flight_bytes, limits.partition_bytes_max)
            self._bound(found, Hold.IN_FLIGHT_BYTES, self._in_flight_bytes, limits.in_flight_bytes_max)
        pause = [number for number, found in self._partitions.items() if found.holds and not found.paused]
        resume = [number for number, found in self._partitions.items() if found.paused and not found.holds]
        for number in pause:
            self._partitions[number].paused = True
        for number in resume:
            self._partitions[number].paused = False
        return pause, resume

    def holds(self) -> dict[int, frozenset[Hold]]:
        """Why nothing is read, by partition."""
        return {number: frozenset(found.holds) for number, found in self._partitions.items()}

    def _known(self, partition: int, generation: int) -> Held | None:
        found = self._partitions.get(partition)
        return found if found is not None and found.generation == generation else None

    @staticmethod
    def _bound(found: Held, why: Hold, size: int, size_max: int) -> None:
        if Hold.OPENING in found.holds:
            return
        if size >= size_max:
            found.holds.add(why)
        elif size <= size_max // 2:
            found.holds.discard(why)
