"""Log requests to columns: goldens, limits, and one bad record among good ones."""

import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collector.otlp.decode import Decoded, decode
from collector.otlp.limits import OtlpLimits
from collector.otlp.reasons import Reason
from collector.routing import ResourceRouter
from driftlock.engine.canonical import CanonicalLimits
from driftlock.engine.event import Signal, StreamKey
from driftlock.errors import Code, InvalidArgument, PayloadTooLarge
from tests.collector.otlp_requests import T0, add_logs, log, logs, message, nested, pairs, raw_logs, timed
from tests.collector.replacing import Replacing


def run(request: ExportLogsServiceRequest | bytes, limits: OtlpLimits | None = None, **parts: object) -> Decoded:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    chosen: dict[str, object] = {"router": ResourceRouter()}
    decoded = decode(body, Signal.LOGS, limits or OtlpLimits(), **(chosen | parts))  # type: ignore[arg-type]
    assert decoded.read == decoded.accepted + sum(decoded.rejected.values())
    return decoded


def lines(decoded: Decoded) -> list[str]:
    return [line.decode() for part in decoded.batches for line in part.batch.lines()]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (log("plain text\nwith two lines"), "plain text\nwith two lines"),
        (log("m", severity_text="Warning", severity_number=13), "Warning m"),
        (log("m", severity_number=13), "WARN m"),
        (log("m", severity_number=99), "m"),
        (log("m", event_name="user.login", severity_text="INFO"), "INFO user.login m"),
        (log({"b": 1, "a": {"x": [1, "y"]}}), "a.x=[1,y] b=1"),
        (log(["a", {"k": True}]), "[a,{k=true}]"),
        (log(b"\x01\xfe"), "01fe"),
        (log(3.5), "3.5"),
        (log(None), ""),
        (log("m", attributes={"z": None, "a": "x y", "n": -1}), "m a=x y n=-1 z="),
        (log("m\x00n"), "m\x00n"),
    ],
)
def test_canonical_text(record: LogRecord, expected: str) -> None:
    assert lines(run(logs(record))) == [expected]


def test_columns() -> None:
    trace, span = bytes(range(16)), bytes(range(8))
    request = logs(
        log("a", T0, trace_id=trace, span_id=span),
        log("bb", 0, observed_time_unix_nano=T0 + 1),
        log("ccc", 0, trace_id=b"short", span_id=b"short"),
        resource={"service.name": "shop", "host.name": "h1"},
    )
    decoded = run(request)
    (part,) = decoded.batches
    assert part.key == StreamKey(Signal.LOGS, "shop")
    assert part.batch.text == b"abbccc"
    assert part.batch.lengths == array("I", [1, 2, 3])
    assert part.batch.times_ns == array("Q", [T0, T0 + 1, 0])
    assert part.batch.trace_ids == trace + bytes(32)
    assert part.batch.span_ids == span + bytes(16)
    assert (part.batch.instances, part.batch.instance_index) == (("h1",), array("I", [1, 1, 1]))
    assert (part.batch.series, len(part.batch.series_index), len(part.batch.values)) == ((), 0, 0)
    assert not part.batch.historical
    assert decoded.accepted == 3
    assert not decoded.timed


def test_columns_that_say_nothing_are_empty() -> None:
    (part,) = run(logs(log())).batches
    assert (part.batch.trace_ids, part.batch.span_ids, part.batch.instances) == (b"", b"", ())
    assert len(part.batch.instance_index) == 0


def test_resources_of_one_stream_merge_in_order_and_keep_their_instances() -> None:
    request = ExportLogsServiceRequest()
    add_logs(request, log("1"), log("2"), resource={"service.name": "a", "k8s.pod.name": "p1"})
    add_logs(request, log("x"), resource={"service.name": "b"})
    add_logs(request, log("3"), resource={"service.name": "a"})
    add_logs(request, log("4"), resource={"service.name": "a", "k8s.pod.name": "p2"})
    request.resource_logs[3].scope_logs.add().log_records.append(log("5"))
    first, second = run(request).batches
    assert list(first.batch.lines()) == [b"1", b"2", b"3", b"4", b"5"]
    assert first.batch.instances == ("p1", "p2")
    assert first.batch.instance_index == array("I", [1, 1, 0, 2, 2])
    assert list(second.batch.lines()) == [b"x"]


