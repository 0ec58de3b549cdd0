"""Of the kernel in series.pyx: one series as bytes, and back. Little-endian on every machine; what is empty is left out."""

cdef enum:
    PARTS_VERSION = 3

# version, CRC-32 of everything after it
cdef object PARTS_HEAD = struct.Struct("<BI")
# times, counts, places; see `packed`
cdef object PARTS_FIRST = struct.Struct("<8Q3I4B9H")
cdef object PARTS_CALIBRATOR = struct.Struct("<4diB")


cdef bytes packed_numbers(str typecode, const void* numbers, Py_ssize_t count):
    """The bytes of a column, least significant first."""
    cdef array.array column = array.array(typecode)
    array.resize(column, count)
    if count:  # an empty array has no address
        memcpy(column.data.as_voidptr, numbers, count * column.itemsize)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


cdef int used_of(const float* numbers, int count) noexcept:
    """Numbers up to the last that is not 0."""
    while count > 0 and numbers[count - 1] == 0.0:
        count -= 1
    return count


cdef bytes packed_calibrator(const Calibrator* c, const float* bins, int count):
    cdef int used = used_of(bins, count)
    return PARTS_CALIBRATOR.pack(c.total, c.weight, c.tail, c.tail_sum, c.first, used) + packed_numbers("f", bins, used)


cdef bytes packed_slots(const float* numbers, const uint8_t* counts, int slots):
    """One column of a season: only slots that had a point."""
    cdef float found[WEEK_SLOTS]
    cdef int k, used = 0
    for k in range(slots):
        if counts[k]:
            found[used] = numbers[k]
            used += 1
    return packed_numbers("f", found, used)


cdef bytes packed_scales(const uint16_t* numbers, const uint8_t* counts, int slots):
    """The same of deviations."""
    cdef uint16_t found[WEEK_SLOTS]
    cdef int k, used = 0
    for k in range(slots):
        if counts[k]:
            found[used] = numbers[k]
            used += 1
    return packed_numbers("H", found, used)


cdef inline int running_count(const Series* s) noexcept:
    """Doubles from `prev` on."""
    return <int>(<const double*>s.gaps - &s.prev)


cdef inline int fill_of(const Series* s) noexcept:
    """Points in the window."""
    return <int>s.points if s.points < WINDOW else WINDOW


cdef bytes packed(const Series* s):
    """See `SeriesTable.parts`."""
    cdef int gaps = used_of(s.gaps, GAP_BINS), fill = fill_of(s), k
    body = b"".join([
        PARTS_FIRST.pack(
            s.last_ns, s.points, s.quiet_until, s.alarmed, s.since_ns, s.side, s.side_ns, s.flat_ns, s.run,
            s.over, s.point_minute, s.flat_told, s.day_slot, s.shape_count, gaps,
            *[s.scale_counts[k] for k in range(POINT_EXPERTS)]),
        packed_numbers("d", &s.prev, running_count(s)),
        packed_numbers("f", s.gaps, gaps),
        packed_calibrator(&s.point_code, s.point_bins, BINS),
        packed_calibrator(&s.window_code, s.window_bins, BINS),
        packed_calibrator(&s.evidence, s.evidence_bins, BINS),
        packed_calibrator(&s.spike, s.spike_bins, SHORT_BINS),
        packed_calibrator(&s.shift, s.shift_bins, SHORT_BINS),
        packed_numbers("f", s.uses, s.shape_count),
        packed_numbers("H", s.shares, s.shape_count * LEVELS),
        packed_numbers("f", s.cells, CELLS if s.cell_width > 0.0 else 0),
        packed_numbers("B", s.day_counts, DAY_SLOTS),
        packed_slots(s.day, s.day_counts, DAY_SLOTS),
        packed_scales(s.day_scale, s.day_counts, DAY_SLOTS),
        packed_numbers("B", s.week_counts, WEEK_SLOTS),
        packed_slots(s.week, s.week_counts, WEEK_SLOTS),
        packed_scales(s.week_scale, s.week_counts, WEEK_SLOTS),
        packed_slots(s.past_week, s.week_counts, WEEK_SLOTS),
        packed_numbers("d", s.values, fill),
        packed_numbers("f", s.gaps_s, fill),
        packed_numbers("h", s.ahead, fill),
        packed_numbers("H", s.reach, fill),
    ])
    return PARTS_HEAD.pack(PARTS_VERSION, zlib.crc32(body)) + body


cdef int require(bint sound) except -1:
    if not sound:
        raise ValueError("these parts are damaged; hand over what parts() gave")
    return 0


cdef Py_ssize_t unpacked_numbers(str typecode, void* numbers, Py_ssize_t count, bytes parts, Py_ssize_t at) except -1:
    """Read a column; -> where it ends. Numbers that are not finite were never stored."""
    cdef array.array column = array.array(typecode)
    cdef Py_ssize_t end = at + count * column.itemsize
    require(end <= len(parts))
    column.frombytes(parts[at:end])
    if sys.byteorder == "big":
        column.byteswap()
    require(typecode not in "df" or all(map(math.isfinite, column)))
    if count:
        memcpy(numbers, column.data.as_voidptr, count * column.itemsize)
    return end


