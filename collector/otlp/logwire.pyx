# cython: autotestdict=False, auto_pickle=False
"""Log records of an OTLP request, straight from its wire bytes to the columns of their streams.

The text of a record is what `driftlock.engine.canonical.log_text` says. No object is built for a record, and the GIL is
released once for all of them. Fields: opentelemetry-proto, logs/v1/logs.proto.
"""

from typing import NamedTuple

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen

import array

from collector.otlp.envelope import Envelope
from collector.otlp.wire import Malformed

include "protowire.pxi"
include "utf8.pxi"
include "floats.pxi"
include "canonical.pxi"
include "canonical_check.pxi"
include "canonical_values.pxi"
include "canonical_attributes.pxi"

cdef enum:
    # fields of a log record
    TIME = 1
    SEVERITY_NUMBER = 2
    SEVERITY_TEXT = 3
    BODY = 5
    ATTRIBUTES = 6
    TRACE_ID = 9
    SPAN_ID = 10
    OBSERVED_TIME = 11
    EVENT_NAME = 12

    TRACE_ID_BYTES = 16
    SPAN_ID_BYTES = 8

cdef const char** SEVERITIES = [
    b"TRACE", b"TRACE2", b"TRACE3", b"TRACE4", b"DEBUG", b"DEBUG2", b"DEBUG3", b"DEBUG4",
    b"INFO", b"INFO2", b"INFO3", b"INFO4", b"WARN", b"WARN2", b"WARN3", b"WARN4",
    b"ERROR", b"ERROR2", b"ERROR3", b"ERROR4", b"FATAL", b"FATAL2", b"FATAL3", b"FATAL4",
]

cdef struct Log:
    uint64_t time
    uint64_t observed
    int32_t severity_number
    Piece severity
    Piece event_name
    Merged body
    Piece trace_id
    Piece span_id

cdef struct Stream:
    Text text
    unsigned int* lengths
    unsigned long long* times
    unsigned int* instances
    unsigned char* trace_ids
    unsigned char* span_ids
    bint has_trace                 # any that is not zeros
    bint has_span
    Py_ssize_t count
    Py_ssize_t wire_bytes          # of the records that may become its own
    Py_ssize_t records


class LogColumns(NamedTuple):
    """The log records of one stream in the order of the request, one entry a record.

    `text` is all texts one after another, of so many bytes each as `lengths` says; `times_ns` (0 = none); `instance_index` (0 =
    unknown); ids have 16 and 8 bytes a record, zeros where it has none, and are b"" where no record of the stream has one.
    """

    text: bytes
    lengths: "array.array[int]"
    times_ns: "array.array[int]"
    instance_index: "array.array[int]"
    trace_ids: bytes
    span_ids: bytes


class LogsRead(NamedTuple):
    """Columns by stream; how many records were rejected, by `collector.otlp.reasons.READ`; how often a text was truncated, an
    attribute dropped, a string repaired (those of rejected records count, too); whether every accepted record has a time.
    """

    columns: "list[LogColumns]"
    rejected: "tuple[int, ...]"
    cuts: "tuple[int, int, int]"
    timed: bool


fill_number_tables()
fill_field_tables()


cdef int read_log(Scratch* s, Piece record, Log* log) noexcept nogil:
    """The fields of a record that `check_record` found good; its attributes become those of `s`."""
    cdef const unsigned char* at = record.at
    cdef const unsigned char* end = at + record.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    cdef Piece part
    memset(log, 0, sizeof(Log))
    merged_begin(&log.body, at)
    attributes_begin(s)
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire == LEN:
            at = piece(at, end, &part)
            if number == ATTRIBUTES:
                if attributes_add(s, part) != DONE:
                    return NO_MEMORY
            elif number == BODY:
                if merged_add(s, &log.body, part) != DONE:
                    return NO_MEMORY
            elif number == SEVERITY_TEXT:
                log.severity = part
            elif number == EVENT_NAME:
                log.event_name = part
            elif number == TRACE_ID:
                log.trace_id = part
            elif number == SPAN_ID:
                log.span_id = part
        elif wire == FIXED64 and number == TIME:
            memcpy(&log.time, at, 8)
            at += 8
        elif wire == FIXED64 and number == OBSERVED_TIME:
            memcpy(&log.observed, at, 8)
            at += 8
        elif wire == VARINT and number == SEVERITY_NUMBER:
            at = varint(at, end, 10, &value)
            log.severity_number = <int32_t><uint32_t>value
        else:
            at = skip(at, end, number, wire)
    attributes_end(s)
    return DONE


