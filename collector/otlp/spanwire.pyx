# cython: autotestdict=False
"""Spans to columns and canonical texts, read from the wire bytes of a request without building an object for a span.

A span is read twice: as a text for the stream of its service, and, if it has a place in a trace, as columns for the traces of its
environment. One bad span is rejected alone; bytes that are not protobuf refuse the request.

Encoding: Protocol Buffers documentation, "Encoding". Fields: opentelemetry-proto, trace/v1/trace.proto.
"""

from typing import Final, NamedTuple

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import array

from collector.otlp.wire import Malformed

include "protowire.pxi"
include "utf8.pxi"
include "floats.pxi"
include "canonical.pxi"
include "canonical_check.pxi"
include "canonical_values.pxi"
include "canonical_attributes.pxi"
include "exceptions.pxi"
include "span_columns.pxi"
include "span_text.pxi"

fill_field_tables()

NAME_BYTES_READ: Final = NAME_READ
"""Names of operations are told apart by so many of their first bytes."""


class SpanTexts(NamedTuple):
    """Accepted spans of one stream, in the order of the request, one entry a span.

    `text` holds the canonical text of all spans one after another, `lengths` the bytes of each, `times_ns` its start (0 = none),
    `instance_index` the number of its resource's instance. `trace_ids` has 16 bytes a span, `span_ids` 8 (zeros = none), or
    b"" where no span has one.
    """

    text: bytes
    lengths: "array.array[int]"
    times_ns: "array.array[int]"
    instance_index: "array.array[int]"
    trace_ids: bytes
    span_ids: bytes


class SpanColumns(NamedTuple):
    """Accepted spans of one environment that have a place in a trace, in the order of the request, one entry a span.

    `trace_ids` has 16 bytes a span, `span_ids` and `parent_ids` 8 (zeros = a root), times are in ns, `marks` are bytes as
    `driftlock.engine.event.SpanMark` has them. `operations` are 1-based numbers into `names`, in the order of their first spans:
    number of the service, the name's first `NAME_BYTES_READ` bytes, as sent, and the kind. An operation may be there more than
    once. `resources` are the numbers of the resources that have spans here, ascending, `counts` how many each has.
    """

    trace_ids: bytes
    span_ids: bytes
    parent_ids: bytes
    starts_ns: "array.array[int]"
    durations_ns: "array.array[int]"
    marks: bytes
    operations: "array.array[int]"
    names: "list[tuple[int, bytes, int]]"
    resources: "array.array[int]"
    counts: "array.array[int]"


class SpansRead(NamedTuple):
    """What a request's spans say: `columns` by stream, `traces` by environment, how many were `rejected` by reason, what was cut.

    Reasons are numbered as in `collector.otlp.reasons.READ`; `cuts` are truncated, dropped attributes, and repaired texts.
    `timed` says that every accepted span has a start.
    """

    columns: "list[SpanTexts]"
    traces: "list[SpanColumns]"
    rejected: "tuple[int, ...]"
    cuts: "tuple[int, int, int]"
    timed: bool


cdef struct Run:
    # What was accepted of a resource.
    Py_ssize_t records
    Py_ssize_t bytes
    Py_ssize_t placed
    bint traced                # one of its spans has a trace id that is not all zeros
    bint named                 # or such a span id

cdef struct Columns:
    # Accepted spans of all streams, in the order of the request.
    unsigned int* lengths
    unsigned long long* times
    unsigned char* traces
    unsigned char* spans
    Run* runs                  # of the resources
    Places places
    Py_ssize_t count
    bint timed


cdef struct Requested:
    # What the caller says; one entry a resource.
    const long long* places    # of all spans: begin and end
    const unsigned int* counts
    const int* streams
    const unsigned int* instances
    const int* environments
    const unsigned int* services
    Py_ssize_t resources
    Py_ssize_t streams_count
    Py_ssize_t environments_count
    Py_ssize_t broken          # where a span begins that is not protobuf


cdef void release(Columns* columns) noexcept nogil:
    free(columns.lengths)
    free(columns.times)
    free(columns.traces)
    free(columns.spans)
    free(columns.runs)
    free(columns.places.traces)
    free(columns.places.spans)
    free(columns.places.parents)
    free(columns.places.marks)
    free(columns.places.starts)
    free(columns.places.durations)
    free(columns.places.operations)
    free(columns.places.names)
    free(columns.places.slots)
    free(columns.places.named_in)


