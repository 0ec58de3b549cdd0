"""OTLP/JSON to protobuf: the rules of the encoding, the grammar of JSON, and what becomes of what follows neither."""

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.otlp.jsonschema import REQUESTS, json_schema
from collector.otlp.jsonwire import Transcoder
from driftlock.engine.event import Signal
from driftlock.errors import InvalidArgument, PayloadTooLarge
from tests.collector.otlp_json import TRANSCODERS, as_json, random_message, transcode

LOGS, METRICS, TRACES = Signal.LOGS, Signal.METRICS, Signal.TRACES
RECORD_PATH = "resourceLogs[0].scopeLogs[0].logRecords[0]"


def around(record: str) -> str:
    """A request with one log record, given as text."""
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}'


def log_record(text: "str | dict[str, Any]") -> Any:
    body = text if isinstance(text, str) else json.dumps(text)
    return transcode(LOGS, around(body)).resource_logs[0].scope_logs[0].log_records[0]


def value(text: str) -> Any:
    return log_record(f'{{"body":{text}}}').body


def refused(text: "str | bytes", signal: Signal = LOGS) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        transcode(signal, text)
    assert "do not resend" in caught.value.message
    return caught.value


@given(st.sampled_from(list(Signal)), st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_what_protobuf_writes_is_read_back(signal: Signal, seed: int) -> None:
    source = random.Random(seed)
    message = random_message(REQUESTS[signal], source)
    read = transcode(signal, as_json(message, source))
    assert read.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


def complaint_of(text: bytes) -> str:
    """What is said of a request with log records; nothing if it is read."""
    try:
        TRANSCODERS[LOGS](text)
    except InvalidArgument as error:
        return error.message
    return ""


DAMAGES = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"0",
    b"-",
    b".",
    b"e",
    b" ",
    b"\n",
    b"\x00",
    b"null",
    b"\xc3",
    b"\\u12",
)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=300)
def test_damaged_text_is_judged_as_the_standard_parser_judges_it(seed: int) -> None:
    source = random.Random(seed)
    text = bytearray(as_json(random_message(REQUESTS[LOGS], source, 6), source))
    for _ in range(source.choice((1, 1, 2, 4))):
        begin = source.randrange(len(text) + 1)
        text[begin : begin + source.choice((0, 1, 1, 7))] = source.choice((b"", *DAMAGES))
    try:
        json.loads(text.decode(errors="replace"), parse_constant=lambda name: pytest.fail(name))
        valid = True
    except ValueError:
        valid = False
    complaint = complaint_of(bytes(text))
    if valid:
        assert "not valid JSON" not in complaint
        assert "the JSON ends" not in complaint
    else:
        assert complaint


# The examples of the specification in our own words: one of each signal, with everything that they show.
LOGS_EXAMPLE = """{"resourceLogs": [{
  "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
  "scopeLogs": [{
    "scope": {"name": "cart", "version": "2.1", "attributes": [{"key": "team", "value": {"stringValue": "red"}}]},
    "logRecords": [{
      "timeUnixNano": "1700000000123456789", "observedTimeUnixNano": 1700000000200000000,
      "severityNumber": 10, "severityText": "Information", "eventName": "cart.emptied",
      "traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "b7ad6b7169203331", "flags": 1,
      "body": {"kvlistValue": {"values": [{"key": "items", "value": {"intValue": "0"}}]}},
      "attributes": [
        {"key": "text", "value": {"stringValue": "some"}}, {"key": "yes", "value": {"boolValue": true}},
        {"key": "whole", "value": {"intValue": 10}}, {"key": "real", "value": {"doubleValue": 637.704}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
        {"key": "raw", "value": {"bytesValue": "AAH/"}}
      ]}]}]}]}"""
TRACES_EXAMPLE = """{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "http"}, "spans": [{
  "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "parentSpanId": "00f067aa0ba902b7",
  "name": "GET /cart", "kind": 2, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1700000000250000000,
  "events": [{"timeUnixNano": "1700000000100000000", "name": "retry", "attributes": []}],
  "links": [{"traceId": "0af7651916cd43dd8448eb211c80319d", "spanId": "b7ad6b7169203332"}],
  "status": {"code": 2, "message": "timed out"}, "droppedEventsCount": 3}]}]}]}"""
