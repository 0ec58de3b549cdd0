"""Who sends to a stream: instances, and the versions of their service, as the numbers that a reader writes beside each record.

A reader writes one number a record. Mostly all senders of a stream have one version, and that number is the instance's; the
version is told once. During a rollout one request may hold records of two: then it is that of both together, and is taken
apart when all is read.
"""

from array import array
from typing import NamedTuple

VERSIONS_MAX = 64
"""Versions of one stream that are told apart in a request; records of others have none."""


class Names:
    """Names of one kind, numbered from 1 in the order in which they came; at most `names_max`."""

    __slots__ = ("_names_max", "_numbers")

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name; 0 for "" (unknown) and for those over the limit."""
        if not name or (name not in self._numbers and len(self._numbers) >= self._names_max):
            return 0
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def names(self) -> tuple[str, ...]:
        """All names, the first one first."""
        return tuple(self._numbers)


class Sent(NamedTuple):
    """Columns of `driftlock.engine.event.RecordBatch`."""

    instances: tuple[str, ...]
    instance_index: "array[int]"
    versions: tuple[str, ...]
    version_index: "array[int]"


class Senders:
    """The senders of one stream in one request."""

    __slots__ = ("_instances", "_pairs", "_versions")

    def __init__(self, instances_max: int) -> None:
        self._instances = Names(instances_max)
        self._versions = Names(VERSIONS_MAX)
        self._pairs: dict[tuple[int, int], int] = {}

    def add(self, instance: str, version: str) -> int:
        """Take a sender ("" = unknown); -> its place in `numbers`."""
        pair = self._instances.number(instance), self._versions.number(version)
        return self._pairs.setdefault(pair, len(self._pairs))

    @property
    def _mixed(self) -> bool:
        return len({version for _, version in self._pairs}) > 1

    def numbers(self) -> "array[int]":
        """The number that a reader writes for each sender, by place, when all are added."""
        return array("I", range(len(self._pairs)) if self._mixed else (instance for instance, _ in self._pairs))

    def sent(self, index: "array[int]") -> Sent:
        """What the numbers that a reader wrote say."""
        instances, versions = self._instances.names(), self._versions.names()
        nothing = index[:0]
        if not self._mixed:
            return Sent(instances, index if instances else nothing, versions, nothing)
        of_instance = [instance for instance, _ in self._pairs]
        of_version = [version for _, version in self._pairs]
        split = array("I", map(of_instance.__getitem__, index)) if instances else nothing
        return Sent(instances, split, versions, array("I", map(of_version.__getitem__, index)))
