# cython: autotestdict=False
"""Metrics read from the wire bytes of a request: series, canonical text and numbers, without building an object for a data point.

What the bytes of texts and identities are says `driftlock.engine.canonical`; what the numbers mean, `RecordBatch` in
`driftlock.engine.event`. Rules of the wire are those of the protobuf library: of a field that is there twice the last one counts, a
message that is there twice is merged, unknown fields are skipped. An unset or unknown temporality, which the protocol forbids, is
read as cumulative: SDKs send that unless told otherwise. A point without a recorded value, or with the NaN by which Prometheus marks
the end of a series, is `PointKind.STALE` and has no numbers.

Encoding: Protocol Buffers documentation, "Encoding". Fields: opentelemetry-proto, metrics/v1/metrics.proto. Stale: Prometheus,
model/value, StaleNaN.
"""

from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport NAN
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import array

from collector.otlp.wire import Malformed
from driftlock.engine.canonical import scope_identity
from driftlock.errors import InvalidArgument

include "protowire.pxi"
include "utf8.pxi"
include "floats.pxi"
include "canonical.pxi"
include "canonical_check.pxi"
include "canonical_values.pxi"
include "canonical_attributes.pxi"
include "blake2b.pxi"
include "point_fields.pxi"
include "point_exponential.pxi"
include "point_shapes.pxi"
include "point_series.pxi"
include "point_columns.pxi"
include "point_envelope.pxi"
include "point_reading.pxi"

fill_field_tables()

REASONS: Final = ("too_deep", "too_many_elements", "bad_id", "bad_buckets", "too_much_text")
"""Why a point is rejected, in the order of `PointsRead.rejected`."""


class MetricsEnvelope(NamedTuple):
    """Where the metrics of a request lie.

    `resources` are the Resource messages, `counts` their data points, `scopes` what tells the scope of each ScopeMetrics from others
    (`driftlock.engine.canonical.scope_identity`). `metrics` has four numbers a metric: where it begins and ends in the request, its
    resource and its scope, from 0. `replaced`: names of scopes and metrics that were no UTF-8.
    """

    resources: "list[bytes]"
    counts: "array.array[int]"
    scopes: "list[str]"
    metrics: "array.array[int]"
    replaced: int


class PointColumns(NamedTuple):
    """The points of a stream, in the order of the request, as the fields of a `RecordBatch`; columns that say nothing are empty.

    `instance_index` has an entry for each point. `series` are identities in order of first sight; the first `shown[i]` bytes of the
    UTF-8 of `series[i]` are the name that is shown.
    """

    text: bytes
    lengths: "array.array[int]"
    times_ns: "array.array[int]"
    instance_index: "array.array[int]"
    series: "list[str]"
    shown: "array.array[int]"
    series_index: "array.array[int]"
    values: "array.array[float]"
    point_kinds: bytes
    starts_ns: "array.array[int]"
    counts: "array.array[float]"
    sums: "array.array[float]"
    shape_sizes: "array.array[int]"
    shape_at: "array.array[float]"
    shape: "array.array[float]"


class PointsRead(NamedTuple):
    """All points of a request. `rejected` and `messages` (English, what was wrong with the first one) go by `REASONS`; `cuts` are
    texts truncated, attributes dropped and strings replaced; `timed`: every accepted point has a time."""

    columns: "list[PointColumns]"
    rejected: "tuple[int, ...]"
    messages: "tuple[str, ...]"
    cuts: "tuple[int, int, int]"
    timed: bool


# ---- the envelope --------------------------------------------------------------------------------------------------------

cdef bytes resource_message(Piece top):
    """The Resource of resource metrics that were walked before; its pieces joined."""
    cdef const unsigned char* at = top.at
    cdef const unsigned char* end = top.at + top.size
    cdef uint32_t number = 0, wire = 0
    cdef Piece part = piece_of(at, 0)
    cdef list parts = []
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire != LEN:
            at = skip(at, end, number, wire)
            continue
        at = piece(at, end, &part)
        if number == THE_RESOURCE and part.size:
            parts.append((<const char*>part.at)[:part.size])
    return b"".join(parts)