METRICS_EXAMPLE = """{"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {}, "metrics": [
  {"name": "orders", "unit": "1", "description": "Orders so far", "sum": {"aggregationTemporality": 1, "isMonotonic": true,
    "dataPoints": [{"asDouble": 5, "startTimeUnixNano": "1", "timeUnixNano": "2", "attributes": []}]}},
  {"name": "queue", "gauge": {"dataPoints": [{"asInt": "-7", "timeUnixNano": "2"}]}},
  {"name": "sizes", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": 3, "sum": 3.5,
    "bucketCounts": [1, "1", 1], "explicitBounds": [1, 2.5], "min": 1, "max": 1e1, "timeUnixNano": "2"}]}},
  {"name": "times", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [{"count": "3", "sum": 10, "scale": -1,
    "zeroCount": "1", "positive": {"offset": -3, "bucketCounts": ["0", "2"]}, "zeroThreshold": 0, "timeUnixNano": "2"}]}},
  {"name": "old", "summary": {"dataPoints": [{"count": 1, "sum": 2, "quantileValues": [{"quantile": 0.5, "value": "NaN"}]}]}}
]}]}]}"""


def test_log_records_as_in_the_examples() -> None:
    request = transcode(LOGS, LOGS_EXAMPLE)
    (record,) = request.resource_logs[0].scope_logs[0].log_records
    assert request.resource_logs[0].resource.attributes[0].value.string_value == "checkout"
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (1700000000123456789, 1700000000200000000)
    assert (record.trace_id.hex(), record.span_id.hex()) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (record.severity_number, record.severity_text, record.event_name, record.flags) == (
        10,
        "Information",
        "cart.emptied",
        1,
    )
    assert record.body.kvlist_value.values[0].value.int_value == 0
    values = {pair.key: pair.value for pair in record.attributes}
    assert (values["text"].string_value, values["yes"].bool_value, values["whole"].int_value) == ("some", True, 10)
    assert (values["real"].double_value, values["raw"].bytes_value) == (637.704, b"\x00\x01\xff")
    assert [element.string_value for element in values["list"].array_value.values] == ["a", "b"]


def test_spans_as_in_the_examples() -> None:
    (span,) = transcode(TRACES, TRACES_EXAMPLE).resource_spans[0].scope_spans[0].spans
    assert (span.parent_span_id.hex(), span.kind, span.status.code) == ("00f067aa0ba902b7", 2, 2)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert (span.events[0].name, span.links[0].span_id.hex()) == ("retry", "b7ad6b7169203332")


def test_metrics_as_in_the_examples() -> None:
    total, gauge, histogram, exponential, summary = (
        transcode(METRICS, METRICS_EXAMPLE).resource_metrics[0].scope_metrics[0].metrics
    )
    assert (total.sum.is_monotonic, total.sum.data_points[0].as_double) == (True, 5.0)
    assert gauge.gauge.data_points[0].as_int == -7
    assert list(histogram.histogram.data_points[0].bucket_counts) == [1, 1, 1]
    assert list(histogram.histogram.data_points[0].explicit_bounds) == [1.0, 2.5]
    point = exponential.exponential_histogram.data_points[0]
    assert (point.scale, point.positive.offset, list(point.positive.bucket_counts)) == (-1, -3, [0, 2])
    assert math.isnan(summary.summary.data_points[0].quantile_values[0].value)


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("text", ["{}", " {\r\n\t} ", '{"resourceLogs":null,"resourceSpans":[],"resourceMetrics":[]}'])
def test_empty_requests(signal: Signal, text: str) -> None:
    assert TRANSCODERS[signal](text.encode()) == b""


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("9223372036854775807", 2**63 - 1),
        ('"-9223372036854775808"', -(2**63)),
        ("1.0", 1),
        ("2.5e1", 25),
        ('"1E+3"', 1000),
        ("-0", 0),
        ("-0.0", 0),
        (r'"\u0031\u0032"', 12),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_whole_numbers(text: str, whole: int) -> None:
    assert value(f'{{"intValue":{text}}}').int_value == whole


@pytest.mark.parametrize("text", ["9223372036854775808", '"-9223372036854775809"', "1e19", "1" * 1500, "-1e400"])
def test_whole_numbers_out_of_range(text: str) -> None:
    assert "is out of range" in refused(around(f'{{"body":{{"intValue":{text}}}}}')).message


