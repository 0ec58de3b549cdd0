# A request of metrics under way: its points, metric by metric, into the columns of their streams.

cdef struct Reading:
    # A request under way.
    Scratch scratch
    PointRead point
    Rebucketing room
    Shape shape
    Metric metric
    Text types
    Columns* streams
    uint64_t[REASONS_COUNT] rejected
    Fault fault                # of the first point with bad buckets
    bint timed
    Py_ssize_t name_bytes_max
    const unsigned char* broken


cdef void reading_free(Reading* reading, Py_ssize_t streams_count) noexcept nogil:
    cdef Py_ssize_t i
    scratch_free(&reading.scratch)
    free(reading.point.bounds.words)
    free(reading.point.buckets.words)
    free(reading.point.positive.counts.words)
    free(reading.point.negative.counts.words)
    free(reading.room.positive.buckets)
    free(reading.room.negative.buckets)
    free(reading.room.explicit.at)
    free(reading.room.explicit.counts)
    free(reading.shape.at.data)
    free(reading.shape.counts.data)
    text_free(&reading.metric.name)
    text_free(&reading.metric.identity)
    text_free(&reading.types)
    if reading.streams != NULL:
        for i in range(streams_count):
            columns_free(&reading.streams[i])
        free(reading.streams)


cdef inline bint stale(double value) noexcept nogil:
    """Whether a number is the NaN, made quiet or not, by which Prometheus says that a series has ended."""
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return bits & ~(<uint64_t>1 << 51) == <uint64_t>0x7FF0000000000002


cdef int kind_of(int data, MetricWalk* walk) noexcept nogil:
    """How to read the numbers of the data."""
    cdef bint delta = <uint32_t>walk.temporality == TEMPORALITY_DELTA
    if data == SUM:
        if walk.monotonic:
            return KIND_DELTA if delta else KIND_CUMULATIVE
        return KIND_CHANGE if delta else KIND_GAUGE
    if data == HISTOGRAM or data == EXPONENTIAL:
        return KIND_HISTOGRAM_DELTA if delta else KIND_HISTOGRAM_CUMULATIVE
    return KIND_SUMMARY if data == SUMMARY else KIND_GAUGE


cdef unsigned char letter_of(int data, int kind) noexcept nogil:
    """The type of a metric, which is part of what a series is: metrics of one name may be of several."""
    if data == SUM:
        return b"ldcn"[kind]
    if data == HISTOGRAM:
        return c"H" if kind == KIND_HISTOGRAM_DELTA else c"h"
    if data == EXPONENTIAL:
        return c"E" if kind == KIND_HISTOGRAM_DELTA else c"e"
    return c"s" if data == SUMMARY else c"g"


cdef int begin_metric(Reading* reading, MetricWalk* walk, Piece scope) noexcept nogil:
    """What all points of a metric share. Its name is read a little further than it is shown, so that it is seen to be longer."""
    cdef Metric* metric = &reading.metric
    cdef Scratch* s = &reading.scratch
    cdef Piece name = walk.name
    cdef uint64_t cuts = s.cuts.truncated
    cdef int code
    scratch_reset(s)
    metric.data = data_of(walk.field)
    metric.kind = kind_of(metric.data, walk)
    if name.size > reading.name_bytes_max:
        name.size = reading.name_bytes_max
    s.dirty = True
    code = clean(s, &name)
    s.dirty = False
    if code != DONE:
        return code
    cut(s, &name, s.limits.value_bytes_max)
    metric.cut = s.cuts.truncated != cuts
    s.cuts.truncated = cuts  # is counted for each point
    metric.name.size = metric.identity.size = reading.types.size = 0
    if put_escaped(&metric.name, name, SPECIAL_ALWAYS & ~SPECIAL):
        return NO_MEMORY
    if text_put(&reading.types, scope.at, scope.size) or text_byte(&reading.types, SEPARATOR):
        return NO_MEMORY
    if text_byte(&reading.types, letter_of(metric.data, metric.kind)):
        return NO_MEMORY
    return put_bounded(&metric.identity, &reading.types)


cdef int put_line(Reading* reading, Text* out, const unsigned char* shown, Py_ssize_t size) noexcept nogil:
    """The text of a point that is more than a number, cut to its limit."""
    cdef PointRead* point = &reading.point
    cdef Scratch* s = &reading.scratch
    cdef int data = reading.metric.data, code
    cdef Line line
    cdef Piece whole
    line.text = out
    line.begin = out.size
    line.bytes_max = s.limits.body_bytes_max
    if text_put(out, shown, size if size <= line.bytes_max else line.bytes_max + 1):
        return NO_MEMORY
    if data == HISTOGRAM:
        code = line_put(&line, b" histogram ", 11)
    elif data == EXPONENTIAL:
        code = line_put(&line, b" exponential_histogram ", 23)
    else:
        code = line_put(&line, b" summary ", 9)
    if code != DONE:
        return code
    if point.words[AT_FLAGS] & NO_RECORDED_VALUE:
        code = line_put(&line, b"no_recorded_value", 17)
    elif data == HISTOGRAM:
        code = histogram_line(&line, point)
    elif data == EXPONENTIAL:
        code = exponential_line(&line, point)
    else:
        code = summary_line(&line, point)
    whole = piece_of(out.data + line.begin, out.size - line.begin)
    cut(s, &whole, line.bytes_max)
    out.size = line.begin + whole.size
    return code


