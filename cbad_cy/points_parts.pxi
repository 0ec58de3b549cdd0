"""A series as bytes, and back: little-endian, with a hash at the end, so that damage is noticed."""

cdef bytes stored(const Number* s):
    """All of a series but its number."""
    cdef const Buckets* b = s.buckets
    pieces = [HEAD.pack(STORED_VERSION, s.kind, s.based | s.seen << 1, s.told, s.last_ns, s.start_ns, s.value, s.sum)]
    if b != NULL and (b.size or b.past):
        pieces.append(SIZES.pack(b.size, b.past, b.learned, 0))
        pieces.append(PyBytes_FromStringAndSize(<const char*>b.at, b.size * sizeof(double)))
        pieces.append(PyBytes_FromStringAndSize(<const char*>b.counts, b.size * sizeof(double)))
        pieces.append(PyBytes_FromStringAndSize(<const char*>b.past_at, b.past * sizeof(double)))
        pieces.append(PyBytes_FromStringAndSize(<const char*>b.frequency, b.past * sizeof(float)))
    cdef bytes body = b"".join(pieces)
    return body + CHECK.pack(hash_of(<const unsigned char*>body, len(body)))


cdef int parse(Number* s, const uint8_t[::1] parts) except -1:
    """Fill a series from its bytes; its buckets are the caller's to free, also after an error."""
    cdef Py_ssize_t size = parts.shape[0] - CHECK.size
    cdef int flags, kind
    if size < <Py_ssize_t>HEAD.size:
        raise ValueError(f"{parts.shape[0]} bytes are no series; hand over what parts() gave")
    if CHECK.unpack_from(parts, size)[0] != hash_of(&parts[0], size):
        raise ValueError("this series is damaged: its hash is another")
    version, kind, flags, s.told, s.last_ns, s.start_ns, s.value, s.sum = HEAD.unpack_from(parts)
    if version != STORED_VERSION:
        raise ValueError("this series was stored by another version; begin anew")
    s.kind, s.based, s.seen = kind, flags & 1, flags >> 1
    if (
        (kind > SUMMARY and kind != NONE) or flags > 3 or flags == 1 or s.told >> ROLES_COUNT or not finite(s.value)
        or (kind >= HISTOGRAM_DELTA and s.value < 0.0) or not (finite(s.sum) or s.sum != s.sum)
        or (s.sum != s.sum and not s.based) or s.start_ns > s.last_ns
    ):
        raise ValueError("this series is damaged: its numbers do not fit together")
    if size > <Py_ssize_t>HEAD.size:
        if kind != HISTOGRAM_DELTA and kind != HISTOGRAM_CUMULATIVE:
            raise ValueError("this series is damaged: it is no histogram but has buckets")
        s.buckets = <Buckets*>calloc(1, sizeof(Buckets))
        if s.buckets == NULL:
            raise MemoryError("no room for points")
        parse_buckets(s.buckets, parts[HEAD.size:size])
    return 0


cdef int parse_buckets(Buckets* b, const uint8_t[::1] parts) except -1:
    """The buckets of the point before, and those of the past."""
    cdef Py_ssize_t size = parts.shape[0], at = SIZES.size
    cdef int k, unused
    if size < at:
        raise ValueError("this series is damaged: it ends early")
    b.size, b.past, b.learned, unused = SIZES.unpack_from(parts)
    if b.size > KEPT or b.past > KEPT or b.learned >= SHAPE_POINTS or unused or not (b.size or b.past):
        raise ValueError("this series is damaged: it has too many buckets")
    if size != at + <Py_ssize_t>(2 * b.size * sizeof(double) + b.past * (sizeof(double) + sizeof(float))):
        raise ValueError("this series is damaged: its buckets do not end with it")
    if b.size:
        memcpy(b.at, &parts[at], b.size * sizeof(double))
        at += b.size * sizeof(double)
        memcpy(b.counts, &parts[at], b.size * sizeof(double))
        at += b.size * sizeof(double)
    if b.past:
        memcpy(b.past_at, &parts[at], b.past * sizeof(double))
        at += b.past * sizeof(double)
        memcpy(b.frequency, &parts[at], b.past * sizeof(float))
    cdef double known[KEPT]
    for k in range(b.past):
        known[k] = b.frequency[k]
    if (b.size and not sound(b.at, b.counts, b.size, STORED_MAX)) or (
        b.past and not sound(b.past_at, known, b.past, STORED_MAX)
    ):
        raise ValueError("this series is damaged: its buckets do not fit together")
    return 0
