from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rfc3339 import parse_rfc3339, parse_unix_seconds, rfc3339
from server.offline.times import TIME_NS_MAX, BadTime, Times


@given(st.one_of(st.floats(0, 2**32), st.integers(0, 2**32 * 1000).map(lambda ms: ms / 1000)))
def test_unix_seconds_are_taken_as_they_are_written(seconds: float) -> None:
    assert Times().read(seconds) == parse_unix_seconds(seconds)


@given(st.lists(st.one_of(st.integers(0, TIME_NS_MAX), st.integers(0, 10**6).map(lambda second: second * 10**9)), max_size=6))
def test_times_are_shown_and_read_as_everywhere(moments: list[int]) -> None:
    times = Times()
    for ns in moments:
        assert times.shown(ns) == rfc3339(ns)
        assert times.read(rfc3339(ns)) == ns


@pytest.mark.parametrize("written", [4_607_280_000, 4_607_280_000.0, "2116-01-01T00:00:00Z", 1e12, "2554-01-01T00:00:00Z"])
def test_times_end_where_kernels_can_still_count_on(written: float | str) -> None:
    with pytest.raises(BadTime, match="outside the years 1970 to 2115; numbers are seconds, not milliseconds"):
        Times().read(written)
    assert Times().read("2115-12-31T23:59:59.999999999Z") == TIME_NS_MAX < 2**62


@given(
    st.lists(
        st.one_of(
            st.text(alphabet="0123456789-:TtZz .+", min_size=15, max_size=22),
            st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC).isoformat()),
            st.builds("2024-05-{:02d}T{:02d}:{:02d}:{:02d}Z".format, st.integers(0, 32), *[st.integers(0, 61)] * 3),
        ),
        max_size=6,
    )
)
def test_a_time_is_one_whatever_was_read_before(texts: list[str]) -> None:
    times = Times()
    for text in texts:
        try:
            expected = parse_rfc3339(text)
        except (ValueError, OverflowError):
            with pytest.raises(BadTime):
                times.read(text)
        else:
            if 0 <= expected <= TIME_NS_MAX:
                assert times.read(text) == expected
            else:
                with pytest.raises(BadTime, match="outside"):
                    times.read(text)
