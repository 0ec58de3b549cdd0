"""Slugs: readable, bounded, and never pretending to be one of ours."""

from hypothesis import given
from hypothesis import strategies as st

from driftlock.engine.event import Signal, StreamKey
from driftlock.storage.slugs import SLUG_BYTES_MAX, slug, unique_slug

keys = st.builds(
    StreamKey, st.sampled_from(Signal), st.text(min_size=1, max_size=300), st.text(max_size=99), st.text(max_size=99)
)


@given(keys)
def test_slugs_are_bounded_printable_and_not_reserved(key: StreamKey) -> None:
    for made in (slug(key), unique_slug(key)):
        assert 1 <= len(made.encode()) <= SLUG_BYTES_MAX
        assert made.isprintable()
        assert not set(made) & set(" /?#%\\\"'<>&")
        assert made[0] not in "_.-"


@given(keys, keys)
def test_unique_slugs_are_unique(one: StreamKey, other: StreamKey) -> None:
    assert (unique_slug(one) == unique_slug(other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    assert unique_slug(StreamKey(Signal.LOGS, "ab", "c")) != unique_slug(StreamKey(Signal.LOGS, "a", "bc"))


def test_readable_forms() -> None:
    assert slug(StreamKey(Signal.LOGS, "checkout")) == "checkout"
    assert slug(StreamKey(Signal.TRACES, "checkout", "shop", "prod")) == "shop.checkout.prod-traces"
    assert slug(StreamKey(Signal.LOGS, "../../etc/passwd")) == "etc-passwd"
    assert slug(StreamKey(Signal.LOGS, "a\u202egnp.exe\r\n")) == "a-gnp.exe"
    assert slug(StreamKey(Signal.LOGS, "支払い")) == "支払い"
    assert slug(StreamKey(Signal.LOGS, "_overflow")) == "overflow"
    assert slug(StreamKey(Signal.LOGS, "💥")) == "stream"