@pytest.mark.parametrize(
    "text", ["1.5", '"1.5"', '""', '" 1"', '"0x10"', '"12a"', "true", "[1]", "{}", "1e-3", '"NaN"', '"+1"']
)
def test_what_is_no_whole_number(text: str) -> None:
    error = refused(around(f'{{"body":{{"intValue":{text}}}}}'))
    assert f"{RECORD_PATH}.body.intValue must be a whole number, or a string of one" in error.message
    assert error.pointer == "/resourceLogs/0/scopeLogs/0/logRecords/0/body/intValue"


@pytest.mark.parametrize(
    ("name", "top"), [("timeUnixNano", 2**64 - 1), ("flags", 2**32 - 1), ("droppedAttributesCount", 2**32 - 1)]
)
def test_ranges_of_unsigned_numbers(name: str, top: int) -> None:
    assert any(number == top for _, number in log_record({name: str(top)}).ListFields())
    for wrong in (top + 1, -1):
        assert f"{RECORD_PATH}.{name} is out of range" in refused(around(f'{{"{name}":{wrong}}}')).message


@given(st.floats())
def test_doubles_are_the_nearest(number: float) -> None:
    text = json.dumps(number) if math.isfinite(number) else json.dumps(json.dumps(number).strip('"'))
    for written in {text, json.dumps(text) if math.isfinite(number) else text}:
        read = value(f'{{"doubleValue":{written}}}').double_value
        assert repr(read) == repr(number)


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?\Z"))
def test_decimals_of_all_lengths_are_the_nearest_double(text: str) -> None:
    assert repr(value(f'{{"doubleValue":{text}}}').double_value) == repr(float(text))


@pytest.mark.parametrize(
    ("text", "number"), [("1e400", math.inf), ("-1e400", -math.inf), ("1e-400", 0.0), ("1e99999999999", math.inf)]
)
def test_what_a_double_can_not_hold(text: str, number: float) -> None:
    assert value(f'{{"doubleValue":{text}}}').double_value == number


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "+1", "1e", "0x1", "--1"])
def test_what_is_no_number_of_json(text: str) -> None:
    refused(around(f'{{"body":{{"doubleValue":{text}}}}}'))
    refused(f'{{"unknown":{text}}}')


def test_a_number_of_five_thousand_digits() -> None:
    digits = "1" * 5000
    assert "more than 2048 characters" in refused(around(f'{{"timeUnixNano":{digits}}}')).message
    assert "more than 2048 characters" in refused(around(f'{{"timeUnixNano":"{digits}"}}')).message
    assert "more than 2048 characters" in refused(f'{{"unknown":{digits}}}').message


def test_enums_are_integers_known_or_not() -> None:
    assert log_record({"severityNumber": 17}).severity_number == 17
    assert log_record({"severityNumber": 99}).severity_number == 99
    for name in ("SEVERITY_NUMBER_ERROR", "17"):
        error = refused(around(json.dumps({"severityNumber": name})))
        assert "the value of the enum, not its name" in error.message


def test_ids_are_hexadecimal_in_any_case() -> None:
    record = log_record({"traceId": "0AF7651916cd43dd8448eb211c80319C", "spanId": ""})
    assert (record.trace_id.hex(), record.span_id) == ("0af7651916cd43dd8448eb211c80319c", b"")


@pytest.mark.parametrize("text", ["CvdlGRbNQ92ESOshHIAxnA==", "0af7 651916", "0xaf", "g0"])
def test_ids_in_base64_are_refused(text: str) -> None:
    assert "traceId must be a string of hexadecimal digits" in refused(around(json.dumps({"traceId": text}))).message


@pytest.mark.parametrize("digits", [1, 2, 15, 17, 30, 31, 33, 34])
def test_ids_of_a_wrong_length_stay_wrong(digits: int) -> None:
    record = log_record({"traceId": "a" * digits, "spanId": "b" * digits})
    assert len(record.trace_id) not in {0, 16}
    assert len(record.span_id) not in {0, 8}


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("", b""),
        ("AA==", b"\0"),
        ("AA", b"\0"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("AAEC", b"\0\1\2"),
        ("AAE=", b"\0\1"),
    ],
)
def test_bytes_are_base64_of_either_alphabet(text: str, raw: bytes) -> None:
    assert value(json.dumps({"bytesValue": text})).bytes_value == raw
    assert value(f'{{"bytesValue":"{text.replace("/", chr(92) + "/")}"}}').bytes_value == raw


@pytest.mark.parametrize("text", ["A", "A===", "=", "AA=", "AAA==", "A A=", "AAAAA", "A=AA", "é"])
def test_what_is_no_base64(text: str) -> None:
    assert "must be a string in base64" in refused(around(json.dumps({"body": {"bytesValue": text}}))).message


