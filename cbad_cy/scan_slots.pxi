"""Of the scanner in tokenize.pyx: slots as numbers, for a coder that asks how large a value is and whether it was seen."""

cdef extern from * nogil:
    """
    static inline int highest_bit(unsigned long long x) { return 63 - __builtin_clzll(x); }
    """
    int highest_bit(unsigned long long x)

cdef enum:
    SLOTS_KEPT = 16
    TEXT_BUCKET = 160
    TEXT_BYTES_TOLD = 95    # longer texts share a bucket
    FRACTION_DIGITS = 9

cdef struct Column:
    uint64_t* values        # of all lines, one line after another
    size_t used
    size_t room
    unsigned char* counts   # one a line


cdef inline int half_octave(uint64_t x) noexcept nogil:
    """1 + floor(2 log2 x) for x >= 1, exactly: the octave, and whether x exceeds its middle, sqrt 2."""
    cdef int octave = highest_bit(x)
    return 2 * octave + (x << (63 - octave) >= <uint64_t>0xB504F333F9DE6485) + 1


cdef int number_bucket(const unsigned char* s, int n) noexcept nogil:
    """The half octave of 1024 times a decimal's absolute value, rounded down; see SLOTS_MAX."""
    cdef uint64_t whole = 0, fraction = 0, scale = 1
    cdef int i = 1 if n and s[0] == c'-' else 0, last
    while i < n and s[i] != c'.':
        whole = whole * 10 + (s[i] - c'0') if whole < <uint64_t>100_000_000_000_000_000 else <uint64_t>1_000_000_000_000_000_000
        i += 1
    if whole >> 53:
        return half_octave(whole) + 20
    last = min(n, i + 1 + FRACTION_DIGITS)
    for i in range(i + 1, last):
        fraction = fraction * 10 + (s[i] - c'0')
        scale *= 10
    whole = (whole << 10) + (fraction << 10) // scale
    return half_octave(whole) if whole else 0


cdef uint64_t path_hash(const unsigned char* s, int n, int* size) noexcept nogil:
    """64 bits of a path whose digit runs are written as `#`; `size` becomes its bytes then."""
    cdef uint64_t h = 0x9E3779B97F4A7C15
    cdef int i
    size[0] = 0
    for i in range(n):
        if BYTE_CLASS[s[i]] & DIGIT:
            if i and BYTE_CLASS[s[i - 1]] & DIGIT:
                continue
            h = (h ^ c'#') * <uint64_t>0xD6E8FEB86659FD93
        else:
            h = (h ^ s[i]) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 32
        size[0] += 1
    return stirred(h)


cdef uint64_t told(const Scan* c, const Slot* value) noexcept nogil:
    """A slot as one number: its bucket in the upper 8 bits, a hash of its text in the lower 56."""
    cdef const unsigned char* s = c.s + value.start
    cdef int n = value.end - value.start, bucket
    cdef uint64_t h
    if value.kind == K_PATH:
        h = path_hash(s, n, &n)
    else:
        h = hash_of(s, n)
    if value.kind == K_NUMBER:
        bucket = number_bucket(s, n)
    else:
        bucket = TEXT_BUCKET + (n if n < TEXT_BYTES_TOLD else TEXT_BYTES_TOLD)
    return <uint64_t>bucket << 56 | h >> 8


cdef bint keep_slots(const Scan* c, Column* column, Py_ssize_t line) noexcept nogil:
    """Append what the scanned line's first slots are; -> False when memory is short."""
    cdef int count = c.slot_count if c.slot_count < SLOTS_KEPT else SLOTS_KEPT, i
    cdef void* larger
    if column.used + count > column.room:
        larger = realloc(column.values, (2 * column.room + SLOTS_KEPT) * sizeof(uint64_t))
        if larger == NULL:
            return False
        column.values = <uint64_t*>larger
        column.room = 2 * column.room + SLOTS_KEPT
    for i in range(count):
        column.values[column.used + i] = told(c, &c.slots[i])
    column.used += count
    column.counts[line] = <unsigned char>count
    return True