cdef int write_log(Scratch* s, Log* log, Text* out) noexcept nogil:
    """Append the text of a record."""
    cdef uint64_t before = s.cuts.truncated
    cdef Py_ssize_t size = out.size
    cdef const char* name
    cdef Any body
    cdef Piece text
    cdef int code
    if clean(s, &log.severity) != DONE or clean(s, &log.event_name) != DONE:
        return NO_MEMORY
    if log.severity.size == 0 and 1 <= log.severity_number <= SEVERITIES_COUNT:
        name = SEVERITIES[log.severity_number - 1]
        log.severity = piece_of(<const unsigned char*>name, <Py_ssize_t>strlen(name))
    if read_any_of(s, log.body.first, log.body.more, &body) != DONE or body_text(s, &body, &text) != DONE:
        return NO_MEMORY
    code = log_text(s, out, log.severity, log.event_name, text, before)
    if code == DONE:
        code = count_text(s, out.size - size)
    if code != DONE:
        out.size = size
    return code


cdef void add_id(unsigned char* to, Piece id, Py_ssize_t size, bint* any_id) noexcept nogil:
    """An id of a wrong length counts as absent, as the protocol says."""
    cdef Py_ssize_t i
    cdef unsigned char bits = 0
    if id.size != size:
        memset(to, 0, size)
        return
    memcpy(to, id.at, size)
    if not any_id[0]:
        for i in range(size):
            bits |= id.at[i]
        any_id[0] = bits != 0


cdef int read_one(Scratch* s, Piece record, Stream* stream, unsigned int instance, bint* timed) noexcept nogil:
    """A record into the columns of its stream."""
    cdef Py_ssize_t before = stream.text.size, i = stream.count
    cdef uint64_t time
    cdef Log log
    cdef int code
    scratch_reset(s)
    code = check_record(s, LOG_RECORD, record)
    if code == DONE:
        code = read_log(s, record, &log)
    if code == DONE:
        code = write_log(s, &log, &stream.text)
    if code != DONE:
        return code
    time = log.time if log.time else log.observed
    if time == 0:
        timed[0] = False
    stream.lengths[i] = <unsigned int>(stream.text.size - before)
    stream.times[i] = time
    stream.instances[i] = instance
    add_id(stream.trace_ids + TRACE_ID_BYTES * i, log.trace_id, TRACE_ID_BYTES, &stream.has_trace)
    add_id(stream.span_ids + SPAN_ID_BYTES * i, log.span_id, SPAN_ID_BYTES, &stream.has_span)
    stream.count += 1
    return DONE


cdef Py_ssize_t read_all(
    Scratch* s,
    const unsigned char* data,
    const unsigned int[::1] counts,
    const long long[::1] places,
    const int[::1] streams,
    const unsigned int[::1] instances,
    Stream* columns,
    uint64_t* rejected,
    bint* timed,
) noexcept nogil:
    """All records; -> -1, or where the one begins that is not protobuf, or -2 where there is no memory."""
    cdef Py_ssize_t resource, i, at = 0
    cdef Stream* stream
    cdef int code
    for resource in range(counts.shape[0]):
        if streams[resource] < 0:
            at += counts[resource]
            continue
        stream = &columns[streams[resource]]
        if stream.text.data == NULL and text_room(&stream.text, stream.wire_bytes) != DONE:
            return -2
        for i in range(at, at + counts[resource]):
            code = read_one(
                s, piece_of(data + places[2 * i], <Py_ssize_t>(places[2 * i + 1] - places[2 * i])), stream,
                instances[resource], timed,
            )
            if code == MALFORMED:
                return <Py_ssize_t>places[2 * i]
            if code == NO_MEMORY:
                return -2
            if code != DONE:
                rejected[code - 1] += 1
        at += counts[resource]
    return -1


cdef int survey(
    Py_ssize_t length,
    const unsigned int[::1] counts,
    const long long[::1] places,
    const int[::1] streams,
    const unsigned int[::1] instances,
    Py_ssize_t streams_count,
    Stream* columns,
) except -1:
    """How many records, of how many bytes, each stream may get. Raises ValueError for what does not belong together."""
    cdef Py_ssize_t resource, i, at = 0
    if streams.shape[0] != counts.shape[0] or instances.shape[0] != counts.shape[0]:
        raise ValueError("each resource has one stream and one instance")
    for resource in range(counts.shape[0]):
        if not -1 <= streams[resource] < streams_count:
            raise ValueError("a resource has a stream that there is not")
        if 2 * (at + counts[resource]) > places.shape[0]:
            raise ValueError("there are more records than places")
        for i in range(at, at + counts[resource]):
            if not 0 <= places[2 * i] <= places[2 * i + 1] <= length:
                raise ValueError("a log record lies outside of its request")
            if streams[resource] >= 0:
                columns[streams[resource]].wire_bytes += <Py_ssize_t>(places[2 * i + 1] - places[2 * i])
        if streams[resource] >= 0:
            columns[streams[resource]].records += counts[resource]
        at += counts[resource]
    return 0