def test_names_in_snake_case_are_unknown() -> None:
    record = log_record({"severity_text": "INFO", "time_unix_nano": "x", "body": {"string_value": 5}})
    assert (record.severity_text, record.body.WhichOneof("value")) == ("", None)


def test_unknown_names_are_skipped_with_all_they_hold() -> None:
    record = log_record(
        '{"x":[[],{},{"a":[1,-2.5e3,true,false,null,"\\u00e9\\""]}],"\\u0078y":1,"severityText":"INFO","' + "n" * 500 + '":0}'
    )
    assert record.severity_text == "INFO"


def test_names_may_be_written_with_escapes() -> None:
    assert log_record('{"severity\\u0054ext":"INFO"}').severity_text == "INFO"


def test_null_is_unset() -> None:
    record = log_record('{"body":null,"severityText":null,"timeUnixNano":null,"attributes":null,"flags":null}')
    assert not record.ListFields()
    assert value('{"stringValue":null,"intValue":"1"}').int_value == 1


def test_null_in_a_list_of_messages_is_an_empty_one() -> None:
    record = log_record('{"attributes":[null],"body":{"arrayValue":{"values":[null,{"intValue":1}]}}}')
    assert len(record.attributes) == 1
    assert [each.WhichOneof("value") for each in record.body.array_value.values] == [None, "int_value"]


def test_the_last_of_equal_names_counts() -> None:
    record = log_record(
        '{"severityText":"A","attributes":[{"key":"a"},{"key":"b"}],"flags":1,"body":{"stringValue":"x"},"severityText":"B",'
        '"attributes":[{"key":"c"}],"body":{"intValue":5},"flags":null,"eventName":"kept","flags":2,"flags":null}'
    )
    assert [pair.key for pair in record.attributes] == ["c"]
    assert (record.severity_text, record.body.int_value, record.flags, record.event_name) == ("B", 5, 0, "kept")
    assert not log_record('{"attributes":[{"key":"a"}],"attributes":[]}').attributes
    request = transcode(LOGS, '{"resourceLogs":[{"schemaUrl":"a"}],"resourceLogs":[{"schemaUrl":"b"},{"schemaUrl":"c"}]}')
    assert [group.schema_url for group in request.resource_logs] == ["b", "c"]
    request = transcode(
        LOGS, '{"resourceLogs":[{"resource":{"attributes":[{"key":"a"}]},"resource":{"droppedAttributesCount":1}}]}'
    )
    assert not request.resource_logs[0].resource.attributes


def test_strings_with_escapes() -> None:
    text = r'{"stringValue":"\"\\\/\b\f\n\r\t\u0000\u00e9\u20ac\ud83d\ude00"}'
    assert value(text).string_value == '"\\/\b\f\n\r\t\0é€😀'
    assert value(json.dumps({"stringValue": "\n" * 1000})).string_value == "\n" * 1000


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (r"\ud800", b"\xff"),
        (r"a\udc00b", b"a\xffb"),
        (r"\ud800\ud800\udc00", b"\xff\xf0\x90\x80\x80"),
        (r"\ud800A", b"\xffA"),
        (r"\ud800\n", b"\xff\n"),
    ],
)
def test_half_a_surrogate_pair_is_left_to_the_decoder_as_one_bad_byte(text: str, raw: bytes) -> None:
    wire = TRANSCODERS[LOGS](around(f'{{"severityText":"{text}"}}').encode())
    assert wire.endswith(bytes([0x1A, len(raw)]) + raw)