cdef int shaped(Reading* reading, PointNumbers* numbers) noexcept nogil:
    """Buckets or quantiles, and the numbers of a point that has them."""
    cdef PointRead* point = &reading.point
    cdef Fault fault
    cdef int data = reading.metric.data, code
    reading.shape.at.size = reading.shape.counts.size = 0
    if data == HISTOGRAM:
        code = histogram_shape(point, &reading.shape, &fault)
    elif data == EXPONENTIAL:
        code = exponential_shape(point, &reading.room, &reading.shape, &fault)
    else:
        code = summary_shape(point, &reading.shape, &fault)
    if code == BAD_BUCKETS and reading.fault.what == 0:
        reading.fault = fault
    if code != DONE:
        return code
    if data == SUMMARY or has(point, AT_SUM):
        numbers.total = point_double(point, AT_SUM)
    if point.words[AT_FLAGS] & NO_RECORDED_VALUE or stale(numbers.total):
        numbers.kind = KIND_STALE
    else:
        numbers.observations = <double>point.words[AT_COUNT]
    return DONE


cdef void number(Reading* reading, PointNumbers* numbers) noexcept nogil:
    """The number of a gauge or a sum."""
    cdef PointRead* point = &reading.point
    if point.number_slot == AT_DOUBLE:
        memcpy(&numbers.value, &point.words[AT_DOUBLE], 8)
    elif point.number_slot == AT_INT:
        numbers.value = <double><int64_t>point.words[AT_INT]
    if point.words[AT_FLAGS] & NO_RECORDED_VALUE or stale(numbers.value):
        numbers.kind = KIND_STALE


cdef int make_point(Reading* reading, Columns* columns, PointNumbers* numbers, Py_ssize_t* shown) noexcept nogil:
    """Identity and text of the point that was read, each at the end of its kind, and its numbers."""
    cdef Text* identities = &columns.table.identities
    cdef Py_ssize_t series = identities.size, text = columns.text.size, size
    cdef double nan = NAN
    cdef int code = put_shown(&reading.scratch, &reading.metric, identities)
    if code != DONE:
        return code
    shown[0] = identities.size - series
    code = put_identity(&reading.scratch, &reading.metric, &reading.types, identities)
    if code != DONE:
        return code
    numbers.kind = reading.metric.kind
    numbers.start = reading.point.words[AT_START]
    numbers.value = numbers.observations = numbers.total = nan
    if reading.metric.data <= SUM:
        number(reading, numbers)
        code = text_put(&columns.text, identities.data + series, shown[0])
    else:
        code = shaped(reading, numbers)
        if code == DONE:
            code = put_line(reading, &columns.text, identities.data + series, shown[0])
    if code != DONE:
        return code
    size = columns.text.size - text
    return count_text(&reading.scratch, size if size > shown[0] else shown[0])


cdef int take_point(Reading* reading, Columns* columns, uint32_t instance, Piece message) noexcept nogil:
    """A point into the columns of its stream, or none of it."""
    cdef Scratch* s = &reading.scratch
    cdef Py_ssize_t series = columns.table.identities.size, text = columns.text.size, shown = 0, entries = 0
    cdef PointNumbers numbers
    cdef double nan = NAN
    cdef int code
    scratch_reset(s)
    code = check_record(s, CHECKED[reading.metric.data], message)
    if code == DONE:
        code = read_point(s, message, reading.metric.data, &reading.point)
    if code == DONE:
        code = make_point(reading, columns, &numbers, &shown)
    if code != DONE:
        columns.table.identities.size = series
        columns.text.size = text
        return code
    if numbers.kind == KIND_STALE:
        numbers.start = 0
        numbers.value = numbers.observations = numbers.total = nan
    elif reading.metric.data > SUM:
        entries = reading.shape.at.size
        if doubles_put(&columns.at, reading.shape.at.data, entries):
            return NO_MEMORY
        if doubles_put(&columns.shape, reading.shape.counts.data, entries):
            return NO_MEMORY
    if reading.point.words[AT_TIME] == 0:
        reading.timed = False
    add_point(
        columns, reading.point.words[AT_TIME], instance, series_number(&columns.table, series, shown),
        columns.text.size - text, &numbers, entries)
    return DONE


cdef int take_metric(Reading* reading, Columns* columns, uint32_t instance, Piece message, Piece scope) noexcept nogil:
    """All points of a metric; those that are to be rejected alone are counted."""
    cdef MetricWalk metric
    cdef Walk data, points
    cdef Piece part, point
    cdef int code = read_metric(message, &metric, NULL)
    reading.broken = message.at
    if code != DONE or metric.field == 0:
        return code
    code = begin_metric(reading, &metric, scope)
    if code != DONE:
        return code
    data = walk_of(piece_of(metric.data, message.at + message.size - metric.data), metric.field)
    while next_message(&data, &part):
        data.others = 0
        points = walk_of(part, DATA_POINTS)
        while next_message(&points, &point):
            points.others = 0
            reading.broken = point.at
            if columns.count == columns.room:
                return OTHER_ENVELOPE
            code = take_point(reading, columns, instance, point)
            if 0 < code <= REASONS_COUNT:
                reading.rejected[code - 1] += 1
            elif code != DONE:
                return code
    return MALFORMED if data.code != DONE else DONE


cdef int take_all(
    Reading* reading, Piece request, const long long* places, Py_ssize_t count,
    const int* streams, const unsigned int* instances, Piece* scopes
) noexcept nogil:
    cdef Py_ssize_t i
    cdef Piece message
    cdef int code, stream
    for i in range(count):
        stream = streams[places[2]]
        if stream >= 0:
            message = piece_of(request.at + places[0], places[1] - places[0])
            code = take_metric(reading, &reading.streams[stream], instances[places[2]], message, scopes[places[3]])
            if code != DONE:
                return code
        places += METRIC_PLACE
    return DONE