cdef bint make_room(Columns* columns, size_t count, size_t resources, size_t environments) noexcept nogil:
    """Room for so many spans; -> whether there was memory. A span takes about 200 bytes, whatever is in it."""
    cdef Places* places = &columns.places
    columns.lengths = <unsigned int*>malloc((count + 1) * sizeof(unsigned int))
    columns.times = <unsigned long long*>malloc((count + 1) * 8)
    columns.traces = <unsigned char*>malloc((count + 1) * 16)
    columns.spans = <unsigned char*>malloc((count + 1) * 8)
    columns.runs = <Run*>calloc(resources + 1, sizeof(Run))
    places.traces = <unsigned char*>malloc((count + 1) * 16)
    places.spans = <unsigned char*>malloc((count + 1) * 8)
    places.parents = <unsigned char*>malloc((count + 1) * 8)
    places.marks = <unsigned char*>malloc(count + 1)
    places.starts = <unsigned long long*>malloc((count + 1) * 8)
    places.durations = <unsigned long long*>malloc((count + 1) * 8)
    places.operations = <unsigned int*>malloc((count + 1) * sizeof(unsigned int))
    places.names = <Operation*>malloc((count + 1) * sizeof(Operation))
    places.mask = 31
    while places.mask < 2 * count:
        places.mask = 2 * places.mask + 1
    places.slots = <uint32_t*>calloc(places.mask + 1, sizeof(uint32_t))
    places.named_in = <uint32_t*>calloc(environments + 1, sizeof(uint32_t))
    columns.timed = True
    return (columns.lengths != NULL and columns.times != NULL and columns.traces != NULL and columns.spans != NULL
            and columns.runs != NULL and places.traces != NULL and places.spans != NULL and places.parents != NULL
            and places.marks != NULL and places.starts != NULL and places.durations != NULL and places.operations != NULL
            and places.names != NULL and places.slots != NULL and places.named_in != NULL)


cdef inline bint put_id(unsigned char* to, Piece id, Py_ssize_t size) noexcept nogil:
    """An id that is of that size or empty; -> whether it is not all zeros."""
    if id.size == 0:
        memset(to, 0, size)
        return False
    memcpy(to, id.at, size)
    return is_id(id, size)


cdef int read_all(const unsigned char* data, Requested* asked, Columns* columns, Reading* reading) noexcept nogil:
    """All spans of the resources that have a stream; -> DONE, NO_MEMORY or MALFORMED."""
    cdef SpanFields span
    cdef Piece record
    cdef Py_ssize_t resource, i, at = 0, before
    cdef int outcome
    cdef Run* run
    for resource in range(asked.resources):
        if asked.streams[resource] < 0:
            at += asked.counts[resource]
            continue
        run = &columns.runs[resource]
        for i in range(asked.counts[resource]):
            record.at = data + asked.places[2 * at]
            record.size = <Py_ssize_t>(asked.places[2 * at + 1] - asked.places[2 * at])
            before = reading.out.size
            outcome = read_span(reading, record, &span)
            at += 1
            if outcome == MALFORMED or outcome == NO_MEMORY:
                asked.broken = <Py_ssize_t>asked.places[2 * at - 2]
                return outcome
            if outcome != DONE:
                reading.rejected[outcome - 1] += 1
                continue
            columns.lengths[columns.count] = <unsigned int>(reading.out.size - before)
            columns.times[columns.count] = span.start
            columns.timed &= span.start != 0
            run.traced |= put_id(columns.traces + 16 * columns.count, span.trace_id, 16)
            run.named |= put_id(columns.spans + 8 * columns.count, span.span_id, 8)
            run.records += 1
            run.bytes += reading.out.size - before
            run.placed += place(&columns.places, &span, asked.services[resource], <uint32_t>asked.environments[resource])
            columns.count += 1
    return DONE


# ---- from one column for all to one for each stream and environment ----------------------------------------------------------

cdef struct StreamPart:
    # What a stream gets, and where the next of it is to be put.
    Py_ssize_t records
    Py_ssize_t bytes
    bint traced
    bint named
    unsigned char* text
    unsigned int* lengths
    unsigned long long* times
    unsigned int* instances
    unsigned char* traces
    unsigned char* spans


cdef object stream_texts(StreamPart* part):
    """Columns of a stream, not yet filled."""
    text = PyBytes_FromStringAndSize(NULL, part.bytes)
    traces = PyBytes_FromStringAndSize(NULL, 16 * part.records if part.traced else 0)
    spans = PyBytes_FromStringAndSize(NULL, 8 * part.records if part.named else 0)
    cdef array.array lengths = array.clone(array.array("I"), part.records, False)
    cdef array.array times = array.clone(array.array("Q"), part.records, False)
    cdef array.array instances = array.clone(array.array("I"), part.records, False)
    part.text = <unsigned char*>PyBytes_AS_STRING(text)
    part.lengths = lengths.data.as_uints
    part.times = times.data.as_ulonglongs
    part.instances = instances.data.as_uints
    part.traces = <unsigned char*>PyBytes_AS_STRING(traces)
    part.spans = <unsigned char*>PyBytes_AS_STRING(spans)
    return SpanTexts(text, lengths, times, instances, traces, spans)


