# The envelope of an Export request of metrics: resources (field 1) hold a resource (1) and scopes (2), scopes a scope (1) and
# metrics (2), metrics one of five kinds of data, and those data points (1).

cdef enum:
    ENVELOPE_RESOURCES = 1
    THE_RESOURCE = 1
    SCOPES = 2
    SCOPE = 1
    SCOPE_NAME = 1
    METRICS = 2
    METRIC_NAME = 1
    DATA_POINTS = 1
    TEMPORALITY = 2
    MONOTONIC = 3
    TEMPORALITY_DELTA = 1
    OTHERS_MAX = 4096          # fields of an envelope message beside the repeated one: OTLP defines three

    TOO_MANY = 8               # codes of a walk beside those of records
    TOO_MANY_OTHERS = 9
    OTHER_ENVELOPE = 10        # of another request
    TALLY_RESOURCES = 0        # of what there are too many
    TALLY_SCOPES = 1
    TALLY_METRICS = 2
    TALLY_POINTS = 3
    TALLIES = 4

    METRIC_PLACE = 4           # numbers of a metric's place: begin, end, resource, scope

cdef struct Tallies:
    Py_ssize_t[TALLIES] count
    Py_ssize_t[TALLIES] count_max
    int over                   # which of them
    const unsigned char* broken

cdef struct Walk:
    # The messages in one field of a message, one after another.
    const unsigned char* at
    const unsigned char* end
    uint32_t number
    int others
    int code

cdef struct MetricWalk:
    # What is read of a metric before its points. Of several kinds of data, which is forbidden, the last counts.
    Piece name
    uint32_t field             # of the data; 0 = none
    const unsigned char* data  # where the first message of that data begins
    uint64_t temporality
    uint64_t monotonic


cdef inline Walk walk_of(Piece message, uint32_t number) noexcept nogil:
    cdef Walk walk
    walk.at = message.at
    walk.end = message.at + message.size
    walk.number = number
    walk.others = 0
    walk.code = DONE
    return walk


cdef inline bint next_message(Walk* walk, Piece* found) noexcept nogil:
    """The next message of its field; False at the end, or with a code."""
    cdef const unsigned char* at = walk.at
    cdef uint32_t number = 0, wire = 0
    while at < walk.end:
        at = tag(at, walk.end, &number, &wire)
        if at != NULL:
            at = piece(at, walk.end, found) if wire == LEN else skip(at, walk.end, number, wire)
        if at == NULL:
            walk.code = MALFORMED
            return False
        walk.at = at
        if number == walk.number and wire == LEN:
            return True
        walk.others += 1
        if walk.others > OTHERS_MAX:
            walk.code = TOO_MANY_OTHERS
            return False
    return False


cdef int count_messages(Piece message, uint32_t field, int what, Tallies* tallies) noexcept nogil:
    """Add the messages in a field to their tally."""
    cdef Walk walk = walk_of(message, field)
    cdef Piece found
    while next_message(&walk, &found):
        tallies.count[what] += 1
        if tallies.count[what] > tallies.count_max[what]:
            tallies.over = what
            return TOO_MANY
    if walk.code != DONE:
        tallies.over = what
        tallies.broken = walk.at
    return walk.code


cdef int last_piece(Piece message, uint32_t field, Piece* found, const unsigned char** broken) noexcept nogil:
    """What stands last in a field of a message; what was found before where there is none."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef const unsigned char* before
    cdef uint32_t number = 0, wire = 0
    cdef Piece part
    while at < end:
        before = at
        at = tag(at, end, &number, &wire)
        if at != NULL:
            at = piece(at, end, &part) if wire == LEN else skip(at, end, number, wire)
        if at == NULL:
            broken[0] = before
            return MALFORMED
        if number == field and wire == LEN:
            found[0] = part
    return DONE


cdef int scope_name(Piece message, Piece* name, const unsigned char** broken) noexcept nogil:
    """The name of the scope of scope metrics; it may be told in several pieces."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef uint32_t number = 0, wire = 0
    cdef Piece part = piece_of(at, 0)
    name[0] = part
    while at < end:  # was walked before
        at = tag(at, end, &number, &wire)
        if wire != LEN:
            at = skip(at, end, number, wire)
            continue
        at = piece(at, end, &part)
        if number == SCOPE and last_piece(part, SCOPE_NAME, name, broken) != DONE:
            return MALFORMED
    return DONE