cdef Py_ssize_t unpacked_calibrator(Calibrator* c, float* bins, int count, bytes parts, Py_ssize_t at) except -1:
    require(len(parts) >= at + PARTS_CALIBRATOR.size)
    c.total, c.weight, c.tail, c.tail_sum, c.first, used = PARTS_CALIBRATOR.unpack_from(parts, at)
    require(0 <= c.first < count and used <= count and c.weight > 0.0)
    require(all(map(math.isfinite, (c.total, c.weight, c.tail, c.tail_sum))))
    return unpacked_numbers("f", bins, used, parts, at + PARTS_CALIBRATOR.size)


cdef int slots_used(const uint8_t* counts, int slots) noexcept:
    cdef int k, used = 0
    for k in range(slots):
        used += counts[k] > 0
    return used


cdef Py_ssize_t unpacked_slots(float* numbers, const uint8_t* counts, int slots, bytes parts, Py_ssize_t at) except -1:
    cdef float found[WEEK_SLOTS]
    cdef int k, used = 0
    at = unpacked_numbers("f", found, slots_used(counts, slots), parts, at)
    for k in range(slots):
        if counts[k]:
            numbers[k] = found[used]
            used += 1
    return at


cdef Py_ssize_t unpacked_scales(uint16_t* numbers, const uint8_t* counts, int slots, bytes parts, Py_ssize_t at) except -1:
    cdef uint16_t found[WEEK_SLOTS]
    cdef int k, used = 0
    at = unpacked_numbers("H", found, slots_used(counts, slots), parts, at)
    for k in range(slots):
        if counts[k]:
            numbers[k] = found[used]
            used += 1
            require(math.isfinite(long_of(numbers[k])))
    return at


cdef int unpack(Series* s, bytes parts) except -1:
    """Fill `s`, all zero, with what `packed` gave; ValueError for anything else, whatever it would do."""
    cdef Py_ssize_t at = PARTS_HEAD.size
    cdef int fill, k
    require(len(parts) >= at + PARTS_FIRST.size)
    version, check = PARTS_HEAD.unpack_from(parts)
    if version != PARTS_VERSION:
        raise ValueError("this series was stored by another version; begin anew")
    require(zlib.crc32(parts[at:]) == check)
    (s.last_ns, s.points, s.quiet_until, s.alarmed, s.since_ns, s.side, s.side_ns, s.flat_ns, s.run, s.over,
     s.point_minute, s.flat_told, s.day_slot, s.shape_count, gaps, *counts) = PARTS_FIRST.unpack_from(parts, at)
    require(s.points > 0 and s.day_slot < DAY_SLOTS and s.shape_count <= SHAPES and gaps <= GAP_BINS)
    for k in range(POINT_EXPERTS):
        s.scale_counts[k] = counts[k]
    fill = fill_of(s)
    at = unpacked_numbers("d", &s.prev, running_count(s), parts, at + PARTS_FIRST.size)
    at = unpacked_numbers("f", s.gaps, gaps, parts, at)
    at = unpacked_calibrator(&s.point_code, s.point_bins, BINS, parts, at)
    at = unpacked_calibrator(&s.window_code, s.window_bins, BINS, parts, at)
    at = unpacked_calibrator(&s.evidence, s.evidence_bins, BINS, parts, at)
    at = unpacked_calibrator(&s.spike, s.spike_bins, SHORT_BINS, parts, at)
    at = unpacked_calibrator(&s.shift, s.shift_bins, SHORT_BINS, parts, at)
    at = unpacked_numbers("f", s.uses, s.shape_count, parts, at)
    at = unpacked_numbers("H", s.shares, s.shape_count * LEVELS, parts, at)
    at = unpacked_numbers("f", s.cells, CELLS if s.cell_width > 0.0 else 0, parts, at)
    at = unpacked_numbers("B", s.day_counts, DAY_SLOTS, parts, at)
    at = unpacked_slots(s.day, s.day_counts, DAY_SLOTS, parts, at)
    at = unpacked_scales(s.day_scale, s.day_counts, DAY_SLOTS, parts, at)
    at = unpacked_numbers("B", s.week_counts, WEEK_SLOTS, parts, at)
    at = unpacked_slots(s.week, s.week_counts, WEEK_SLOTS, parts, at)
    at = unpacked_scales(s.week_scale, s.week_counts, WEEK_SLOTS, parts, at)
    at = unpacked_slots(s.past_week, s.week_counts, WEEK_SLOTS, parts, at)
    at = unpacked_numbers("d", s.values, fill, parts, at)
    at = unpacked_numbers("f", s.gaps_s, fill, parts, at)
    at = unpacked_numbers("h", s.ahead, fill, parts, at)
    at = unpacked_numbers("H", s.reach, fill, parts, at)
    require(at == len(parts))
    for k in range(s.shape_count):
        encode(s, k)
    recount(s, fill)
    return 0
