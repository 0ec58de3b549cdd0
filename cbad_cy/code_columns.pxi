"""Of the coder in codelength.pyx: columns from outside and stored bytes, checked before they are used."""

cdef int check(
    const unsigned char[::1] text, const unsigned int[::1] lengths, const unsigned long long[::1] slots,
    const unsigned char[::1] slot_counts,
) except -1:
    cdef Py_ssize_t i, total = 0, values = 0
    if slot_counts.shape[0] != lengths.shape[0]:
        raise ValueError(f"{lengths.shape[0]} lines but {slot_counts.shape[0]} slot counts; give one for each line")
    for i in range(lengths.shape[0]):
        total += lengths[i]
        values += slot_counts[i]
        if lengths[i] > <unsigned int>LINE_BYTES_MAX:
            raise ValueError(f"line of {lengths[i]} bytes is over LINE_BYTES_MAX = {LINE_BYTES_MAX}; cut it first")
    if total != text.shape[0]:
        raise ValueError(f"lengths add up to {total} bytes but the text has {text.shape[0]}; give one length for each line")
    if values != slots.shape[0]:
        raise ValueError(f"slot counts add up to {values} but there are {slots.shape[0]} slots")
    return 0


cdef inline const unsigned char* start_of(const unsigned char[::1] text) noexcept:
    return &text[0] if text.shape[0] else <const unsigned char*>b""


cdef inline const uint64_t* slots_of(const unsigned long long[::1] slots) noexcept:
    return <const uint64_t*>&slots[0] if slots.shape[0] else NULL


cdef inline uint32_t spread(const unsigned char[::1] s, Py_ssize_t at, Py_ssize_t apart, int count) noexcept:
    """The number whose bytes, least significant first, are so far apart."""
    cdef uint32_t found = 0
    cdef int i
    for i in range(count):
        found |= <uint32_t>s[at + i * apart] << 8 * i
    return found


cdef inline uint32_t first_of(uint32_t number, uint32_t buckets) noexcept:
    """The smallest hash that belongs into a bucket."""
    return <uint32_t>(((<uint64_t>number << 32) + buckets - 1) // buckets)


cdef bint sound(const Bucket* b, int i, uint32_t number, uint32_t buckets) noexcept:
    """Whether cell i is one that a coder could have put there, after those before it."""
    return (
        b.hash[i] != 0 and b.count[i] != 0 and <uint64_t>b.hash[i] * buckets >> 32 == number and place(b, b.hash[i]) == i
        and (b.distinct[i] <= b.count[i] or b.distinct[i] == CLOSED or b.distinct[i] == KNOWN)
    )


cdef bytes little(numbers):
    """The bytes of a column, least significant first."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