def test_replays_of_the_past_are_batches_of_their_own() -> None:
    request = logs(log("old"), resource={"service.name": "a", "driftlock.historical": True})
    add_logs(request, log("new"), resource={"service.name": "a"})
    old, new = run(request).batches
    assert old.key == new.key
    assert (old.batch.historical, new.batch.historical) == (True, False)


@pytest.mark.parametrize("time_ns", [1, 2**63, 2**64 - 1])
def test_any_time_is_carried_as_it_is(time_ns: int) -> None:
    (part,) = run(logs(log("m", time_ns))).batches
    assert part.batch.times_ns[0] == time_ns


@pytest.mark.parametrize(
    "request_bytes", [b"", ExportLogsServiceRequest(resource_logs=[{}]).SerializeToString(), logs().SerializeToString()]
)
def test_empty_requests(request_bytes: bytes) -> None:
    assert run(request_bytes) == Decoded()


def test_request_bytes_max() -> None:
    body = logs(log()).SerializeToString()
    assert run(body, OtlpLimits(request_bytes_max=len(body))).accepted == 1
    with pytest.raises(PayloadTooLarge, match=f"{len(body) - 1} bytes"):
        run(body, OtlpLimits(request_bytes_max=len(body) - 1))


def test_records_max_is_counted_over_scopes_and_resources() -> None:
    request = logs(log(), log())
    add_logs(request, log())
    request.resource_logs[0].scope_logs.add().log_records.append(log())
    assert run(request, OtlpLimits(records_max=4)).accepted == 4
    with pytest.raises(InvalidArgument, match="more than 3 log records") as refused:
        run(request, OtlpLimits(records_max=3))
    assert refused.value.code is Code.INVALID_ARGUMENT


def test_millions_of_empty_records_are_refused_before_they_exist() -> None:
    body = message(1, message(2, b"\x12\x00" * 2_000_000))
    with pytest.raises(InvalidArgument, match="more than 100000 log records"):
        run(body)


def test_containers_max() -> None:
    with pytest.raises(InvalidArgument, match="more than 3 resources"):
        run(b"\x0a\x00" * 4, OtlpLimits(containers_max=3))
    with pytest.raises(InvalidArgument, match="more than 3 scopes"):
        run(message(1, b"\x12\x00" * 4), OtlpLimits(containers_max=3))


def test_streams_max_rejects_what_is_beyond() -> None:
    request = ExportLogsServiceRequest()
    for number in range(4):
        add_logs(request, log(str(number)), log(str(number)), resource={"service.name": f"s{number}"})
    decoded = run(request, OtlpLimits(streams_max=3))
    assert (decoded.accepted, decoded.rejected) == (6, {Reason.TOO_MANY_STREAMS: 2})


def test_instances_max_leaves_the_rest_unknown() -> None:
    request = ExportLogsServiceRequest()
    for name in ("a", "b", "c", "a"):
        add_logs(request, log(name), resource={"host.name": name})
    (part,) = run(request, OtlpLimits(instances_max=2)).batches
    assert (part.batch.instances, list(part.batch.instance_index)) == (("a", "b"), [1, 2, 0, 1])


def test_text_limits_cut_and_count() -> None:
    limits = OtlpLimits(text=CanonicalLimits(body_bytes_max=4, attributes_max=2))
    decoded = run(logs(log("ääää", attributes={"a": 1, "b": 2, "c": 3})), limits)
    assert lines(decoded) == ["ää _truncated=true a=1 b=2"]
    assert (decoded.cuts.truncated, decoded.cuts.attributes_dropped) == (1, 1)


