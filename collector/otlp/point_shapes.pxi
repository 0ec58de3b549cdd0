# Histograms and summaries: whether their buckets can be, their canonical text, and their shape as numbers.

cdef enum:
    SCALE_LIMIT = 64           # base 2**(2**-64) and 2**(2**64) are both beyond any double
    NO_RECORDED_VALUE = 1      # a flag

    TOO_MANY_BUCKETS = 1       # what is wrong with buckets
    UNEQUAL_BUCKETS = 2
    BAD_BOUNDS = 3
    BAD_SCALE = 4
    BAD_THRESHOLD = 5

cdef struct Doubles:
    double* data
    Py_ssize_t size
    Py_ssize_t capacity

cdef struct Rebucketing:
    # What an exponential histogram needs on its way to explicit bounds.
    Side positive
    Side negative
    Py_ssize_t room            # of either side
    Explicit explicit

cdef struct Shape:
    # Upper bounds with the observations in each bucket, or quantiles with their values, of the point under way.
    Doubles at
    Doubles counts

cdef struct Fault:
    int what
    Py_ssize_t bounds
    Py_ssize_t buckets

cdef struct Line:
    # The text of a point, which is not made longer than it may be.
    Text* text
    Py_ssize_t begin
    Py_ssize_t bytes_max


