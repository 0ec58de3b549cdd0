"""One walk over a record's wire bytes that finds all that may be wrong with them: who reads them afterwards need not look.

The walk goes into every message that OTLP defines, as the protobuf library does, and into no other: what is in an unknown field is
not looked at. Fields: opentelemetry-proto 1.x. To be included after canonical.pxi; call `fill_field_tables()` once.
"""

cdef enum:
    # messages
    ANY_VALUE = 0
    ARRAY_VALUE = 1
    MAP_VALUE = 2
    KEY_VALUE = 3
    LOG_RECORD = 4
    SPAN_RECORD = 5
    SPAN_EVENT = 6
    SPAN_LINK = 7
    SPAN_STATUS = 8
    NUMBER_POINT = 9
    HISTOGRAM_POINT = 10
    EXPONENTIAL_POINT = 11
    SUMMARY_POINT = 12
    EXEMPLAR = 13
    BUCKETS = 14
    QUANTILE = 15
    RESOURCE = 16
    MESSAGES_COUNT = 17

    FIELDS_MAX = 32                # no field of these messages has a higher number
    # what a field of length-delimited form is
    OPAQUE_FIELD = 0               # bytes, or nothing that is known
    STRING_FIELD = 1
    PACKED_FIXED64_FIELD = 2
    PACKED_VARINT_FIELD = 3
    MESSAGE_FIELD = 4              # and from here on which message

    # Messages on the way: 3 for a level of values (array or map, key and value, value), and what is around them.
    WALK_DEPTH = 3 * DEPTH_CEILING + 8

cdef struct Level:                 # a message that another one interrupts
    const unsigned char* end
    int message
    int depth                      # in values

cdef unsigned char[MESSAGES_COUNT][FIELDS_MAX] FIELD_KINDS


cdef int fill_field_tables() except -1:
    """What the length-delimited fields of each message are; those that are not named are opaque."""
    attribute = MESSAGE_FIELD + KEY_VALUE
    exemplar = MESSAGE_FIELD + EXEMPLAR
    buckets = MESSAGE_FIELD + BUCKETS
    fields = {
        ANY_VALUE: {1: STRING_FIELD, 5: MESSAGE_FIELD + ARRAY_VALUE, 6: MESSAGE_FIELD + MAP_VALUE},
        ARRAY_VALUE: {1: MESSAGE_FIELD + ANY_VALUE},
        MAP_VALUE: {1: attribute},
        KEY_VALUE: {1: STRING_FIELD, 2: MESSAGE_FIELD + ANY_VALUE},
        LOG_RECORD: {3: STRING_FIELD, 5: MESSAGE_FIELD + ANY_VALUE, 6: attribute, 12: STRING_FIELD},
        SPAN_RECORD: {
            3: STRING_FIELD,
            5: STRING_FIELD,
            9: attribute,
            11: MESSAGE_FIELD + SPAN_EVENT,
            13: MESSAGE_FIELD + SPAN_LINK,
            15: MESSAGE_FIELD + SPAN_STATUS,
        },
        SPAN_EVENT: {2: STRING_FIELD, 3: attribute},
        SPAN_LINK: {3: STRING_FIELD, 4: attribute},
        SPAN_STATUS: {2: STRING_FIELD},
        NUMBER_POINT: {5: exemplar, 7: attribute},
        HISTOGRAM_POINT: {6: PACKED_FIXED64_FIELD, 7: PACKED_FIXED64_FIELD, 8: exemplar, 9: attribute},
        EXPONENTIAL_POINT: {1: attribute, 8: buckets, 9: buckets, 11: exemplar},
        SUMMARY_POINT: {6: MESSAGE_FIELD + QUANTILE, 7: attribute},
        EXEMPLAR: {7: attribute},
        BUCKETS: {2: PACKED_VARINT_FIELD},
        RESOURCE: {1: attribute},
    }
    memset(FIELD_KINDS, OPAQUE_FIELD, sizeof(FIELD_KINDS))
    for message, kinds in fields.items():
        for number, kind in kinds.items():
            FIELD_KINDS[<int>message][<int>number] = <int>kind
    return 0


