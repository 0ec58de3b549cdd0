"""Series of data points read from the wire: what they are called, and what tells them from others."""

from array import array

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from collector.otlp.pointwire import read_metrics, read_points
from driftlock.engine.canonical import bounded_identity
from tests.collector.otlp_requests import T0, message, pairs
from tests.collector.point_wire import GAUGE, LIMITS, attributes, columns, fixed, metric, request
from tests.collector.points_both_ways import assert_same


@pytest.mark.parametrize(
    ("point", "shown"),
    [
        (attributes(*pairs({"b": "1", "a": "2"})), "x{a=2,b=1}"),
        (attributes(*pairs({"a": "1,b=2", "{": '"\\}'})), 'x{a=1\\,b\\=2,\\{=\\"\\\\\\}}'),
        (attributes(*pairs({"a": "\x1f"})), "x{a=\\x1f}"),
        (attributes(*pairs({"a": "1"}), *pairs({"b": "2"}), *pairs({"a": "3"})), "x{a=3,b=2}"),
        (attributes(*pairs({"a": {"c": 1, "b": [True, None]}})), "x{a.b=[true\\,],a.c=1}"),
        (attributes(message(2, message(1, b"v"))), "x{=v}"),
        (attributes(b""), "x{=}"),
        (attributes(message(1, b"\xff") + message(2, message(1, b"\xe2\x82"))), "x{\ufffd=\ufffd}"),
    ],
)
def test_shown_names(point: bytes, shown: str) -> None:
    data = request(metric(GAUGE, point))
    assert_same(data)
    found = columns(data)
    assert found.text.decode() == shown
    assert found.series[0].encode()[: found.shown[0]].decode() == shown


def test_scopes_and_types_tell_series_apart() -> None:
    point = attributes(*pairs({"a": 1, "b": "x"}))
    scopes = [message(1, message(1, name)) for name in (b"io", b"io", b"", b"{", b"s" * 62, b"s" * 63, b"s" * 65, b"\xff")]
    data = b"".join(request(metric(GAUGE, point, fixed(3, T0)), scope=scope) for scope in scopes)
    assert_same(data)
    found = columns(data)
    assert found.series[:2] == ["x{a=1,b=x}\x1fio\x1fg\x1fis", "x\x1fio\x1fg"]
    assert len(found.series) == 2 * 7
    names = ("s" * 62, "s" * 63, bounded_identity("s" * 65))
    assert [series.partition("\x1f")[2] for series in found.series[7:12:2]] == [bounded_identity(name, "g") for name in names]


@pytest.mark.parametrize("size", [60, 61, 62, 63, 100, 125, 126, 127, 128, 129, 250, 254, 255, 256, 257, 1000])
def test_long_identities_are_hashed(size: int) -> None:
    """Of types that make one and several blocks of the hash function, full and not."""
    value = AnyValue()
    value.array_value.values.extend([AnyValue(int_value=1)] * size)
    data = request(metric(GAUGE, attributes(KeyValue(key="a", value=value))))
    assert_same(data)
    of_metric = "\x1fg"
    expected = bounded_identity(of_metric, f"[{'i' * size}]")
    assert columns(data).series[0].partition("\x1f")[2] == expected
    assert expected.startswith("~") is (size + 5 > 64)


def test_a_scope_in_pieces_has_the_last_name() -> None:
    scope = message(1, message(1, b"a") + message(2, b"1")) + message(1, message(2, b"2")) + message(1, message(1, b"b"))
    data = request(metric(GAUGE, b""), scope=scope)
    assert_same(data)
    assert columns(data).series == ["x\x1fb\x1fg"]


def test_scopes_may_be_given_other_names() -> None:
    """So a redactor works on them before they are hashed."""
    data = request(metric(GAUGE, b""), scope=message(1, message(1, b"secret")))
    envelope = read_metrics(data, records_max=1, containers_max=1, limits=LIMITS)
    assert envelope.scopes == ["secret"]
    found = read_points(data, envelope._replace(scopes=["*"]), array("i", [0]), array("I", [0]), 1, LIMITS)
    assert found.columns[0].series == ["x\x1f*\x1fg"]


def test_many_series_are_numbered_in_order_of_first_sight() -> None:
    order = [index * 7919 % 3000 for index in range(6000)]
    points = [attributes(*pairs({"a": str(name)})) for name in order]
    found = columns(request(metric(GAUGE, *points)))
    assert list(found.series_index) == [*range(1, 3001), *range(1, 3001)]
    assert found.series == [f"x{{a={name}}}\x1f\x1fg" for name in order[:3000]]