def test_bytes_that_are_not_utf8_are_left_to_the_decoder() -> None:
    wire = TRANSCODERS[LOGS](around('{"severityText":"\u00e9"}').encode("latin-1"))
    assert wire.endswith(b"\x1a\x01\xe9")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "the JSON ends within the request"),
        (b"  ", "the JSON ends within the request"),
        (b"null", "the request must be an object"),
        (b"[]", "the request must be an object"),
        (b"{} {}", "not valid JSON"),
        (b'{"resourceLogs":[', "the JSON ends within resourceLogs"),
        (b'{"resourceLogs":[{"resource":{', "the JSON ends within resourceLogs[0].resource"),
        (b'{"resourceLogs":{}}', "resourceLogs must be a list"),
        (b'{"resourceLogs":["x"]}', "resourceLogs[0] must be an object"),
        (b'{"resourceLogs":[{"resource":[]}]}', "resourceLogs[0].resource must be an object"),
        (b'{"resourceLogs":[{"schemaUrl":1}]}', "resourceLogs[0].schemaUrl must be a string"),
        (b'{"resourceLogs":[{},]}', "resourceLogs[1] must be an object"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a" 1}', "not valid JSON"),
        (b'{"a":"\n"}', "not valid JSON"),
        (b'{"a":"\\x"}', "not valid JSON"),
        (b'{"a":"\\u12g4"}', "not valid JSON"),
        (b'{"a":tru}', "not valid JSON"),
        (b'{"a":[1}', "not valid JSON"),
        (b'{"a":{"b":1]', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "byte order mark"),
        ("{}".encode("utf-16-le"), "UTF-16"),
        ("{}".encode("utf-16-be"), "UTF-16"),
        ("{}".encode("utf-32-le"), "UTF-16"),
        (b"\x00", "UTF-16"),
    ],
)
def test_what_is_no_request(text: bytes, says: str) -> None:
    assert says in refused(text).message


def test_wrong_types_name_their_path() -> None:
    error = refused('{"resourceSpans":[{},{"scopeSpans":[{"spans":[{},{},{"status":{"code":true}}]}]}]}', TRACES)
    assert error.message.startswith("resourceSpans[1].scopeSpans[0].spans[2].status.code must be a whole number")
    assert error.pointer == "/resourceSpans/1/scopeSpans/0/spans/2/status/code"
    bounds = '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"explicitBounds":[1,null]}]}}]}]}]}'
    assert "dataPoints[0].explicitBounds[1] must be a number" in refused(bounds, METRICS).message
    yes = '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"isMonotonic":"true"}}]}]}]}'
    assert "isMonotonic must be true or false" in refused(yes, METRICS).message


def nested(levels: int) -> str:
    """A value of so many levels."""
    return '{"arrayValue":{"values":[' * (levels - 1) + '{"stringValue":"x"}' + "]}}" * (levels - 1)


def levels_of(body: Any) -> int:
    levels = 1
    while body.array_value.values:
        (body,) = body.array_value.values
        levels += 1
    return levels


@pytest.mark.parametrize(("levels", "kept"), [(1, 1), (16, 16), (17, 17), (19, 19), (40, 21), (10_000, 21)])
def test_values_are_read_a_little_deeper_than_records_may_be(levels: int, kept: int) -> None:
    assert levels_of(value(nested(levels))) == kept


def test_a_million_open_brackets_take_neither_the_stack_nor_the_memory() -> None:
    text = b"[" * 1_000_000
    refused(b'{"a":' + text)
    assert TRANSCODERS[LOGS](b'{"a":' + text + b"]" * 1_000_000 + b"}") == b""
    refused(b'{"a":' + b'{"b":[' * 500_000)


def test_a_long_path_is_shortened_in_the_message() -> None:
    body = '{"kvlistValue":{"values":[{"value":' * 16 + '{"intValue":""}' + "}]}}" * 16
    error = refused(around(f'{{"body":{body}}}'))
    assert len(error.message) < 600
    assert "..." in error.message
    assert error.message.startswith("resourceLogs[0]")
    assert error.pointer is not None
    assert error.pointer.endswith("/value/intValue")


def test_bytes_max_holds_for_what_comes_out() -> None:
    small = Transcoder(json_schema(REQUESTS[METRICS]), bytes_max=1000, depth_max=16)
    counts = '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[%s]}]}}]}]}]}'
    assert len(small((counts % ",".join("0" * 100)).encode())) < 1000
    with pytest.raises(PayloadTooLarge, match="larger than 1000 bytes as protobuf"):
        small((counts % ",".join("0" * 200)).encode())


def test_empty_objects_by_the_hundred_thousand() -> None:
    text = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + ",".join(["{}"] * 300_000) + "]}]}]}"
    assert len(TRANSCODERS[LOGS](text.encode())) < len(text)


@pytest.mark.parametrize("limits", [{"bytes_max": 0, "depth_max": 16}, {"bytes_max": 10, "depth_max": 0}])
def test_a_limit_of_zero_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Transcoder(json_schema(REQUESTS[LOGS]), **limits)


def test_only_bytes_are_read() -> None:
    with pytest.raises(TypeError):
        TRANSCODERS[LOGS]("{}")  # type: ignore[arg-type]
