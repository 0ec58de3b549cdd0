"""Canonical text of records: one line of meaning, one sequence of bytes, whatever door a record came through.

    log     [SEVERITY ][event_name ]body[ key=value ...]
    span    kind name status[ key=value ...][ event: name[ key=value ...] ...]
    series  metric, or metric{key=value,...} where it has attributes

Attributes are sorted by key; nested maps are flattened with dotted keys; arrays are `[a,b]`, maps inside them `{k=v}`;
bytes are lower-case hex; true, false, NaN, Infinity and -Infinity are spelled so; an empty value is the empty string.
A log that is only a string body is exactly that string, newlines included, so `{"text": s}` sent to REST and a LogRecord
with the body `s` have equal bytes. What passes a limit is cut at a character boundary and the record gets the attribute
`_truncated=true`. Everything here is pure and knows neither protobuf nor JSON: it takes plain Python values.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias, cast

from driftlock.errors import InvalidArgument

Value: TypeAlias = "bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value] | None"
Pair: TypeAlias = tuple[str, str]

TRUNCATED = "_truncated"
LABEL_BYTES_MAX = 256
IDENTITY_SEPARATOR = "\x1f"
"""Before it stands the name of a series as it is shown, after it what tells it from others of that name."""
IDENTITY_BYTES_MAX = 64
"""What stands after the name of a series is hashed where it would be longer than this."""
_LABEL_SCAN_CHARS_MAX = 1024  # composing marks makes normalisation superlinear: never normalise a megabyte
_DEPTH_CEILING = 64  # rendering recurses once a level
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = str.maketrans({char: f"\\{char}" for char in ',={}"\\'} | {IDENTITY_SEPARATOR: r"\x1f"})
_METRIC_ESCAPES = str.maketrans({char: f"\\{char}" for char in "{}\\"} | {IDENTITY_SEPARATOR: r"\x1f"})
_ESCAPED = re.compile('[{}"\\\\\x1f]')
_STRINGS = {str}
_TYPES: Mapping[type, str] = {str: "s", bool: "b", int: "i", float: "d", bytes: "x", type(None): "n"}
_NOTHING: Mapping[str, Value] = {}
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
# Control, format (bidirectional overrides among them), surrogate, line and paragraph separator.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class TooDeep(InvalidArgument):
    """A value is nested deeper than `depth_max`; the record is refused, its neighbours are not."""


@dataclass(frozen=True, slots=True)
class CanonicalLimits:
    """Limits of one record. Bytes are UTF-8; `attributes_max` counts values after flattening, in their order of arrival."""

    body_bytes_max: int = 256 * 1024
    value_bytes_max: int = 64 * 1024
    key_bytes_max: int = 256
    attributes_max: int = 128
    depth_max: int = 16

    def __post_init__(self) -> None:
        """Refuse limits that limit nothing."""
        for name in ("body_bytes_max", "value_bytes_max", "key_bytes_max", "attributes_max", "depth_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.depth_max > _DEPTH_CEILING:
            raise ValueError(f"depth_max must be at most {_DEPTH_CEILING}")


@dataclass(slots=True)
class Cuts:
    """What was lost on the way to canonical text, counted over the records it is passed to."""

    truncated: int = 0  # bodies, keys and values that were shortened
    attributes_dropped: int = 0  # attributes over attributes_max
    replaced: int = 0  # strings in which U+FFFD stands for what is not Unicode text

    def add(self, other: "Cuts") -> None:
        """Count what another has counted, too."""
        self.truncated += other.truncated
        self.attributes_dropped += other.attributes_dropped
        self.replaced += other.replaced


def severity_name(number: int) -> str:
    """Short name of an OTLP severity number (OpenTelemetry logs data model, "Displaying Severity"); "" if it has none.

    >>> severity_name(9), severity_name(18), severity_name(0)
    ('INFO', 'ERROR2', '')
    """
    if not 1 <= number <= 24:
        return ""
    name, step = _SEVERITIES[(number - 1) // 4], (number - 1) % 4
    return f"{name}{step + 1}" if step else name


def log_text(
    body: Value,
    *,
    severity: str = "",
    event_name: str = "",
    attributes: Mapping[str, Value] = _NOTHING,
    limits: CanonicalLimits,
    cuts: Cuts,
) -> str:
    """Canonical text of a log record; raises `TooDeep`.

    `severity` is the severity text, or `severity_name(number)` where the text is empty.

    >>> log_text("disk full", severity="ERROR", attributes={"b": 1, "a": {"x": True}}, limits=CanonicalLimits(), cuts=Cuts())
    'ERROR disk full a.x=true b=1'
    >>> log_text({"b": [1, "z"], "a": None}, limits=CanonicalLimits(), cuts=Cuts())
    'a= b=[1,z]'
    """
    before = cuts.truncated
    text = body if isinstance(body, str) else _body_text(body, limits, cuts)
    if 4 * len(text) > limits.body_bytes_max:
        text = cut_utf8(text, limits.body_bytes_max, cuts)
    if not severity and not event_name and not attributes and cuts.truncated == before:
        return text
    parts = [cut_utf8(part, limits.key_bytes_max, cuts) for part in (severity, event_name) if part]
    if text:
        parts.append(text)
    parts.extend(_attribute_texts(attributes, limits, cuts, before))
    return " ".join(parts)


def span_text(
    kind: str,
    name: str,
    status: str,
    attributes: Mapping[str, Value],
    events: Iterable[tuple[str, Mapping[str, Value]]],
    *,
    limits: CanonicalLimits,
    cuts: Cuts,
) -> str:
    """Canonical text of a span: no ids, no times, no durations, so that equal work gives equal bytes; raises `TooDeep`.

    >>> span_text("SERVER", "GET /a", "OK", {"x": 1}, [("retry", {"n": 2})], limits=CanonicalLimits(), cuts=Cuts())
    'SERVER GET /a OK x=1 event: retry n=2'
    """
    before = cuts.truncated
    parts = [part for part in (kind, cut_utf8(name, limits.value_bytes_max, cuts), status) if part]
    parts.extend(_attribute_texts(attributes, limits, cuts))
    size = sum(map(len, parts))
    for event_name, event_attributes in events:
        # A span may carry any number of events: the text of one record stays within the body's limit.
        if size > limits.body_bytes_max:
            cuts.truncated += 1
            break
        texts = _attribute_texts(event_attributes, limits, cuts)
        event = ["event:", cut_utf8(event_name, limits.value_bytes_max, cuts), *texts]
        size += sum(map(len, event))
        parts.extend(event)
    if cuts.truncated > before:
        parts.append(f"{TRUNCATED}=true")
    return " ".join(parts)


def series_name(metric: str, attributes: Mapping[str, Value], *, limits: CanonicalLimits, cuts: Cuts) -> str:
    r"""Canonical name of a metric series as it is shown, equal for equal attribute sets; raises `TooDeep`.

    A backslash stands before `,`, `=`, `{`, `}`, `"` and backslash in keys and values, and before braces and backslash in the
    metric's own name, so that different texts give different names. Values that differ in their type alone give one name:
    `series_identity` tells them apart.

    >>> series_name("requests", {"route": "/a", "code": 200}, limits=CanonicalLimits(), cuts=Cuts())
    'requests{code=200,route=/a}'
    >>> print(series_name("x", {"a": "1,b=2"}, limits=CanonicalLimits(), cuts=Cuts()))
    x{a=1\,b\=2}
    """
    before = cuts.truncated
    name = cut_utf8(metric, limits.value_bytes_max, cuts)
    if _ESCAPED.search(name):
        name = name.translate(_METRIC_ESCAPES)
    pairs = _attribute_pairs(attributes, limits, cuts, before)
    return f"{name}{{{_series_attributes(pairs)}}}" if pairs else name


def series_identity(of_metric: str, attributes: Mapping[str, Value]) -> str:
    r"""What follows the shown name of a series to make its identity, from `IDENTITY_SEPARATOR` on.

    `of_metric` is what tells its metric from others of that name (`bounded_identity`); of attributes that are not all
    strings their types are added, in the order of their keys. Their number and depth were checked by `series_name`.

    >>> series_identity("io.http", {"route": "/a"}), series_identity("io.http", {"route": "/a", "code": 200})
    ('\x1fio.http', '\x1fio.http\x1fis')
    """
    if set(map(type, attributes.values())) <= _STRINGS:
        return IDENTITY_SEPARATOR + of_metric
    types = "".join([_TYPES.get(type(attributes[key])) or _type_name(attributes[key]) for key in sorted(attributes)])
    return IDENTITY_SEPARATOR + bounded_identity(of_metric, types)


def scope_identity(name: str) -> str:
    """What tells an instrumentation scope from others, bounded. Its version does not: an upgrade keeps the series."""
    return bounded_identity(name.translate(_METRIC_ESCAPES))


def bounded_identity(*parts: str) -> str:
    """The parts as one text of at most `IDENTITY_BYTES_MAX` bytes, different for different parts: a longer one is hashed."""
    text = IDENTITY_SEPARATOR.join(parts)
    if len(text) <= IDENTITY_BYTES_MAX and text.isascii():
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= IDENTITY_BYTES_MAX:
        return text
    return f"~{blake2b(raw, digest_size=16).hexdigest()}"


def shown_name(identity: str) -> str:
    r"""The name of a series as it is shown, from its identity; one without more is its own.

    >>> shown_name("cpu\x1fio.host"), shown_name("cpu")
    ('cpu', 'cpu')
    """
    return identity.partition(IDENTITY_SEPARATOR)[0]


def utf8(text: str, cuts: Cuts) -> bytes:
    """UTF-8 of `text`; lone surrogates, which JSON can spell and UTF-8 can not, become U+FFFD and are counted."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        cuts.replaced += 1
        return _SURROGATE.sub("�", text).encode()


