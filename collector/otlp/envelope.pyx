# cython: autotestdict=False
"""The envelope of an OTLP request, read from its wire bytes without building an object for each part.

Requests of logs and traces have one shape: resources (field 1) hold a resource (1) and scopes (2), scopes hold records (2).
Everything is counted before anything is allocated: that is what keeps a request of a few megabytes from becoming millions of objects, and
reading record by record is what keeps one bad record from failing the rest. Encoding: Protocol Buffers documentation, "Encoding".
"""

from typing import NamedTuple

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import array

from collector.otlp.wire import Malformed
from driftlock.errors import InvalidArgument

include "protowire.pxi"

cdef enum:
    RESOURCES = 0                  # levels, outermost first
    SCOPES = 1
    RECORDS = 2
    OTHERS_MAX = 4096              # fields of a message beside the repeated one: OTLP defines three
    RESOURCE_FIELD = 1

cdef enum Trouble:
    NONE
    DAMAGED
    TOO_MANY
    TOO_MANY_OTHERS

cdef struct Count:
    Trouble trouble
    int level                      # where the trouble is
    const unsigned char* near
    Py_ssize_t[3] found
    Py_ssize_t[3] found_max


class Envelope(NamedTuple):
    """The parts of a request: `resources` are the wire bytes of each one's Resource message, the pieces of a repeated one joined;
    `counts` says how many records each has; `places` where those begin and end in the request, all resources one after another.
    """

    resources: "list[bytes]"
    counts: "array.array[int]"
    places: "array.array[int]"


cdef inline const unsigned char* next_in(
    const unsigned char* at, const unsigned char* end, uint32_t* number, Piece* found
) noexcept nogil:
    """The next field of a message; `number` is 0 for what has no length."""
    cdef uint32_t wire = 0
    at = tag(at, end, number, &wire)
    if at == NULL:
        return NULL
    if wire == LEN:
        return piece(at, end, found)
    at = skip(at, end, number[0], wire)
    number[0] = 0
    return at


cdef inline uint32_t field_of(int level) noexcept nogil:
    return 1 if level == RESOURCES else 2


