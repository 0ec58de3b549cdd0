"""A memory of routes: senders repeat their resources in every request, so most of them need not be parsed again."""

from collections.abc import Callable, Mapping
from threading import Lock

from collector.routing.route import Route, Router
from driftlock.engine.canonical import Cuts, Value
from driftlock.engine.event import Signal

ENTRY_BYTES = 1024
"""What an entry costs beside the bytes of its resource and of its names: objects, headers of strings, places in tables."""

Parse = Callable[[bytes], Mapping[str, Value]]
_Generation = dict[Signal, dict[bytes, Route]]


class Routes:
    """Routes by signal and bytes of the Resource message; equal to asking the router each time.

    Two generations: what is asked for lives in the young one; when that has its half of `entries_max` or `bytes_max`, it
    becomes the old one and the old one goes. So a flood of resources that never come back costs time, but neither memory
    nor, for long, the routes that do come back. Resources over `resource_bytes_max` are never kept. Safe to use from
    several threads: a repeated resource costs two look-ups and no lock.
    """

    def __init__(
        self,
        router: Router,
        *,
        entries_max: int = 32_768,
        bytes_max: int = 32 * 1024 * 1024,
        resource_bytes_max: int = 16 * 1024,
    ) -> None:
        """Remembers nothing yet. Raises ValueError for limits that keep nothing."""
        if entries_max < 2 or bytes_max < 2 or resource_bytes_max < 1:
            raise ValueError("entries_max and bytes_max must be at least 2, resource_bytes_max at least 1")
        self._router = router
        self._half_entries, self._half_bytes = entries_max // 2, bytes_max // 2
        self._resource_bytes_max = resource_bytes_max
        self._lock = Lock()
        self._young, self._old = _empty(), _empty()
        self._entries = self._bytes = 0  # of the young generation
        self._old_bytes = 0

    def __len__(self) -> int:
        """Routes remembered."""
        return sum(len(routes) for generation in (self._young, self._old) for routes in generation.values())

    @property
    def size_bytes(self) -> int:
        """What they take, by our own count."""
        return self._bytes + self._old_bytes

    def route(self, signal: Signal, resource: bytes, parse: Parse, cuts: Cuts | None = None) -> Route:
        """The route of a resource given as wire bytes; `parse` makes its attributes of them and is only called for new ones.

        Whatever `parse` raises is passed on and not remembered. Where it counts what it cuts in `cuts`, and has cut
        something, the route is not remembered either: else only the first of equal resources would be counted.
        """
        found = self._young[signal].get(resource)
        if found is not None:
            return found
        found = self._old[signal].get(resource)
        if found is None:
            before = None if cuts is None else (cuts.truncated, cuts.attributes_dropped, cuts.replaced)
            found = self._router.route(signal, parse(resource))
            if cuts is not None and (cuts.truncated, cuts.attributes_dropped, cuts.replaced) != before:
                return found
        self._keep(signal, resource, found)
        return found

    def _keep(self, signal: Signal, resource: bytes, route: Route) -> None:
        if len(resource) > self._resource_bytes_max:
            return
        size = _entry_bytes(resource, route)
        if size > self._half_bytes:
            return
        with self._lock:
            routes = self._young[signal]
            if resource in routes:  # another thread was quicker
                return
            if self._entries >= self._half_entries or self._bytes + size > self._half_bytes:
                self._old, self._young = self._young, _empty()
                self._old_bytes, self._bytes, self._entries = self._bytes, 0, 0
                routes = self._young[signal]
            routes[resource] = route
            self._entries += 1
            self._bytes += size


def _empty() -> _Generation:
    return {signal: {} for signal in Signal}


def _entry_bytes(resource: bytes, route: Route) -> int:
    """Upper bound of the memory of an entry: a character of a name takes up to four bytes."""
    key = route.key
    names = (key.service, key.namespace, key.environment, route.instance, route.service, route.environment, route.version)
    return ENTRY_BYTES + len(resource) + sum(len(name) if name.isascii() else 4 * len(name) for name in names)
