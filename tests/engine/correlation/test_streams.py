"""How far streams are: the slowest one is always known."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.engine.correlation.flag import Progress
from driftlock.engine.correlation.story import Story
from driftlock.engine.correlation.streams import SPARE_ENTRIES, Behind, Streams
from tests.engine.correlation.shop import LOGS, MAIL, METRICS, PAY, SPANS, TENANT, TEXTS, flag


def progress(stream: UUID, watermark_ns: int) -> Progress:
    return Progress(watermark_ns, 1, 0, stream=TEXTS[stream])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from((LOGS, METRICS, PAY, SPANS)), st.integers(0, 20)), max_size=300))
def test_the_slowest_is_the_slowest(steps: list[tuple[UUID, int]]) -> None:
    streams, known = Streams(), dict[UUID, int]()
    for stream, watermark_ns in steps:
        if watermark_ns == 20 and stream in known:
            streams.remove(stream)
            del known[stream]
        else:
            streams.put(stream, progress(stream, watermark_ns))
            known[stream] = watermark_ns
        assert streams.watermark_ns == min(known.values(), default=0)
        assert len(streams) == len(known)


def test_a_stream_that_lags_does_not_let_it_grow() -> None:
    streams = Streams()
    streams.put(LOGS, progress(LOGS, 1))
    for watermark_ns in range(2, 10_000):
        streams.put(PAY, progress(PAY, watermark_ns))
    assert streams.watermark_ns == 1
    assert len(streams._slowest) <= 2 * len(streams) + SPARE_ENTRIES


def test_a_story_waits_for_its_services_or_with_traces_for_everybody() -> None:
    def story(*traces: str) -> Story:
        told = flag(LOGS, 600, traces=traces)
        begun = Story.begun(TENANT, told, 10)
        begun.take(told, 10)
        return begun

    streams = Streams()
    streams.put(LOGS, progress(LOGS, 50))
    streams.put(MAIL, progress(MAIL, 10))
    assert streams.behind(story()) is None, "alone in its service"
    assert streams.behind(story("a" * 32)) == Behind(2, 10)
    streams.put(METRICS, progress(METRICS, 40))
    assert streams.behind(story()) == Behind(2, 40)
    streams.put(SPANS, progress(SPANS, 30))
    assert streams.behind(story()) == Behind(3, 30)
    streams.remove(SPANS)
    streams.remove(METRICS)
    assert streams.behind(story()) is None


def test_a_stream_whose_name_is_told_later_is_listed_by_it() -> None:
    streams = Streams()
    streams.put(SPANS, Progress(5, 1, 0))
    streams.put(SPANS, progress(SPANS, 6))
    told = flag(LOGS, 600)
    begun = Story.begun(TENANT, told, 10)
    begun.take(told, 10)
    assert streams.behind(begun) == Behind(1, 6)