def cut_utf8(text: str, bytes_max: int, cuts: Cuts) -> str:
    """`text`, or its longest prefix of at most `bytes_max` UTF-8 bytes that ends between characters."""
    if 4 * len(text) <= bytes_max or (len(text) <= bytes_max and text.isascii()):
        return text
    # A character is at least one byte, so a longer prefix can not be needed and a huge text is never encoded whole.
    raw = text[: bytes_max + 1].encode("utf-8", "surrogatepass")
    if len(raw) <= bytes_max:
        return text
    cuts.truncated += 1
    end = bytes_max
    while end and raw[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    return raw[:end].decode("utf-8", "surrogatepass")


def label(text: str, bytes_max: int = LABEL_BYTES_MAX) -> str:
    r"""A name fit for identity: NFC, without control, format and bidirectional characters, stripped, at most `bytes_max` bytes.

    Names of services and streams come from clients; two that look alike should be alike, and none may break a terminal,
    a page or an index. A longer name keeps its head and ends in `~` and 16 hex digits of its hash, so that two
    long names stay different. The result may be empty: the caller knows its default.

    >>> label(" shop\u202e\r\n"), len(label("x" * 1000))
    ('shop', 256)
    """
    if len(text) <= bytes_max and text.isascii() and text.isprintable():
        return text.strip()
    clean = unicodedata.normalize("NFC", text[:_LABEL_SCAN_CHARS_MAX])
    clean = "".join(char for char in clean if unicodedata.category(char) not in _INVISIBLE).strip()
    raw = clean.encode()
    if len(raw) <= bytes_max and len(text) <= _LABEL_SCAN_CHARS_MAX:
        return clean
    whole = raw if len(text) <= _LABEL_SCAN_CHARS_MAX else text.encode("utf-8", "surrogatepass")
    suffix = f"~{blake2b(whole, digest_size=8).hexdigest()}"
    return cut_utf8(clean, bytes_max - len(suffix), Cuts()).rstrip() + suffix


def scalar_text(value: bool | int | float | str | bytes | None) -> str:
    """Canonical text of a value that holds no others."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _attribute_texts(
    attributes: Mapping[str, Value], limits: CanonicalLimits, cuts: Cuts, truncated_before: int | None = None
) -> list[str]:
    """Sorted `key=value` texts; see `_attribute_pairs`."""
    return [f"{key}={text}" for key, text in _attribute_pairs(attributes, limits, cuts, truncated_before)]


def _attribute_pairs(
    attributes: Mapping[str, Value], limits: CanonicalLimits, cuts: Cuts, truncated_before: int | None
) -> list[Pair]:
    """Sorted keys and values; with `truncated_before`, `_truncated=true` is added if anything was cut since."""
    pairs: list[Pair] = []
    # Lengths in characters that can not be over a limit in bytes: nearly all attributes pass without a call.
    key_chars, value_chars = limits.key_bytes_max // 4, limits.value_bytes_max // 4
    for position, (key, value) in enumerate(attributes.items()):
        if len(pairs) >= limits.attributes_max:
            cuts.attributes_dropped += len(attributes) - position
            break
        if isinstance(value, str) and len(value) <= value_chars and len(key) <= key_chars:
            pairs.append((key, value))
        else:
            _flatten(key, value, 1, pairs, limits, cuts)
    if len(pairs) > limits.attributes_max:
        cuts.attributes_dropped += len(pairs) - limits.attributes_max
        del pairs[limits.attributes_max :]
    if truncated_before is not None and cuts.truncated > truncated_before:
        pairs.append((TRUNCATED, "true"))
    pairs.sort()
    return pairs


def _series_attributes(pairs: Sequence[Pair]) -> str:
    """`key=value,...`, escaped. Nearly none has anything to escape, so that is found out at once for all of them."""
    text = ",".join([f"{key}={value}" for key, value in pairs])
    if text.count("=") == len(pairs) and text.count(",") == len(pairs) - 1 and not _ESCAPED.search(text):
        return text
    return ",".join(f"{key.translate(_ESCAPES)}={value.translate(_ESCAPES)}" for key, value in pairs)


def _type_name(value: Value) -> str:
    """The type of an attribute's value: a letter, or of what holds others how it is made up, for its text does not say."""
    if scalar := _TYPES.get(type(value)):
        return scalar
    if isinstance(value, Mapping):
        return "{" + "".join(f"{len(key)}:{_inner_type(value[key])}" for key in sorted(value)) + "}"
    return "[" + "".join(map(_inner_type, cast("Sequence[Value]", value))) + "]"


def _inner_type(value: Value) -> str:
    return f"s{len(value)}" if isinstance(value, str) else _type_name(value)


def _body_text(body: Value, limits: CanonicalLimits, cuts: Cuts) -> str:
    """Text of a body that is not a string: a map as sorted `key=value`, anything else as one value."""
    if not isinstance(body, Mapping):
        return _inline(body, 1, limits, limits.body_bytes_max)
    pairs: list[Pair] = []
    for key, value in body.items():
        _flatten(key, value, 2, pairs, limits, cuts)
    pairs.sort()
    return " ".join(f"{key}={text}" for key, text in pairs)


def _flatten(key: str, value: Value, depth: int, pairs: list[Pair], limits: CanonicalLimits, cuts: Cuts) -> None:
    """Append one pair for each leaf of `value`; an empty map is a leaf, so that its key is not lost."""
    if depth > limits.depth_max:
        raise TooDeep(f"a value is nested deeper than {limits.depth_max} levels")
    if isinstance(value, Mapping) and value:
        # Keys of every level are bounded, so that dotted ones are bounded by depth_max times as much on the way.
        prefix = cut_utf8(key, limits.key_bytes_max, cuts)
        for name, inner in value.items():
            _flatten(f"{prefix}.{name}", inner, depth + 1, pairs, limits, cuts)
        return
    text = value if isinstance(value, str) else _inline(value, depth, limits, limits.value_bytes_max)
    pairs.append((cut_utf8(key, limits.key_bytes_max, cuts), cut_utf8(text, limits.value_bytes_max, cuts)))


def _inline(value: Value, depth: int, limits: CanonicalLimits, chars_max: int) -> str:
    """Text of any value on its own. Stops soon after `chars_max` characters: the caller cuts what is longer."""
    if depth > limits.depth_max:
        raise TooDeep(f"a value is nested deeper than {limits.depth_max} levels")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}={_inline(value[key], depth + 1, limits, chars_max)}" for key in sorted(value)) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        texts: list[str] = []
        size = 0
        for element in value:
            texts.append(_inline(element, depth + 1, limits, chars_max))
            size += len(texts[-1]) + 1
            if size > chars_max:
                break
        return "[" + ",".join(texts) + "]"
    if isinstance(value, bytes):
        return value[: chars_max // 2 + 1].hex()
    return scalar_text(value)