cdef list scope_identities(Piece* names, Py_ssize_t count, Py_ssize_t* replaced):
    """What tells scopes apart, by their names as sent."""
    cdef Py_ssize_t i
    cdef list found = []
    cdef dict known = {}
    for i in range(count):
        raw = (<const char*>names[i].at)[:names[i].size] if names[i].size else b""
        replaced[0] += not utf8_valid(names[i].at, names[i].size)
        identity = known.get(raw)
        if identity is None:
            identity = known[raw] = scope_identity(raw.decode(errors="replace"))
        found.append(identity)
    return found


cdef object envelope_error(int code, Tallies* tallies, const unsigned char* data):
    """The exception for what a walk over the envelope found."""
    what = ("resources", "scopes", "metrics", "data points")[tallies.over]
    if code == TOO_MANY:
        count_max = tallies.count_max[tallies.over]
        return InvalidArgument(f"the request holds more than {count_max} {what}; send smaller batches")
    if code == TOO_MANY_OTHERS:
        return InvalidArgument(f"a message has more than {OTHERS_MAX} fields beside its {what}; do not resend")
    return Malformed(tallies.broken - data)


def read_metrics(const unsigned char[::1] request not None, *, Py_ssize_t records_max, Py_ssize_t containers_max, limits):
    """The envelope of a request. Everything is counted before anything is allocated.

    Raises `Malformed` for what is not protobuf, and `InvalidArgument` for more than `records_max` data points or `containers_max`
    resources, scopes or metrics.
    """
    cdef unsigned char nothing = 0
    cdef Piece whole = piece_of(&nothing, 0), top
    cdef Tallies tallies
    cdef Walk tops
    cdef Piece* names = NULL
    cdef Py_ssize_t replaced = 0, name_bytes_max = limits.text.value_bytes_max + 4
    cdef array.array counts, metrics
    cdef int code
    if request.shape[0]:
        whole = piece_of(&request[0], request.shape[0])
    memset(&tallies, 0, sizeof(Tallies))
    for code in range(TALLIES):
        tallies.count_max[code] = containers_max
    tallies.count_max[TALLY_POINTS] = records_max
    with nogil:
        code = count_containers(whole, &tallies)
    if code != DONE:
        raise envelope_error(code, &tallies, whole.at)
    counts = array.array("I", bytes(4 * tallies.count[TALLY_RESOURCES]))
    metrics = array.array("q", bytes(8 * METRIC_PLACE * tallies.count[TALLY_METRICS]))
    names = <Piece*>malloc((tallies.count[TALLY_SCOPES] + 1) * sizeof(Piece))
    if names == NULL:
        raise MemoryError
    try:
        with nogil:
            code = count_points(whole, &tallies, name_bytes_max, counts.data.as_uints, metrics.data.as_longlongs, names, &replaced)
        if code != DONE:
            raise envelope_error(code, &tallies, whole.at)
        scopes = scope_identities(names, tallies.count[TALLY_SCOPES], &replaced)
    finally:
        free(names)
    resources = []
    tops = walk_of(whole, ENVELOPE_RESOURCES)
    while next_message(&tops, &top):
        resources.append(resource_message(top))
    return MetricsEnvelope(resources, counts, scopes, metrics, replaced)


# ---- points ----------------------------------------------------------------------------------------------------------

cdef array.array doubles_of(Doubles* doubles):
    cdef array.array column = array.clone(array.array("d"), doubles.size, False)
    if doubles.size:
        memcpy(column.data.as_doubles, doubles.data, doubles.size * sizeof(double))
    return column