cdef inline int quick_pair(const unsigned char* at, const unsigned char* end, Piece* key, Any* value) noexcept nogil:
    """A KeyValue as nearly all are: a key, then a value that is empty or one scalar. -> its fields, 0 = read it the long way."""
    cdef Py_ssize_t size
    cdef unsigned char first
    if end - at < 4 or at[0] != 0x0A or at[1] >= 0x80:
        return 0
    key.at = at + 2
    key.size = at[1]
    at += 2 + key.size
    if end - at < 2 or at[0] != 0x12:
        return 0
    size = at[1]
    at += 2
    if size >= 0x80:
        if at == end or at[0] >= 0x80:
            return 0
        size = (size & 0x7F) | <Py_ssize_t>at[0] << 7
        at += 1
    if end - at != size:
        return 0
    value.number = 0
    value.more = NULL
    value.piece.at = at
    value.piece.size = 0
    if size == 0:
        value.kind = ANY_NONE
        return 2
    first = at[0]
    at += 1
    if first == 0x0A:
        if at == end:
            return 0
        size = at[0]
        at += 1
        if size >= 0x80:
            if at == end or at[0] >= 0x80:
                return 0
            size = (size & 0x7F) | <Py_ssize_t>at[0] << 7
            at += 1
        if end - at != size:
            return 0
        value.kind = ANY_STRING
        value.piece.at = at
        value.piece.size = size
    elif first == 0x18 or first == 0x10:
        value.kind = ANY_INT if first == 0x18 else ANY_BOOL
        if varint(at, end, 10, &value.number) != end:
            return 0
    elif first == 0x21 and end - at == 8:
        value.kind = ANY_DOUBLE
        memcpy(&value.number, at, 8)
    else:
        return 0
    return 3


cdef inline void check_text(Scratch* s, Piece text) noexcept nogil:
    if not utf8_valid(text.at, text.size):
        s.cuts.replaced += 1
        s.dirty = True


cdef inline int quick_check(Scratch* s, Piece message, uint64_t elements) noexcept nogil:
    """The usual KeyValue, all at once: its fields; 0 = check it the long way."""
    cdef Piece key
    cdef Any value
    cdef int inside = quick_pair(message.at, message.at + message.size, &key, &value)
    if inside == 0 or elements + inside > s.limits.elements_max:
        return 0
    check_text(s, key)
    if value.kind == ANY_STRING:
        check_text(s, value.piece)
    return inside


cdef bint whole_varints(Piece packed) noexcept nogil:
    cdef const unsigned char* at = packed.at
    cdef const unsigned char* end = packed.at + packed.size
    cdef uint64_t ignored = 0
    while at != NULL and at < end:
        at = varint(at, end, 10, &ignored)
    return at != NULL


cdef int check_record(Scratch* s, int message, Piece record) noexcept nogil:
    """`DONE`, or the first of `MALFORMED`, `TOO_DEEP` and `TOO_MANY_ELEMENTS` that the wire's order shows.

    An element is a field, or an item of a packed one (of which 8 bytes count as one: at least so many are there). Strings that
    are not UTF-8 are counted, and from then on `clean` repairs them.
    """
    cdef Level[WALK_DEPTH] around
    cdef const unsigned char* at = record.at
    cdef const unsigned char* end = record.at + record.size
    cdef const unsigned char* fields = FIELD_KINDS[message]
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t elements = 0
    cdef int level = 0, depth = 0, kind, inside
    cdef Piece part
    while True:
        while at == end:
            if level == 0:
                return DONE
            level -= 1
            end = around[level].end
            message = around[level].message
            depth = around[level].depth
            fields = FIELD_KINDS[message]
        at = tag(at, end, &number, &wire)
        if at == NULL:
            return MALFORMED
        if wire != LEN:
            at = skip(at, end, number, wire)
            if at == NULL:
                return MALFORMED
            elements += 1
            if elements > s.limits.elements_max:
                return TOO_MANY_ELEMENTS
            continue
        at = piece(at, end, &part)
        if at == NULL:
            return MALFORMED
        kind = fields[number] if number < FIELDS_MAX else OPAQUE_FIELD
        elements += 1
        if kind == PACKED_FIXED64_FIELD or kind == PACKED_VARINT_FIELD:
            elements += <uint64_t>part.size // 8
        if elements > s.limits.elements_max:
            return TOO_MANY_ELEMENTS
        if kind == OPAQUE_FIELD:
            continue
        if kind == STRING_FIELD:
            check_text(s, part)
        elif kind == PACKED_FIXED64_FIELD or kind == PACKED_VARINT_FIELD:
            if not (part.size & 7 == 0 if kind == PACKED_FIXED64_FIELD else whole_varints(part)):
                return MALFORMED
        else:
            kind -= MESSAGE_FIELD
            inside = quick_check(s, part, elements) if kind == KEY_VALUE and depth < s.limits.depth_max else 0
            if inside:
                elements += inside
                continue
            # What a map holds is a level deeper, also where nothing is sent of it.
            if (kind == ANY_VALUE or kind == KEY_VALUE) and depth == s.limits.depth_max:
                return TOO_DEEP
            around[level].end = end
            around[level].message = message
            around[level].depth = depth
            level += 1
            depth += kind == ANY_VALUE
            message = kind
            fields = FIELD_KINDS[message]
            end = at
            at = part.at
