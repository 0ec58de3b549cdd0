"""Whole traces for those who want to see each of them."""

from driftlock.engine.traces.observer import SeenTrace
from tests.engine.traces.rows import CODEC, ERROR, MS, batch_of, checkout, in_time, new_detector, second, shop


class Everything:
    def __init__(self) -> None:
        self.seen: list[SeenTrace] = []

    def trace(self, seen: SeenTrace) -> None:
        self.seen.append(seen)


def test_every_trace_is_seen_once() -> None:
    detector = new_detector()
    watcher = detector.observer = Everything()
    detector.fold(batch_of(in_time(shop(range(1, 20)), checkout(20, second(3), marks=ERROR))), second(4), CODEC)
    detector.flush()
    assert sorted(it.trace_id for it in watcher.seen) == [f"{number:032x}" for number in range(1, 21)]
    [odd] = [it for it in watcher.seen if it.errors]
    assert (odd.service, odd.root, odd.services) == ("shop/cart", "GET /cart", ("shop/cart", "shop/payment"))
    assert (odd.spans, odd.errors, odd.start_ns, odd.marks) == (3, 3, second(3), ())
    assert 6 * MS < odd.duration_ns < 8 * MS


def test_spans_without_their_root_are_marked() -> None:
    detector = new_detector()
    watcher = detector.observer = Everything()
    detector.fold(batch_of(checkout(1, second(0))[1:]), second(1), CODEC)
    detector.flush()
    [seen] = watcher.seen
    assert seen.marks == ("no root", "orphans")


def test_watching_changes_nothing() -> None:
    watched, alone = new_detector(), new_detector()
    watched.observer = Everything()
    row = batch_of([*shop(range(300)), *checkout(999, second(31), pay_ms=900), *shop(range(400, 700))])
    assert watched.fold(row, second(90), CODEC) == alone.fold(row, second(90), CODEC)
    assert watched.flush() == alone.flush()