def test_default_text_limits() -> None:
    decoded = run(logs(log("x" * 300_000, attributes={"k": "y" * 100_000, "l" * 300: "z"})))
    (line,) = lines(decoded)
    assert len(line) == 256 * 1024 + len(" _truncated=true") + len(" k=") + 64 * 1024 + len(" ") + 256 + len("=z")
    assert decoded.cuts.truncated == 3


def with_body(value: bytes) -> bytes:
    return timed(message(5, value))


@pytest.mark.parametrize("levels", [17, 48, 49, 50, 200, 5000])
def test_deep_values_are_rejected_alone(levels: int) -> None:
    decoded = run(raw_logs(timed(message(5, b"\x0a\x01a")), with_body(nested(levels)), timed(message(5, b"\x0a\x01b"))))
    assert lines(decoded) == ["a", "b"]
    assert decoded.rejected == {Reason.TOO_DEEP: 1}
    assert decoded.message == "1 log records rejected: 1 too_deep: a value is nested deeper than 16 levels"


def test_values_of_the_allowed_depth_pass() -> None:
    assert lines(run(raw_logs(with_body(nested(16))))) == ["[" * 15 + "x" + "]" * 15]


def test_a_hundred_thousand_levels_do_not_exhaust_the_stack() -> None:
    # Built inside out: each level's header stands before all that it encloses.
    sizes, size = [], 3
    for _ in range(100_000):
        sizes.append(size)
        size += 2 * (1 + len(_varint(size)))
    headers = []
    for inner in reversed(sizes):
        array_size = 1 + len(_varint(inner)) + inner
        headers.append(b"\x2a" + _varint(array_size) + b"\x0a" + _varint(inner))
    value = b"".join(headers) + b"\x0a\x01x"
    assert run(raw_logs(with_body(value))).rejected == {Reason.TOO_DEEP: 1}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def test_record_elements_max() -> None:
    attribute = b"\x32\x00"
    limits = OtlpLimits(record_elements_max=1000)
    decoded = run(raw_logs(timed(attribute * 2000), timed(attribute * 990)), limits)
    assert (decoded.accepted, decoded.rejected) == (1, {Reason.TOO_MANY_ELEMENTS: 1})
    assert decoded.cuts.attributes_dropped == 990 - OtlpLimits().text.attributes_max


def test_a_million_attributes_are_rejected_without_being_built() -> None:
    assert run(raw_logs(timed(b"\x32\x00" * 1_000_000))).rejected == {Reason.TOO_MANY_ELEMENTS: 1}


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"ok \x80 ok", b"\xf0\x9f"])
def test_text_that_is_not_utf8_is_repaired_and_counted(raw: bytes) -> None:
    body = raw_logs(timed(message(5, message(1, raw))), timed(message(5, b"\x0a\x04good")))
    decoded = run(body)
    assert lines(decoded) == [raw.decode(errors="replace"), "good"]
    assert (decoded.cuts.replaced, decoded.rejected) == (1, {})


def test_invalid_text_is_repaired_wherever_it_stands() -> None:
    attribute = message(6, message(1, b"k\xff") + message(2, message(5, message(1, message(1, b"v\xff")))))
    resource = message(1, message(1, b"service.name") + message(2, message(1, b"s\xff")))
    decoded = run(raw_logs(timed(message(3, b"I\xff") + message(5, message(1, b"m")) + attribute), resource=resource))
    assert lines(decoded) == ["I� m k�=[v�]"]
    assert decoded.batches[0].key.service == "s�"
    assert decoded.cuts.replaced == 4