@cython.internal
@cython.auto_pickle(False)
cdef class _Room:
    """The columns of a stream that have room for all its points."""

    cdef array.array lengths, times, instances, series_index, values, starts, counts, sums, sizes
    cdef bytes kinds

    def __cinit__(self, Py_ssize_t room):
        self.lengths = array.clone(array.array("I"), room, False)
        self.times = array.clone(array.array("Q"), room, False)
        self.instances = array.clone(array.array("I"), room, False)
        self.series_index = array.clone(array.array("I"), room, False)
        self.values = array.clone(array.array("d"), room, False)
        self.starts = array.clone(array.array("Q"), room, False)
        self.counts = array.clone(array.array("d"), room, False)
        self.sums = array.clone(array.array("d"), room, False)
        self.sizes = array.clone(array.array("I"), room, False)
        self.kinds = PyBytes_FromStringAndSize(NULL, room)

    cdef void lend(self, Columns* columns):
        columns.lengths = self.lengths.data.as_uints
        columns.times = self.times.data.as_ulonglongs
        columns.instances = self.instances.data.as_uints
        columns.series_index = self.series_index.data.as_uints
        columns.values = self.values.data.as_doubles
        columns.starts = self.starts.data.as_ulonglongs
        columns.counts = self.counts.data.as_doubles
        columns.sums = self.sums.data.as_doubles
        columns.sizes = self.sizes.data.as_uints
        columns.kinds = <unsigned char*>PyBytes_AS_STRING(self.kinds)

    cdef object point_columns(self, Columns* columns):
        """What is in them; those that say nothing are emptied."""
        cdef Py_ssize_t count = columns.count, i
        cdef Series* known
        cdef array.array shown = array.clone(array.array("I"), columns.table.count, False)
        for whole in (self.lengths, self.times, self.instances, self.series_index, self.values):
            array.resize(whole, count)
        array.resize(self.starts, count if columns.starts_told else 0)
        array.resize(self.counts, count if columns.counts_told else 0)
        array.resize(self.sums, count if columns.sums_told else 0)
        array.resize(self.sizes, count if columns.sizes_told else 0)
        series = []
        for i in range(columns.table.count):
            known = &columns.table.series[i]
            shown.data.as_uints[i] = <unsigned int>known.shown
            series.append(PyUnicode_DecodeUTF8(<const char*>columns.table.identities.data + known.begin, known.size, NULL))
        return PointColumns(
            PyBytes_FromStringAndSize(<const char*>columns.text.data, columns.text.size),
            self.lengths, self.times, self.instances, series, shown, self.series_index, self.values,
            self.kinds[:count] if columns.kinds_told else b"", self.starts, self.counts, self.sums, self.sizes,
            doubles_of(&columns.at), doubles_of(&columns.shape))


cdef tuple messages_of(Reading* reading, limits):
    """What was wrong with the first point rejected for each reason."""
    buckets = ("", f"a data point has at most {limits.buckets_max} buckets or quantiles",
               f"a histogram with {reading.fault.bounds} bounds has {reading.fault.bounds + 1} buckets, not {reading.fault.buckets}",
               "the bounds of a histogram are finite numbers that ascend",
               f"the scale of an exponential histogram is at most {SCALE_LIMIT} either way",
               "the zero threshold of an exponential histogram is a finite number from 0 on")[reading.fault.what]
    messages = (f"a value is nested deeper than {limits.text.depth_max} levels",
                f"a record has more than {limits.record_elements_max} fields and elements", "", buckets,
                f"the texts of a request have at most {limits.text_bytes_max} bytes; send smaller batches")
    return tuple([message if reading.rejected[i] else "" for i, message in enumerate(messages)])


