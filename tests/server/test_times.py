from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rfc3339 import TIME_NS_MAX, parse_rfc3339, parse_unix_seconds, rfc3339
from server.offline.times import BadTime, Times


@given(st.one_of(st.floats(0, 2**34), st.integers(0, 2**34 * 1000).map(lambda ms: ms / 1000)))
def test_unix_seconds_are_taken_as_they_are_written(seconds: float) -> None:
    assert Times().read(seconds) == parse_unix_seconds(seconds)


@given(st.lists(st.one_of(st.integers(0, TIME_NS_MAX), st.integers(0, 10**6).map(lambda second: second * 10**9)), max_size=6))
def test_times_are_shown_and_read_as_everywhere(moments: list[int]) -> None:
    times = Times()
    for ns in moments:
        assert times.shown(ns) == rfc3339(ns)
        assert times.read(rfc3339(ns)) == ns


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
            assert times.read(text) == expected