def test_a_resource_that_is_too_deep_rejects_its_records_only() -> None:
    resource = message(1, message(1, b"k") + message(2, nested(60)))
    bad = raw_logs(timed(b""), timed(b""), resource=resource)
    decoded = run(bad + logs(log("good")).SerializeToString())
    assert lines(decoded) == ["good"]
    assert decoded.rejected == {Reason.TOO_DEEP: 2}


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x00\x01",
        b"\x0f",
        b"\x0c",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x0a" + b"\xff" * 9 + b"\x01",
        b"\x0b\x08\x01",
        b"\x0b\x14",
        raw_logs(b"\x2a\x7f"),
        raw_logs(b"\x09\x01"),
        raw_logs(message(5, b"\x0a\x7f")),
        raw_logs(timed(b""), resource=b"\x0a\x7f"),
    ],
)
def test_damaged_wire_refuses_the_request(damaged: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not a valid OTLP protobuf message"):
        run(damaged)


def test_unknown_fields_and_groups_are_skipped() -> None:
    group = b"\xa3\x06" + b"\x08\x01" + b"\xab\x06\xac\x06" + b"\xa4\x06"  # group 100 holding a field and group 101
    unknown = b"\xf8\x06\x01" + b"\xf9\x06" + bytes(8) + b"\xfd\x06" + bytes(4) + b"\xfa\x06\x02hi" + group
    inner = timed(unknown + message(5, message(1, b"m\xff")))
    body = unknown + message(1, unknown + message(2, unknown + message(2, inner)))
    assert lines(run(body)) == ["m�"]


def test_a_resource_behind_its_records_still_names_them() -> None:
    resource = message(1, message(1, pairs({"service.name": "late"})[0].SerializeToString()))
    body = message(1, message(2, message(2, timed(message(5, b"\x0a\x01m")))) + resource)
    assert run(body).batches[0].key.service == "late"


def test_the_redactor_sees_every_text_first() -> None:
    request = logs(
        log("password hunter2", attributes={"secret": "hunter2", "m": {"x": ["hunter2"]}}, severity_text="hunter2"),
        resource={"service.name": "a", "host.name": "host-hunter2"},
    )
    (part,) = run(request, rules=Replacing("hunter2")).batches
    assert b"hunter2" not in part.batch.text
    assert part.batch.text.count(b"***") == 4
    assert part.batch.instances == ("host-***",)


bad_records = st.sampled_from([with_body(nested(20)), with_body(nested(60)), timed(message(6, message(2, nested(17))))])


@settings(max_examples=200)
@given(st.integers(0, 30), st.lists(bad_records, max_size=8), st.integers())
def test_exactly_the_bad_records_are_rejected(good: int, bad: list[bytes], seed: int) -> None:
    texts = [f"line {number}" for number in range(good)]
    records: list[tuple[str, bytes]] = [(text, log(text).SerializeToString()) for text in texts]
    generator = random.Random(seed)
    for record in bad:
        records.insert(generator.randrange(len(records) + 1), ("", record))
    decoded = run(raw_logs(*(record for _, record in records)))
    assert lines(decoded) == texts
    assert (decoded.accepted, sum(decoded.rejected.values())) == (good, len(bad))
    assert bool(decoded.message) is bool(bad)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_no_bytes_whatever_end_in_anything_but_an_answer(noise: bytes, place: int, patch: bytes) -> None:
    whole = logs(log("m", attributes={"k": [1, {"a": "b"}]}), log({"x": 1.5})).SerializeToString()
    patched = whole[: place % len(whole)] + patch + whole[place % len(whole) + len(patch) :]
    for body in (noise, patched, whole[: place % len(whole)]):
        try:
            decoded = run(body)
        except InvalidArgument:
            continue
        assert decoded.accepted == len(lines(decoded))


@pytest.mark.parametrize(
    "name",
    [
        *("request_bytes_max", "records_max", "containers_max", "streams_max", "instances_max", "buckets_max"),
        *("operations_bytes_max", "operation_bytes_max", "stack_end_chars_max", "causes_max"),
        *("resource_bytes_trusted_max", "record_elements_max", "text_bytes_max", "message_bytes_max"),
    ],
)
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        OtlpLimits(**{name: 0})


def test_request_bytes_has_a_ceiling() -> None:
    assert OtlpLimits(request_bytes_max=64 * 1024 * 1024).request_bytes_max == 64 * 1024 * 1024
    with pytest.raises(ValueError, match="request_bytes_max"):
        OtlpLimits(request_bytes_max=64 * 1024 * 1024 + 1)
    with pytest.raises(ValueError, match="inline_bytes_max"):
        OtlpLimits(inline_bytes_max=-1)
