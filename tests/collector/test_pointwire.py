"""Data points read from the wire: its edges, and limits. What texts look like is compared with the oracle."""

from array import array
from collections.abc import Callable
from dataclasses import replace
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from collector.otlp.limits import OtlpLimits
from collector.otlp.pointwire import REASONS, PointsRead, read_metrics, read_points
from collector.otlp.wire import Malformed
from driftlock.engine.canonical import CanonicalLimits
from driftlock.errors import InvalidArgument
from tests.collector.otlp_requests import T0, message, nested, pairs
from tests.collector.point_wire import (
    EXPONENTIAL,
    GAUGE,
    GROUP,
    HISTOGRAM,
    LIMITS,
    NAME,
    SUM,
    SUMMARY,
    attributes,
    columns,
    counts,
    fixed,
    metric,
    number,
    one,
    read,
    request,
    values,
)
from tests.collector.points_both_ways import Told, assert_same

# ---- the wire ----
TEN = b"\x80" * 9
BROKEN: list[bytes] = [
    b"\x07",  # wire type 7
    b"\x00",  # field 0
    b"\x02\x00",
    b"\x7c",  # an end without a start
    b"\x7b\x08\x01",  # a start without an end
    b"\x7b\x74",  # the end of another
    b"\x08",  # nothing after the tag
    b"\x08" + TEN + b"\x80\x01",  # a varint of 11 bytes
    b"\x11" + bytes(7),
    b"\x15" + bytes(3),
    b"\x3a\x05abc",
    b"\x88" + TEN + b"\x01\x01",  # a tag of more than 5 bytes
    b"\x3a\xff\xff\xff\xff\xff\x01",
]
INSIDE: list[tuple[int, Callable[[bytes], bytes]]] = [
    (GAUGE, lambda broken: broken),
    (HISTOGRAM, lambda broken: broken),
    (EXPONENTIAL, lambda broken: broken),
    (SUMMARY, lambda broken: broken),
    (GAUGE, lambda broken: message(7, broken)),  # an attribute
    (GAUGE, lambda broken: message(7, message(2, broken))),  # its value
    (GAUGE, lambda broken: message(7, message(2, message(5, broken)))),
    (GAUGE, lambda broken: message(7, message(2, message(6, message(1, broken))))),
    (GAUGE, lambda broken: message(5, broken)),  # an exemplar, which is not read
    (HISTOGRAM, lambda broken: message(8, message(7, broken))),
    (EXPONENTIAL, lambda broken: message(8, broken)),
    (EXPONENTIAL, lambda broken: message(9, broken)),
    (EXPONENTIAL, lambda broken: message(11, broken)),
    (SUMMARY, lambda broken: message(6, broken)),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_protobuf_refuses_the_request(broken: bytes) -> None:
    for data, around in INSIDE:
        body = request(metric(data, fixed(3, 1)), metric(data, around(broken)))
        assert assert_same(body).error == "Malformed", (data, around(b""))
        with pytest.raises(Malformed):
            read(body)
    for whole in (
        broken,
        message(1, broken),
        message(1, message(2, broken)),
        request(broken),
        request(NAME + message(GAUGE, broken)),
        request(metric(GAUGE), scope=message(1, broken)),
    ):
        assert assert_same(whole).error == "Malformed"


@pytest.mark.parametrize("packed", [(HISTOGRAM, message(6, bytes(9))), (HISTOGRAM, message(7, bytes(7)))])
def test_packed_numbers_are_whole(packed: tuple[int, bytes]) -> None:
    assert one(*packed).error == "Malformed"
    assert one(EXPONENTIAL, message(8, message(2, b"\x01\x80"))).error == "Malformed"


def test_unknown_fields_are_skipped() -> None:
    unknown = GROUP + message(15, b"\xff") + number(5, 14) + b"\x75" + bytes(4) + b"\x72\x01\xff"
    plain = assert_same(request(metric(GAUGE, fixed(4, 1.0) + fixed(3, T0))))
    told = assert_same(
        unknown
        + message(
            1, unknown + message(2, unknown + message(2, unknown + metric(GAUGE, unknown + fixed(4, 1.0) + fixed(3, T0))))
        )
    )
    assert told == plain


@pytest.mark.parametrize(
    "body",
    [
        NAME + message(GAUGE, message(1, fixed(4, 1.0))) + message(SUM, message(1, fixed(4, 2.0))),
        NAME + message(SUM, message(1, fixed(4, 1.0))) + message(SUMMARY, b"") + message(SUM, message(1, fixed(4, 2.0))),
        message(SUM, message(1, fixed(4, 1.0))) + NAME + message(SUM, number(1, 2)) + message(SUM, message(1, fixed(4, 2.0))),
        NAME + message(SUM, number(1, 3) + number(1, 2)) + message(GAUGE, b"") + message(SUM, message(1, fixed(4, 2.0))),
        NAME + message(12, message(1, b"k")) + message(GAUGE, message(1, fixed(4, 2.0))) + message(1, b"y"),
        NAME,
        b"",
    ],
    ids=range(7),
)
def test_of_several_kinds_of_data_the_last_counts(body: bytes) -> None:
    told = assert_same(request(body))
    assert not told.streams or values(told)[-1] == 2.0


def test_empty_requests() -> None:
    for data in (b"", message(1, b""), message(1, message(2, b"")), request(b"")):
        assert assert_same(data) == Told([], {}, [], (0, 0, 0), True)


def test_readers_of_other_buffers_and_threads_say_the_same() -> None:
    data = request(metric(GAUGE, *[attributes(*pairs({"a": str(i), "b": i})) for i in range(500)]))
    expected = read(data)
    found: list[PointsRead] = []
    threads = [Thread(target=lambda: found.append(read(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.columns[0].series for each in found] == [expected.columns[0].series] * 4
    assert [each.columns[0].text for each in found] == [expected.columns[0].text] * 4


# ---- limits ----
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (request() * 4, "more than 3 resources"),
        (message(1, message(2, b"") * 4), "more than 3 scopes"),
        (message(1, message(2, b"") * 2) * 2, "more than 3 scopes"),
        (request(*[b""] * 4), "more than 3 metrics"),
        (request(*[b""] * 2) * 2, "more than 3 metrics"),
        (request(metric(GAUGE, *[b""] * 6)), "more than 5 data points"),
        (request(metric(GAUGE, *[b""] * 3), metric(SUMMARY, *[b""] * 3)), "more than 5 data points"),
        (request(message(GAUGE, message(1, b"") * 3) + message(SUM, message(1, b"") * 3)), "more than 5 data points"),
        (number(1, 2) * 4097, "4096 fields beside its resources"),
        (message(1, number(1, 3) * 4097), "4096 fields beside its scopes"),
        (message(1, message(2, number(1, 3) * 4097)), "4096 fields beside its metrics"),
        (request(metric(GAUGE, fields=number(1, 3) * 4097)), "4096 fields beside its data points"),
    ],
)
def test_envelopes_are_counted_first(data: bytes, words: str) -> None:
    limits = OtlpLimits(containers_max=3, records_max=5)
    assert words in assert_same(data, limits).error
    with pytest.raises(InvalidArgument, match=words):
        read_metrics(data, records_max=5, containers_max=3, limits=limits)


@pytest.mark.parametrize(
    "data",
    [
        request() * 3,
        message(1, message(2, b"") * 3),
        request(*[b""] * 3),
        request(metric(GAUGE, *[b""] * 5)),
        number(1, 2) * 4096,
        request(metric(GAUGE, fields=number(1, 3) * 4096)),
    ],
    ids=range(6),
)
def test_envelopes_at_their_limits(data: bytes) -> None:
    assert assert_same(data, OtlpLimits(containers_max=3, records_max=5)).error == ""


def test_a_scope_may_have_more_metrics_than_other_fields() -> None:
    data = request(*[b""] * 5000, scope=message(1, message(1, b"a")))
    assert len(read_metrics(data, records_max=1, containers_max=5000, limits=LIMITS).metrics) == 4 * 5000


@pytest.mark.parametrize("levels", [1, 2, 3, 16, 17, 18, 60])
def test_depth_max(levels: int) -> None:
    for at in (lambda pair: message(7, pair), lambda pair: message(5, message(7, pair))):  # an attribute, an exemplar's
        point = at(message(1, b"k") + message(2, nested(levels)))
        told = assert_same(request(metric(GAUGE, b"", point, b"")))
        assert told.rejected == ({"too_deep": 1} if levels > 16 else {})
        assert len(told.streams[0]["lines"]) == 2 + (levels <= 16)


def test_record_elements_max() -> None:
    for point in (
        fixed(3, 1) * 5,
        number(1, 8) * 5,
        message(15, b"") * 5,
        message(7, b"") * 5,
        GROUP * 5,
        counts(6, 1, 2, 3, 4),
    ):
        body = request(metric(HISTOGRAM, point, b""))
        assert assert_same(body, OtlpLimits(record_elements_max=4)).rejected == {"too_many_elements": 1}
        assert "too_many_elements" not in assert_same(body, OtlpLimits(record_elements_max=5)).rejected


def test_attributes_max() -> None:
    limits = OtlpLimits(text=CanonicalLimits(attributes_max=2))
    body = request(
        metric(GAUGE, attributes(*pairs({"c": 1, "a": 2, "b": 3})), attributes(*pairs({"a": {"x": 1, "y": 2, "z": 3}})))
    )
    assert assert_same(body, limits).cuts == (0, 2, 0)
    assert columns(body, limits).series == ["x{a=2,c=1}\x1f\x1fg\x1fii", "x{a.x=1,a.y=2}\x1f\x1fg\x1f" + "{1:i1:i1:i}"]


def test_names_keys_and_values_are_cut() -> None:
    limits = OtlpLimits(text=CanonicalLimits(key_bytes_max=3, value_bytes_max=5))
    name = message(1, "näääme".encode())
    body = request(name + message(GAUGE, message(1, attributes(*pairs({"long": "a", "k": "välue"}))) + message(1, b"")))
    assert assert_same(body, limits).cuts == (4, 0, 0)
    assert columns(body, limits).series == [
        "nää{_truncated=true,k=väl,lon=a}\x1f\x1fg".replace("väl", "välu"),
        "nää{_truncated=true}\x1f\x1fg",
    ]


@pytest.mark.parametrize("end", range(6))
def test_a_metric_name_is_repaired_where_it_is_read(end: int) -> None:
    """Somewhat more of it is read than is kept; what is broken behind is never seen."""
    limits = OtlpLimits(text=CanonicalLimits(value_bytes_max=5))
    for tail in (b"\xff" * 9, "€€€".encode(), b"x" * 9):
        assert_same(request(message(1, b"abcdefghij"[:end] + tail) + message(GAUGE, message(1, b""))), limits)


def test_text_bytes_max() -> None:
    """A point that does not fit is rejected alone; smaller ones behind it still fit."""
    points = [attributes(*pairs({"a": "v" * size})) for size in (3, 90, 3, 4, 5, 0)]
    told = assert_same(request(metric(GAUGE, *points)), OtlpLimits(text_bytes_max=33))
    assert told.rejected == {"too_much_text": 2}
    assert [len(line) for line in told.streams[0]["lines"]] == [8, 8, 9, 5]
    assert told.streams[0]["series_index"] == [1, 1, 2, 3]


def test_of_a_point_with_a_cut_text_its_name_is_counted() -> None:
    """Names are kept whole."""
    point = message(9, pairs({"a": "v" * 100})[0].SerializeToString())
    limits = OtlpLimits(text=CanonicalLimits(body_bytes_max=10), text_bytes_max=104)
    assert assert_same(request(metric(HISTOGRAM, point)), limits).rejected == {"too_much_text": 1}
    assert assert_same(request(metric(HISTOGRAM, point)), replace(limits, text_bytes_max=105)).rejected == {}


def test_reasons_are_those_of_rejected_records() -> None:
    data = request(metric(HISTOGRAM, counts(6, 1, 2), message(9, message(2, nested(20)))))
    found = read(data)
    assert dict(zip(REASONS, found.rejected, strict=True)) == {
        "too_deep": 1, "too_many_elements": 0, "bad_id": 0, "bad_buckets": 1, "too_much_text": 0,
    }  # fmt: skip
    assert [bool(message) for message in found.messages] == [True, False, False, True, False]


def test_envelopes_of_other_requests_are_refused() -> None:
    data = request(metric(GAUGE, b"", b""))
    envelope = read_metrics(data, records_max=9, containers_max=9, limits=LIMITS)
    streams, instances = array("i", [0]), array("I", [0])
    for other in (
        envelope._replace(metrics=array("q", [0, len(data) + 1, 0, 0])),
        envelope._replace(metrics=array("q", [5, 4, 0, 0])),
        envelope._replace(metrics=array("q", [0, 0, 1, 0])),
        envelope._replace(metrics=array("q", [0, 0, 0, 1])),
        envelope._replace(metrics=array("q", [0, 0, 0, -1])),
        envelope._replace(counts=array("I", [1])),
        envelope._replace(counts=array("I", [1, 1])),
        envelope._replace(counts=array("L", [2])),
    ):
        with pytest.raises(ValueError, match=r"envelope|outside|each resource"):
            read_points(data, other, streams, instances, 1, LIMITS)
    for stream in (1, -2):
        with pytest.raises(ValueError, match="no such stream"):
            read_points(data, envelope, array("i", [stream]), instances, 1, LIMITS)
    with pytest.raises(ValueError, match="columns of other types"):
        read_points(data, envelope, array("l", [0]), instances, 1, LIMITS)


def test_resources_in_pieces_are_joined() -> None:
    group = m.ResourceMetrics()
    group.resource.attributes.extend(pairs({"service.name": "shop", "host.name": "h"}))
    first, second = (message(1, message(1, pair.SerializeToString())) for pair in group.resource.attributes)
    data = message(1, first + message(2, message(2, metric(GAUGE, b""))) + second)
    envelope = read_metrics(data, records_max=9, containers_max=9, limits=LIMITS)
    assert envelope.resources == [group.resource.SerializeToString()]
    assert list(envelope.counts) == [1]
    assert_same(data)


def test_a_request_of_the_library() -> None:
    whole = ExportMetricsServiceRequest()
    group = whole.resource_metrics.add()
    group.resource.attributes.extend(pairs({"service.name": "shop", "host.name": "h1"}))
    scope = group.scope_metrics.add()
    scope.scope.name = "io.http"
    points = [m.NumberDataPoint(time_unix_nano=T0, as_int=5, attributes=pairs({"code": 200, "route": "/a"}))]
    scope.metrics.append(m.Metric(name="requests", sum=m.Sum(data_points=points, is_monotonic=True, aggregation_temporality=2)))
    told = assert_same(whole.SerializeToString())
    (stream,) = told.streams
    assert stream["lines"] == [b"requests{code=200,route=/a}"]
    assert stream["series"] == ["requests{code=200,route=/a}\x1fio.http\x1fc\x1fis"]
    assert (stream["times_ns"], stream["instances"], values(told), told.timed) == ([T0], [1], [5.0], True)
