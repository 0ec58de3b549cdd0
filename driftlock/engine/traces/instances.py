"""Which instances (pods, hosts) spans come from, by the numbers that kernels know them by."""

from array import array
from collections.abc import Sequence

from driftlock.engine.findings import instance_number


def span_instance_number(name: str) -> int:
    """32 bits, never 0: a hash, so that no number has to be kept for an instance that is gone.

    Among a thousand instances two share one in one of nine thousand streams.
    """
    return instance_number(name) & 0xFFFF_FFFF or 1


class Instances:
    """The names of the newest `instances_max` instances. Numbers are hashes; the name of one that is forgotten is ""."""

    def __init__(self, instances_max: int) -> None:
        self.instances_max = instances_max
        self.names: dict[int, str] = {}  # the longest unseen first

    def numbers(self, instances: Sequence[str], index: "array[int]", spans: int) -> "array[int]":
        """The instance of each span, 0 = none; `index` is 1-based into `instances` or empty."""
        if not index:
            return array("I", bytes(4 * spans))
        numbers = [0, *(span_instance_number(name) if name else 0 for name in instances)]
        for place in reversed(dict.fromkeys(reversed(index))):
            if number := numbers[place]:
                self.names.pop(number, None)
                self.names[number] = instances[place - 1]
        return array("I", map(numbers.__getitem__, index))

    def forget(self) -> None:
        """Forget the longest unseen names beyond `instances_max`."""
        while len(self.names) > self.instances_max:
            del self.names[next(iter(self.names))]

    def name(self, number: int) -> str:
        """The name of an instance; "" = none, or forgotten."""
        return self.names.get(number, "")

    def restore(self, names: Sequence[str]) -> None:
        """Continue from stored names, the longest unseen first."""
        self.names = {span_instance_number(name): name for name in names}
