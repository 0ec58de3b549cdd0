# The wire of Protocol Buffers: varints, tags, lengths, and fields that are skipped. To be included; needs libc.stdint's uint32_t and
# uint64_t. Each function gets where it begins and where its message ends, and returns the position after what it read, or NULL
# for what is not protobuf. Nothing here allocates, and nothing reads a byte at or after `end`.
#
# Strictness is that of the protobuf library (upb): a tag and a length have at most 5 bytes, a varint 10; a field has no number
# 0; an end of a group belongs to a start. Encoding: Protocol Buffers documentation, "Encoding".

cdef enum:
    VARINT = 0
    FIXED64 = 1
    LEN = 2
    START_GROUP = 3
    END_GROUP = 4
    FIXED32 = 5
    GROUP_DEPTH = 64           # groups in groups; OTLP uses none


cdef struct Piece:
    # Bytes of a request, or of what was made of it. Empty ones may point nowhere.
    const unsigned char* at
    Py_ssize_t size


cdef inline const unsigned char* varint(const unsigned char* at, const unsigned char* end, int bytes_max, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef int i
    for i in range(bytes_max):
        if at == end:
            return NULL
        result |= <uint64_t>(at[0] & 0x7F) << 7 * i
        at += 1
        if (at - 1)[0] < 0x80:
            value[0] = result
            return at
    return NULL


cdef inline const unsigned char* tag(const unsigned char* at, const unsigned char* end, uint32_t* number, uint32_t* wire) noexcept nogil:
    cdef uint64_t value = 0
    if at < end and at[0] < 0x80:
        value = at[0]
        at += 1
    else:
        at = varint(at, end, 5, &value)
    if at == NULL or value >> 32 or value >> 3 == 0:
        return NULL
    number[0] = <uint32_t>(value >> 3)
    wire[0] = <uint32_t>(value & 7)
    return at


cdef inline const unsigned char* piece(const unsigned char* at, const unsigned char* end, Piece* found) noexcept nogil:
    """A length and so many bytes."""
    cdef uint64_t size = 0
    if at < end and at[0] < 0x80:
        size = at[0]
        at += 1
    else:
        at = varint(at, end, 5, &size)
    if at == NULL or size > <uint64_t>(end - at):
        return NULL
    found.at = at
    found.size = <Py_ssize_t>size
    return at + found.size


cdef const unsigned char* skip(const unsigned char* at, const unsigned char* end, uint32_t number, uint32_t wire) noexcept nogil:
    """A field after its tag; a group with all that is in it."""
    cdef uint32_t[GROUP_DEPTH] groups
    cdef int depth = 0
    cdef uint64_t ignored = 0, inside = 0
    cdef Piece inner
    while True:
        if wire == VARINT:
            at = varint(at, end, 10, &ignored)
        elif wire == LEN:
            at = piece(at, end, &inner)
        elif wire == FIXED64:
            at = at + 8 if end - at >= 8 else NULL
        elif wire == FIXED32:
            at = at + 4 if end - at >= 4 else NULL
        elif wire == START_GROUP:
            if depth == GROUP_DEPTH:
                return NULL
            groups[depth] = number
            depth += 1
        elif wire == END_GROUP:
            if depth == 0 or groups[depth - 1] != number:
                return NULL
            depth -= 1
        else:
            return NULL
        if at == NULL or depth == 0:
            return at
        at = varint(at, end, 5, &inside)  # not `tag`: in a group that it skips the library minds no number 0
        if at == NULL or inside > <uint64_t>0xFFFFFFFF:
            return NULL
        number, wire = <uint32_t>(inside >> 3), <uint32_t>(inside & 7)