cdef class _Columns:
    """The columns of a stream under way: what holds the memory that its `Stream` points to."""

    cdef array.array lengths, times, instances
    cdef bytes trace_ids, span_ids

    def __cinit__(self, Py_ssize_t records):
        self.lengths = array.clone(array.array("I"), records, False)
        self.times = array.clone(array.array("Q"), records, False)
        self.instances = array.clone(array.array("I"), records, False)
        self.trace_ids = PyBytes_FromStringAndSize(NULL, TRACE_ID_BYTES * records)
        self.span_ids = PyBytes_FromStringAndSize(NULL, SPAN_ID_BYTES * records)

    cdef void lend(self, Stream* stream):
        stream.lengths = self.lengths.data.as_uints
        stream.times = self.times.data.as_ulonglongs
        stream.instances = self.instances.data.as_uints
        stream.trace_ids = <unsigned char*>PyBytes_AS_STRING(self.trace_ids)
        stream.span_ids = <unsigned char*>PyBytes_AS_STRING(self.span_ids)

    cdef object columns(self, Stream* stream):
        cdef Py_ssize_t count = stream.count
        array.resize(self.lengths, count)
        array.resize(self.times, count)
        array.resize(self.instances, count)
        text = PyBytes_FromStringAndSize(<const char*>stream.text.data, stream.text.size) if stream.text.size else b""
        return LogColumns(
            text,
            self.lengths,
            self.times,
            self.instances,
            self.trace_ids[:TRACE_ID_BYTES * count] if stream.has_trace else b"",
            self.span_ids[:SPAN_ID_BYTES * count] if stream.has_span else b"",
        )


def read_logs(
    const unsigned char[::1] request,
    envelope: Envelope,
    const int[::1] streams,
    const unsigned int[::1] instances,
    Py_ssize_t streams_count,
    limits,
) -> LogsRead:
    """The log records of a request whose `envelope` was read, as columns of `streams_count` streams.

    `streams` has the number of the stream of each resource, from 0, or -1: then its records are left out, unread. `instances` has
    the number of each resource's instance in its stream, 0 = unknown. `limits` are `OtlpLimits`. A record that is over one of
    them is rejected alone; one that is not protobuf ends the request: `Malformed`. Raises ValueError for arguments that do not
    belong together, such as places outside of the request.
    """
    cdef const unsigned int[::1] counts = envelope.counts
    cdef const long long[::1] places = envelope.places
    cdef unsigned char nothing = 0
    cdef const unsigned char* data = &nothing
    cdef uint64_t[REASONS_COUNT] rejected
    cdef bint timed = True
    cdef Py_ssize_t ended = -1, i
    cdef Scratch* s = NULL
    cdef Stream* columns = NULL
    cdef list owners = []
    cdef _Columns owner
    if request.shape[0]:
        data = &request[0]
    memset(rejected, 0, sizeof(rejected))
    try:
        s = <Scratch*>calloc(1, sizeof(Scratch))
        columns = <Stream*>calloc(streams_count + 1, sizeof(Stream))
        if s == NULL or columns == NULL:
            raise MemoryError
        scratch_init(s, limits)
        survey(request.shape[0], counts, places, streams, instances, streams_count, columns)
        for i in range(streams_count):
            owner = _Columns(columns[i].records)
            owner.lend(&columns[i])
            owners.append(owner)
        with nogil:
            ended = read_all(s, data, counts, places, streams, instances, columns, rejected, &timed)
        if ended == -2:
            raise MemoryError
        if ended >= 0:
            raise Malformed(ended)
        result = []
        for i in range(streams_count):
            owner = owners[i]
            result.append(owner.columns(&columns[i]))
        return LogsRead(
            result,
            tuple([rejected[i] for i in range(REASONS_COUNT)]),
            (s.cuts.truncated, s.cuts.attributes_dropped, s.cuts.replaced),
            bool(timed),
        )
    finally:
        if columns != NULL:
            for i in range(streams_count):
                text_free(&columns[i].text)
        free(columns)
        if s != NULL:
            scratch_free(s)
        free(s)