cdef int check_places(envelope, Py_ssize_t length, array.array streams, array.array instances, Py_ssize_t streams_count) except -1:
    """Raises ValueError for an envelope of another request, or numbers of streams that are none."""
    cdef array.array metrics = envelope.metrics, counts = envelope.counts
    cdef const long long* place = metrics.data.as_longlongs
    cdef Py_ssize_t i, resources = len(counts), scopes = len(envelope.scopes)
    if metrics.typecode != "q" or counts.typecode != "I" or streams.typecode != "i" or instances.typecode != "I":
        raise ValueError("columns of other types than an envelope and its streams have")
    if len(streams) != resources or len(instances) != resources:
        raise ValueError("each resource has a stream and an instance")
    for i in range(resources):
        if not -1 <= streams.data.as_ints[i] < streams_count:
            raise ValueError("there is no such stream")
    for i in range(len(metrics) // METRIC_PLACE):
        if not 0 <= place[0] <= place[1] <= length or not 0 <= place[2] < resources or not 0 <= place[3] < scopes:
            raise ValueError("a metric lies outside of its request")
        place += METRIC_PLACE
    return 0


cdef list rooms_of(Reading* reading, array.array counts, array.array metrics, array.array streams, Py_ssize_t streams_count):
    """Columns with room for all points, one of each stream."""
    cdef Py_ssize_t i
    cdef _Room room
    cdef Py_ssize_t[::1] points = array.array("q", bytes(8 * streams_count)), sizes = array.array("q", bytes(8 * streams_count))
    cdef const long long* place = metrics.data.as_longlongs
    cdef uint64_t seed = <uint64_t>hash(b"series") ^ <uint64_t>0x9E3779B97F4A7C15  # hashes of bytes differ from process to process
    rooms = []
    for i in range(len(counts)):
        if streams.data.as_ints[i] >= 0:
            points[streams.data.as_ints[i]] += counts.data.as_uints[i]
    for i in range(len(metrics) // METRIC_PLACE):
        if streams.data.as_ints[place[2]] >= 0:
            sizes[streams.data.as_ints[place[2]]] += place[1] - place[0]
        place += METRIC_PLACE
    for i in range(streams_count):
        room = _Room(points[i])
        room.lend(&reading.streams[i])
        rooms.append(room)
        if columns_room(&reading.streams[i], points[i], sizes[i], seed):
            raise MemoryError
    return rooms


cdef int begin_reading(Reading* reading, limits, Py_ssize_t streams_count) except -1:
    cdef Py_ssize_t buckets_max = limits.buckets_max
    scratch_init(&reading.scratch, limits)
    reading.point.bounds.room_max = reading.point.buckets.room_max = buckets_max
    reading.point.positive.counts.room_max = reading.point.negative.counts.room_max = buckets_max
    reading.room.explicit.room = limits.exponential_bounds_max
    reading.name_bytes_max = limits.text.value_bytes_max + 4
    reading.timed = True
    reading.streams = <Columns*>calloc(streams_count + 1, sizeof(Columns))
    if reading.streams == NULL:
        raise MemoryError
    return 0


def read_points(const unsigned char[::1] request not None, envelope, array.array streams not None, array.array instances not None,
                Py_ssize_t streams_count, limits):
    """The data points of a request, in columns by stream; the GIL is released for all of them at once.

    `streams[r]` is the stream of resource r, from 0, -1 = its points are left out; `instances[r]` the number of its instance in that
    stream. `limits`: an `OtlpLimits`. The request may not change meanwhile. Names of scopes are taken from the envelope. Raises
    `Malformed` for what is not protobuf, and ValueError for an envelope that is not of this request.
    """
    cdef Reading reading
    cdef unsigned char nothing = 0
    cdef Piece whole = piece_of(&nothing, 0)
    cdef Piece* scopes = NULL
    cdef array.array counts = envelope.counts, metrics = envelope.metrics
    cdef Py_ssize_t metrics_count = len(metrics) // METRIC_PLACE, i
    cdef int code
    cdef bytes text
    cdef _Room room
    if request.shape[0]:
        whole = piece_of(&request[0], request.shape[0])
    check_places(envelope, whole.size, streams, instances, streams_count)
    texts = [scope.encode() for scope in envelope.scopes]
    memset(&reading, 0, sizeof(Reading))
    try:
        begin_reading(&reading, limits, streams_count)
        rooms = rooms_of(&reading, counts, metrics, streams, streams_count)
        scopes = <Piece*>malloc((len(texts) + 1) * sizeof(Piece))
        if scopes == NULL:
            raise MemoryError
        for i, text in enumerate(texts):
            scopes[i] = piece_of(<const unsigned char*>PyBytes_AS_STRING(text), len(text))
        with nogil:
            code = take_all(
                &reading, whole, metrics.data.as_longlongs, metrics_count, streams.data.as_ints, instances.data.as_uints, scopes)
        if code == NO_MEMORY:
            raise MemoryError
        if code == OTHER_ENVELOPE:
            raise ValueError("the envelope is that of another request")
        if code != DONE:
            raise Malformed(reading.broken - whole.at)
        columns = []
        for i in range(streams_count):
            room = rooms[i]
            columns.append(room.point_columns(&reading.streams[i]))
        cuts = reading.scratch.cuts
        return PointsRead(
            columns, tuple([reading.rejected[i] for i in range(REASONS_COUNT)]), messages_of(&reading, limits),
            (cuts.truncated, cuts.attributes_dropped, cuts.replaced + envelope.replaced), reading.timed)
    finally:
        free(scopes)
        reading_free(&reading, streams_count)