cdef inline bint is_data(uint32_t field) noexcept nogil:
    return field == 5 or field == 7 or field == 9 or field == 10 or field == 11


cdef inline int data_of(uint32_t field) noexcept nogil:
    """The kind of data in a field of a metric."""
    if field == 7:
        return SUM
    if field == 9:
        return HISTOGRAM
    if field == 10:
        return EXPONENTIAL
    return SUMMARY if field == 11 else GAUGE


cdef int read_data_fields(Piece data, MetricWalk* metric) noexcept nogil:
    """Temporality and whether it is monotonic, of one message of the data; the points are skipped."""
    cdef const unsigned char* at = data.at
    cdef const unsigned char* end = data.at + data.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if at == NULL:
            return MALFORMED
        if wire == VARINT:
            at = varint(at, end, 10, &value)
            if number == TEMPORALITY:
                metric.temporality = value
            elif number == MONOTONIC:
                metric.monotonic = value
        else:
            at = skip(at, end, number, wire)
        if at == NULL:
            return MALFORMED
    return DONE


cdef int read_metric(Piece message, MetricWalk* metric, Tallies* tallies) noexcept nogil:
    """Name and kind of data of a metric; with tallies its points are counted, too."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef const unsigned char* before
    cdef uint32_t number = 0, wire = 0
    cdef Piece found
    cdef int code
    memset(metric, 0, sizeof(MetricWalk))
    metric.name = piece_of(at, 0)
    while at < end:
        before = at
        at = tag(at, end, &number, &wire)
        if at != NULL:
            at = piece(at, end, &found) if wire == LEN else skip(at, end, number, wire)
        if at == NULL:
            if tallies != NULL:
                tallies.broken = before
            return MALFORMED
        if wire != LEN:
            continue
        if number == METRIC_NAME:
            metric.name = found
        elif is_data(number):
            if number != metric.field:
                metric.field = number
                metric.data = before
                metric.temporality = metric.monotonic = 0
            if tallies != NULL:
                code = count_messages(found, DATA_POINTS, TALLY_POINTS, tallies)
                if code != DONE:
                    return code
            else:
                code = read_data_fields(found, metric)
                if code != DONE:
                    return code
    return DONE


cdef int count_containers(Piece request, Tallies* tallies) noexcept nogil:
    """Resources, then scopes and metrics, resource by resource."""
    cdef Walk tops, scopes
    cdef Piece top, scope, name
    cdef int code = count_messages(request, ENVELOPE_RESOURCES, TALLY_RESOURCES, tallies)
    if code != DONE:
        return code
    tops = walk_of(request, ENVELOPE_RESOURCES)
    while next_message(&tops, &top):
        code = count_messages(top, SCOPES, TALLY_SCOPES, tallies)
        if code != DONE:
            return code
        scopes = walk_of(top, SCOPES)
        while next_message(&scopes, &scope):
            code = count_messages(scope, METRICS, TALLY_METRICS, tallies)
            if code == DONE:
                code = scope_name(scope, &name, &tallies.broken)
            if code != DONE:
                return code
    return DONE


cdef int count_points(
    Piece request, Tallies* tallies, Py_ssize_t name_bytes_max,
    uint32_t* points, long long* places, Piece* names, Py_ssize_t* replaced
) noexcept nogil:
    """Points of each resource; places of metrics, names of scopes; how many names of metrics are not UTF-8."""
    cdef Walk tops = walk_of(request, ENVELOPE_RESOURCES), scopes, metrics
    cdef Piece top, scope, message
    cdef MetricWalk metric
    cdef Py_ssize_t resource = 0, scope_number = 0, before
    cdef int code
    while next_message(&tops, &top):
        scopes = walk_of(top, SCOPES)
        before = tallies.count[TALLY_POINTS]
        while next_message(&scopes, &scope):
            scope_name(scope, &names[scope_number], &tallies.broken)
            metrics = walk_of(scope, METRICS)
            while next_message(&metrics, &message):
                code = read_metric(message, &metric, tallies)
                if code != DONE:
                    return code
                replaced[0] += not utf8_valid(
                    metric.name.at, metric.name.size if metric.name.size < name_bytes_max else name_bytes_max)
                places[0] = message.at - request.at
                places[1] = message.at - request.at + message.size
                places[2] = resource
                places[3] = scope_number
                places += METRIC_PLACE
            scope_number += 1
        points[resource] = <uint32_t>(tallies.count[TALLY_POINTS] - before)
        resource += 1
    return DONE