cdef bint count_level(Count* count, Piece message, int level) noexcept nogil:
    """Count the messages one level deeper; -> whether all is well."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef uint32_t number = 0, wanted = field_of(level)
    cdef Py_ssize_t others = 0
    cdef Piece found
    count.level = level
    while at < end:
        count.near = at
        at = next_in(at, end, &number, &found)
        if at == NULL:
            count.trouble = DAMAGED
            return False
        if number == wanted:
            count.found[level] += 1
            if count.found[level] > count.found_max[level]:
                count.trouble = TOO_MANY
                return False
        else:
            others += 1
            if others > OTHERS_MAX:
                count.trouble = TOO_MANY_OTHERS
                return False
    return True


cdef bint count_all(Count* count, Piece request) noexcept nogil:
    """Count everything, level by level within each resource."""
    cdef const unsigned char* at = request.at
    cdef const unsigned char* end = request.at + request.size
    cdef const unsigned char* inner
    cdef uint32_t number = 0, inside = 0
    cdef Piece top, scope
    if not count_level(count, request, RESOURCES):
        return False
    while at < end:
        at = next_in(at, end, &number, &top)
        if number != field_of(RESOURCES):
            continue
        if not count_level(count, top, SCOPES):
            return False
        inner = top.at
        while inner < top.at + top.size:
            inner = next_in(inner, top.at + top.size, &inside, &scope)
            if inside == field_of(SCOPES) and not count_level(count, scope, RECORDS):
                return False
    return True


cdef Py_ssize_t place_records(const unsigned char* data, Piece scope, long long* places) noexcept nogil:
    """Where the records of a scope are; -> how many."""
    cdef const unsigned char* at = scope.at
    cdef const unsigned char* end = scope.at + scope.size
    cdef uint32_t number = 0
    cdef Py_ssize_t count = 0
    cdef Piece record
    while at < end:
        at = next_in(at, end, &number, &record)
        if number == field_of(RECORDS):
            places[2 * count] = record.at - data
            places[2 * count + 1] = record.at + record.size - data
            count += 1
    return count


cdef void place_all(Piece request, Piece* tops, unsigned int* counts, long long* places) noexcept nogil:
    """The messages of the resources, and where the records of each are, once everything has been counted."""
    cdef const unsigned char* at = request.at
    cdef const unsigned char* end = request.at + request.size
    cdef const unsigned char* inner
    cdef uint32_t number = 0, inside = 0
    cdef Py_ssize_t top = 0, placed = 0, begin
    cdef Piece scope
    while at < end:
        at = next_in(at, end, &number, &tops[top])
        if number != field_of(RESOURCES):
            continue
        begin = placed
        inner = tops[top].at
        while inner < tops[top].at + tops[top].size:
            inner = next_in(inner, tops[top].at + tops[top].size, &inside, &scope)
            if inside == field_of(SCOPES):
                placed += place_records(request.at, scope, places + 2 * placed)
        counts[top] = <unsigned int>(placed - begin)
        top += 1


cdef bytes resource_of(Piece top):
    """The Resource message of a resource; the pieces of a repeated one make the merged message."""
    cdef const unsigned char* at
    cdef const unsigned char* end = top.at + top.size
    cdef uint32_t number = 0
    cdef Py_ssize_t size = 0, passes
    cdef unsigned char* to = NULL
    cdef Piece part
    whole = b""
    for passes in range(2):
        at = top.at
        while at < end:
            at = next_in(at, end, &number, &part)
            if number == RESOURCE_FIELD:
                if to == NULL:
                    size += part.size
                elif part.size:
                    memcpy(to, part.at, part.size)
                    to += part.size
        if size == 0:
            break
        if to == NULL:
            whole = PyBytes_FromStringAndSize(NULL, size)
            to = <unsigned char*>PyBytes_AS_STRING(whole)
    return whole


cdef object error_of(Count* count, const unsigned char* data, str what):
    name = ("resources", "scopes", what)[count.level]
    if count.trouble == TOO_MANY:
        return InvalidArgument(f"the request holds more than {count.found_max[count.level]} {name}; send smaller batches")
    if count.trouble == TOO_MANY_OTHERS:
        return InvalidArgument(f"a message has more than {OTHERS_MAX} fields beside its {name}; do not resend")
    return Malformed(count.near - data)


def read_envelope(const unsigned char[::1] request, *, Py_ssize_t records_max, Py_ssize_t containers_max, str what) -> Envelope:
    """The resources of a request and the places of their records, which are called `what` in messages.

    Raises `Malformed` for bytes that are not protobuf, and `InvalidArgument` for more than `records_max` records, or
    `containers_max` resources or scopes. The records themselves are not looked at. The GIL is released meanwhile.
    """
    cdef unsigned char nothing = 0
    cdef Count count
    cdef Piece whole
    cdef Piece* tops
    cdef bint good
    cdef array.array counts
    cdef array.array places
    cdef Py_ssize_t i
    whole.at = &request[0] if request.shape[0] else &nothing
    whole.size = request.shape[0]
    count.trouble = NONE
    count.level = RESOURCES
    count.near = whole.at
    for i in range(3):
        count.found[i] = 0
        count.found_max[i] = records_max if i == RECORDS else containers_max
    with nogil:
        good = count_all(&count, whole)
    if not good:
        raise error_of(&count, whole.at, what)
    counts = array.clone(array.array("I"), count.found[RESOURCES], False)
    places = array.clone(array.array("q"), 2 * count.found[RECORDS], False)
    tops = <Piece*>malloc((count.found[RESOURCES] + 1) * sizeof(Piece))
    if tops == NULL:
        raise MemoryError
    try:
        with nogil:
            place_all(whole, tops, counts.data.as_uints, places.data.as_longlongs)
        return Envelope([resource_of(tops[i]) for i in range(count.found[RESOURCES])], counts, places)
    finally:
        free(tops)