cdef list texts_by_stream(Requested* asked, Columns* columns, const unsigned char* text):
    cdef Py_ssize_t i, resource, record = 0
    cdef Run* run
    cdef StreamPart* part
    cdef StreamPart* parts = <StreamPart*>calloc(asked.streams_count + 1, sizeof(StreamPart))
    if parts == NULL:
        raise MemoryError
    try:
        for resource in range(asked.resources):
            if asked.streams[resource] >= 0:
                run = &columns.runs[resource]
                part = &parts[asked.streams[resource]]
                part.records += run.records
                part.bytes += run.bytes
                part.traced |= run.traced
                part.named |= run.named
        result = [stream_texts(&parts[i]) for i in range(asked.streams_count)]
        for resource in range(asked.resources):
            run = &columns.runs[resource]
            if run.records == 0:
                continue
            part = &parts[asked.streams[resource]]
            memcpy(part.text, text, run.bytes)
            memcpy(part.lengths, columns.lengths + record, run.records * sizeof(unsigned int))
            memcpy(part.times, columns.times + record, run.records * 8)
            for i in range(run.records):
                part.instances[i] = asked.instances[resource]
            if part.traced:
                memcpy(part.traces, columns.traces + 16 * record, 16 * run.records)
                part.traces += 16 * run.records
            if part.named:
                memcpy(part.spans, columns.spans + 8 * record, 8 * run.records)
                part.spans += 8 * run.records
            part.text += run.bytes
            part.lengths += run.records
            part.times += run.records
            part.instances += run.records
            text += run.bytes
            record += run.records
        return result
    finally:
        free(parts)


cdef struct EnvironmentPart:
    # What an environment gets, and where the next of it is to be put.
    Py_ssize_t records
    Py_ssize_t resources
    unsigned char* traces
    unsigned char* spans
    unsigned char* parents
    unsigned long long* starts
    unsigned long long* durations
    unsigned char* marks
    unsigned int* operations
    unsigned int* numbers
    unsigned int* counts


cdef object environment_columns(EnvironmentPart* part):
    """Columns of an environment, not yet filled; its names are still to come."""
    traces = PyBytes_FromStringAndSize(NULL, 16 * part.records)
    spans = PyBytes_FromStringAndSize(NULL, 8 * part.records)
    parents = PyBytes_FromStringAndSize(NULL, 8 * part.records)
    marks = PyBytes_FromStringAndSize(NULL, part.records)
    cdef array.array starts = array.clone(array.array("Q"), part.records, False)
    cdef array.array durations = array.clone(array.array("Q"), part.records, False)
    cdef array.array operations = array.clone(array.array("I"), part.records, False)
    cdef array.array numbers = array.clone(array.array("I"), part.resources, False)
    cdef array.array counts = array.clone(array.array("I"), part.resources, False)
    part.traces = <unsigned char*>PyBytes_AS_STRING(traces)
    part.spans = <unsigned char*>PyBytes_AS_STRING(spans)
    part.parents = <unsigned char*>PyBytes_AS_STRING(parents)
    part.marks = <unsigned char*>PyBytes_AS_STRING(marks)
    part.starts = starts.data.as_ulonglongs
    part.durations = durations.data.as_ulonglongs
    part.operations = operations.data.as_uints
    part.numbers = numbers.data.as_uints
    part.counts = counts.data.as_uints
    return SpanColumns(traces, spans, parents, starts, durations, marks, operations, [], numbers, counts)


cdef void copy_run(EnvironmentPart* part, Places* places, Py_ssize_t at, Py_ssize_t count, Py_ssize_t resource) noexcept nogil:
    memcpy(part.traces, places.traces + 16 * at, 16 * count)
    memcpy(part.spans, places.spans + 8 * at, 8 * count)
    memcpy(part.parents, places.parents + 8 * at, 8 * count)
    memcpy(part.starts, places.starts + at, 8 * count)
    memcpy(part.durations, places.durations + at, 8 * count)
    memcpy(part.marks, places.marks + at, count)
    memcpy(part.operations, places.operations + at, count * sizeof(unsigned int))
    part.numbers[0] = <unsigned int>resource
    part.counts[0] = <unsigned int>count
    part.traces += 16 * count
    part.spans += 8 * count
    part.parents += 8 * count
    part.starts += count
    part.durations += count
    part.marks += count
    part.operations += count
    part.numbers += 1
    part.counts += 1