cdef int doubles_room(Doubles* doubles, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t capacity = doubles.capacity + doubles.capacity // 2
    cdef void* grown
    if doubles.capacity - doubles.size >= more:
        return DONE
    if capacity < doubles.size + more:
        capacity = doubles.size + more
    grown = realloc(doubles.data, capacity * sizeof(double))
    if grown == NULL:
        return NO_MEMORY
    doubles.data = <double*>grown
    doubles.capacity = capacity
    return DONE


cdef int doubles_put(Doubles* doubles, const double* numbers, Py_ssize_t count) noexcept nogil:
    if count == 0:
        return DONE
    if doubles_room(doubles, count):
        return NO_MEMORY
    memcpy(doubles.data + doubles.size, numbers, count * sizeof(double))
    doubles.size += count
    return DONE


# ---- text ----------------------------------------------------------------------------------------------------------------

cdef inline bint line_full(Line* line) noexcept nogil:
    """Whether what comes would be cut off anyhow."""
    return line.text.size - line.begin > line.bytes_max


cdef int line_put(Line* line, const char* words, Py_ssize_t size) noexcept nogil:
    return DONE if line_full(line) else text_put(line.text, <const unsigned char*>words, size)


cdef inline int line_unsigned(Line* line, uint64_t number) noexcept nogil:
    if text_room(line.text, NUMBER_BYTES):
        return NO_MEMORY
    line.text.size += unsigned_text(number, line.text.data + line.text.size)
    return DONE


cdef inline int line_signed(Line* line, int64_t number) noexcept nogil:
    if text_room(line.text, NUMBER_BYTES):
        return NO_MEMORY
    line.text.size += signed_text(number, line.text.data + line.text.size)
    return DONE


cdef inline int line_double(Line* line, double number) noexcept nogil:
    if text_room(line.text, NUMBER_BYTES):
        return NO_MEMORY
    line.text.size += double_text(number, line.text.data + line.text.size)
    return DONE


cdef int line_counts(Line* line, const uint64_t* counts, Py_ssize_t count) noexcept nogil:
    """`[1,2]`."""
    cdef Py_ssize_t i
    if line_put(line, b"[", 1):
        return NO_MEMORY
    for i in range(count):
        if line_full(line):
            return DONE
        if (i and text_byte(line.text, c",")) or line_unsigned(line, counts[i]):
            return NO_MEMORY
    return line_put(line, b"]", 1)


cdef int line_bounds(Line* line, const uint64_t* bounds, Py_ssize_t count) noexcept nogil:
    """`[0.5,1.0]`."""
    cdef Py_ssize_t i
    if line_put(line, b"[", 1):
        return NO_MEMORY
    for i in range(count):
        if line_full(line):
            return DONE
        if (i and text_byte(line.text, c",")) or line_double(line, as_double(bounds[i])):
            return NO_MEMORY
    return line_put(line, b"]", 1)


cdef int line_totals(Line* line, PointRead* point) noexcept nogil:
    """Count, and of sum, min and max those that are given."""
    if line_put(line, b"count=", 6) or line_unsigned(line, point.words[AT_COUNT]):
        return NO_MEMORY
    if has(point, AT_SUM) and (line_put(line, b" sum=", 5) or line_double(line, point_double(point, AT_SUM))):
        return NO_MEMORY
    if has(point, AT_MIN) and (line_put(line, b" min=", 5) or line_double(line, point_double(point, AT_MIN))):
        return NO_MEMORY
    if has(point, AT_MAX) and (line_put(line, b" max=", 5) or line_double(line, point_double(point, AT_MAX))):
        return NO_MEMORY
    return DONE


cdef int histogram_line(Line* line, PointRead* point) noexcept nogil:
    if line_totals(line, point) or line_put(line, b" bounds=", 8):
        return NO_MEMORY
    if line_bounds(line, point.bounds.words, point.bounds.count) or line_put(line, b" buckets=", 9):
        return NO_MEMORY
    return line_counts(line, point.buckets.words, point.buckets.count)


cdef int side_line(Line* line, const char* name, PointSide* side) noexcept nogil:
    """` positive=-3:[1,2]`; nothing for a side without buckets."""
    if side.counts.count == 0:
        return DONE
    if line_put(line, name, 10) or line_signed(line, side.offset) or line_put(line, b":", 1):
        return NO_MEMORY
    return line_counts(line, side.counts.words, side.counts.count)


cdef int exponential_line(Line* line, PointRead* point) noexcept nogil:
    if line_totals(line, point) or line_put(line, b" scale=", 7) or line_signed(line, unzigzag(point.words[AT_SCALE])):
        return NO_MEMORY
    if line_put(line, b" zero_count=", 12) or line_unsigned(line, point.words[AT_ZERO_COUNT]):
        return NO_MEMORY
    if side_line(line, b" positive=", &point.positive):
        return NO_MEMORY
    return side_line(line, b" negative=", &point.negative)


cdef int summary_line(Line* line, PointRead* point) noexcept nogil:
    cdef Py_ssize_t i
    if line_put(line, b"count=", 6) or line_unsigned(line, point.words[AT_COUNT]):
        return NO_MEMORY
    if line_put(line, b" sum=", 5) or line_double(line, point_double(point, AT_SUM)) or line_put(line, b" quantiles=[", 12):
        return NO_MEMORY
    for i in range(point.bounds.count):
        if line_full(line):
            return DONE
        if i and text_byte(line.text, c","):
            return NO_MEMORY
        if line_double(line, as_double(point.bounds.words[i])) or text_byte(line.text, c":"):
            return NO_MEMORY
        if line_double(line, as_double(point.buckets.words[i])):
            return NO_MEMORY
    return line_put(line, b"]", 1)


# ---- numbers -------------------------------------------------------------------------------------------------------------

cdef int bad(Fault* fault, int what, PointRead* point) noexcept nogil:
    fault.what = what
    fault.bounds = point.bounds.count
    fault.buckets = point.buckets.count
    return BAD_BUCKETS


cdef int histogram_shape(PointRead* point, Shape* shape, Fault* fault) noexcept nogil:
    """Bounds with +inf at their end, for some senders write it out; `BAD_BUCKETS` where they do not ascend."""
    cdef Py_ssize_t bounds = point.bounds.count, buckets = point.buckets.count, i
    cdef double* at
    cdef double* counts
    if bounds > point.bounds.room_max or buckets > point.buckets.room_max:
        return bad(fault, TOO_MANY_BUCKETS, point)
    if buckets == 0 and bounds == 0:
        return DONE
    if buckets != bounds + 1:
        return bad(fault, UNEQUAL_BUCKETS, point)
    if doubles_room(&shape.at, buckets) or doubles_room(&shape.counts, buckets):
        return NO_MEMORY
    at = shape.at.data
    counts = shape.counts.data
    if bounds:
        memcpy(at, point.bounds.words, bounds * sizeof(double))
    at[bounds] = ENDLESS
    for i in range(buckets):
        counts[i] = <double>point.buckets.words[i]
    if bounds and at[bounds - 1] == ENDLESS:
        counts[bounds - 1] += counts[bounds]
        bounds -= 1
    if at[0] == -ENDLESS:
        return bad(fault, BAD_BOUNDS, point)
    for i in range(bounds):
        if not at[i] < at[i + 1]:
            return bad(fault, BAD_BOUNDS, point)
    shape.at.size = shape.counts.size = bounds + 1
    return DONE


cdef int summary_shape(PointRead* point, Shape* shape, Fault* fault) noexcept nogil:
    """Quantiles with their values, as sent."""
    if point.bounds.count > point.bounds.room_max:
        return bad(fault, TOO_MANY_BUCKETS, point)
    if doubles_put(&shape.at, <const double*>point.bounds.words, point.bounds.count):
        return NO_MEMORY
    return doubles_put(&shape.counts, <const double*>point.buckets.words, point.buckets.count)


cdef int rebucketing_room(Rebucketing* room, Py_ssize_t buckets) noexcept nogil:
    """Room for so many buckets on either side."""
    cdef void* grown
    if buckets > room.room:
        if buckets < 2 * room.room:
            buckets = 2 * room.room
        grown = realloc(room.positive.buckets, buckets * sizeof(Bucket))
        if grown == NULL:
            return NO_MEMORY
        room.positive.buckets = <Bucket*>grown
        grown = realloc(room.negative.buckets, buckets * sizeof(Bucket))
        if grown == NULL:
            return NO_MEMORY
        room.negative.buckets = <Bucket*>grown
        room.room = buckets
    if room.explicit.at == NULL:
        room.explicit.at = <double*>malloc(room.explicit.room * sizeof(double))
    if room.explicit.counts == NULL:
        room.explicit.counts = <wide_count*>malloc(room.explicit.room * sizeof(wide_count))
    return NO_MEMORY if room.explicit.at == NULL or room.explicit.counts == NULL else DONE


cdef int exponential_shape(PointRead* point, Rebucketing* room, Shape* shape, Fault* fault) noexcept nogil:
    cdef Py_ssize_t positive = point.positive.counts.count, negative = point.negative.counts.count, i
    cdef int scale = unzigzag(point.words[AT_SCALE]), shift
    cdef double threshold = point_double(point, AT_ZERO_THRESHOLD)
    if positive > point.positive.counts.room_max or negative > point.negative.counts.room_max:
        return bad(fault, TOO_MANY_BUCKETS, point)
    if not -SCALE_LIMIT <= scale <= SCALE_LIMIT:
        return bad(fault, BAD_SCALE, point)
    if not 0.0 <= threshold < ENDLESS:
        return bad(fault, BAD_THRESHOLD, point)
    if rebucketing_room(room, positive if positive > negative else negative):
        return NO_MEMORY
    shift = scale - SCALE_FINEST if scale > SCALE_FINEST else 0
    bring_down(&room.positive, point.positive.counts.words, positive, point.positive.offset, shift)
    bring_down(&room.negative, point.negative.counts.words, negative, point.negative.offset, shift)
    explicit_bounds(&room.explicit, &room.positive, &room.negative, scale - shift, point.words[AT_ZERO_COUNT], threshold)
    if doubles_put(&shape.at, room.explicit.at, room.explicit.count) or doubles_room(&shape.counts, room.explicit.count):
        return NO_MEMORY
    for i in range(room.explicit.count):
        if room.explicit.counts[i] >> 64:
            shape.counts.data[i] = <double>room.explicit.counts[i]
        else:
            shape.counts.data[i] = <double><uint64_t>room.explicit.counts[i]
    shape.counts.size = room.explicit.count
    return DONE