cdef list columns_by_environment(Requested* asked, Columns* columns):
    cdef Py_ssize_t i, resource, at = 0
    cdef Places* places = &columns.places
    cdef Operation* name
    cdef EnvironmentPart* parts = <EnvironmentPart*>calloc(asked.environments_count + 1, sizeof(EnvironmentPart))
    if parts == NULL:
        raise MemoryError
    try:
        for resource in range(asked.resources):
            if columns.runs[resource].placed:
                parts[asked.environments[resource]].records += columns.runs[resource].placed
                parts[asked.environments[resource]].resources += 1
        result = [environment_columns(&parts[i]) for i in range(asked.environments_count)]
        for resource in range(asked.resources):
            if columns.runs[resource].placed:
                copy_run(&parts[asked.environments[resource]], places, at, columns.runs[resource].placed, resource)
                at += columns.runs[resource].placed
        names = [part.names for part in result]
        for i in range(places.named):
            name = &places.names[i]
            # the first 0 bytes of an empty name may be nowhere
            text = (<const char*>name.name.at)[:name.name.size] if name.name.size else b""
            names[name.environment].append((name.service, text, name.kind))
        return result
    finally:
        free(parts)


# ---- border --------------------------------------------------------------------------------------------------------------

cdef Py_ssize_t check(Requested* asked, Py_ssize_t length, Py_ssize_t places) except -1:
    """How many spans are to be read."""
    cdef Py_ssize_t resource, i, records = 0, wanted = 0
    for resource in range(asked.resources):
        records += asked.counts[resource]
        if asked.streams[resource] < 0:
            continue
        wanted += asked.counts[resource]
        if asked.streams[resource] >= asked.streams_count or not 0 <= asked.environments[resource] < asked.environments_count:
            raise ValueError(f"resource {resource} goes to a stream or an environment that there is not")
    if places != 2 * records:
        raise ValueError("the places are not those of so many spans")
    for i in range(records):
        if not 0 <= asked.places[2 * i] <= asked.places[2 * i + 1] <= length:
            raise ValueError("a span lies outside of its request")
    return wanted


def read_spans(
    const unsigned char[::1] request,
    envelope,
    const int[::1] streams,
    const unsigned int[::1] instances,
    Py_ssize_t streams_count,
    const int[::1] environments,
    const unsigned int[::1] services,
    Py_ssize_t environments_count,
    limits,
):
    """The spans of `envelope`, whose places are in `request`. The GIL is released once, for all of them.

    One entry a resource: `streams` is the number of its stream (-1 = its spans are left out), `instances` that of its instance in
    the stream, `environments` that of its environment, and `services` one that is equal for equal services. `limits` is an
    `OtlpLimits`.

    A span whose trace id or span id is empty or all zeros, has no place in a trace. One with a start of 0, or that ends
    before it starts, is marked as backwards and has the duration 0. A kind that is not known counts as none. Raises
    `Malformed` for what is not protobuf, and ValueError for arguments that do not fit together.
    """
    cdef const unsigned int[::1] counts = envelope.counts
    cdef const long long[::1] places = envelope.places
    cdef Requested asked
    cdef Columns columns
    cdef Reading reading
    cdef Py_ssize_t wanted
    cdef int outcome
    cdef unsigned char nothing = 0
    cdef const unsigned char* data = &nothing  # not NULL, which says that something is wrong
    if not counts.shape[0] == streams.shape[0] == instances.shape[0] == environments.shape[0] == services.shape[0]:
        raise ValueError("one entry a resource is needed")
    memset(&asked, 0, sizeof(Requested))
    memset(&columns, 0, sizeof(Columns))
    memset(&reading, 0, sizeof(Reading))
    asked.resources = counts.shape[0]
    asked.streams_count = streams_count
    asked.environments_count = environments_count
    if request.shape[0]:
        data = &request[0]
    if asked.resources:
        asked.counts, asked.streams, asked.instances = &counts[0], &streams[0], &instances[0]
        asked.environments, asked.services = &environments[0], &services[0]
    if places.shape[0]:
        asked.places = &places[0]
    wanted = check(&asked, request.shape[0], places.shape[0])
    try:
        scratch_init(&reading.scratch, limits)
        reading.stack_end_chars = min(limits.stack_end_chars_max, request.shape[0])
        reading.causes_max = min(limits.causes_max, request.shape[0])
        if not make_room(&columns, wanted, asked.resources, environments_count):
            raise MemoryError
        with nogil:
            outcome = read_all(data, &asked, &columns, &reading)
        if outcome == MALFORMED:
            raise Malformed(asked.broken)
        if outcome != DONE:
            raise MemoryError
        return SpansRead(
            texts_by_stream(&asked, &columns, reading.out.data),
            columns_by_environment(&asked, &columns),
            tuple([reading.rejected[reason] for reason in range(REASONS_COUNT)]),
            (reading.scratch.cuts.truncated, reading.scratch.cuts.attributes_dropped, reading.scratch.cuts.replaced),
            columns.timed,
        )
    finally:
        release(&columns)
        scratch_free(&reading.scratch)
        text_free(&reading.out)
        free(reading.attributes.at)
        free(reading.events.at)
