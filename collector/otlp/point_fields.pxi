# The fields of the data points of all five kinds of metrics, read from the wire. Fields: opentelemetry-proto,
# metrics/v1/metrics.proto. Everything here was checked to be well-formed. Exemplars are not read.

cdef enum:
    GAUGE = 0                  # what a metric holds
    SUM = 1
    HISTOGRAM = 2
    EXPONENTIAL = 3
    SUMMARY = 4
    DATA_KINDS = 5
    FIELDS = 16                # field numbers of points are lower

    NO_SLOT = 0                # what a field says
    AT_START = 1               # from here to FIXED_LAST words of 8 bytes
    AT_TIME = 2
    AT_COUNT = 3
    AT_SUM = 4
    AT_MIN = 5
    AT_MAX = 6
    AT_DOUBLE = 7
    AT_INT = 8
    AT_ZERO_COUNT = 9
    AT_ZERO_THRESHOLD = 10
    FIXED_LAST = 10
    AT_FLAGS = 11              # varints
    AT_SCALE = 12
    VARINT_LAST = 12
    WORDS = 13
    AT_BOUNDS = 13             # repeated words of 8 bytes
    AT_BUCKETS = 14
    AT_ATTRIBUTES = 15         # messages
    AT_POSITIVE = 16
    AT_NEGATIVE = 17
    AT_QUANTILES = 18

    OFFSET = 1                 # fields of the buckets of one side
    SIDE_COUNTS = 2
    QUANTILE_AT = 1               # fields of a quantile
    QUANTILE_VALUE = 2

cdef unsigned char[DATA_KINDS * FIELDS] SLOTS
cdef int[DATA_KINDS] CHECKED = [NUMBER_POINT, NUMBER_POINT, HISTOGRAM_POINT, EXPONENTIAL_POINT, SUMMARY_POINT]

cdef int fill_slots() except -1:
    """What the fields of each kind of point say, by number."""
    number = {2: AT_START, 3: AT_TIME, 4: AT_DOUBLE, 6: AT_INT, 7: AT_ATTRIBUTES, 8: AT_FLAGS}
    histogram = {2: AT_START, 3: AT_TIME, 4: AT_COUNT, 5: AT_SUM, 10: AT_FLAGS}
    explicit = {6: AT_BUCKETS, 7: AT_BOUNDS, 9: AT_ATTRIBUTES, 11: AT_MIN, 12: AT_MAX}
    exponential = {1: AT_ATTRIBUTES, 6: AT_SCALE, 7: AT_ZERO_COUNT, 8: AT_POSITIVE, 9: AT_NEGATIVE, 12: AT_MIN, 13: AT_MAX,
                   14: AT_ZERO_THRESHOLD}
    summary = {2: AT_START, 3: AT_TIME, 4: AT_COUNT, 5: AT_SUM, 6: AT_QUANTILES, 7: AT_ATTRIBUTES, 8: AT_FLAGS}
    memset(SLOTS, NO_SLOT, DATA_KINDS * FIELDS)
    for data, slots in (
        (GAUGE, number), (SUM, number), (HISTOGRAM, histogram | explicit), (EXPONENTIAL, histogram | exponential),
        (SUMMARY, summary),
    ):
        for field, slot in slots.items():
            SLOTS[data * FIELDS + field] = slot
    return 0

fill_slots()


cdef struct Numbers:
    # Numbers of a repeated field: the first `room_max` of them, and how many there are.
    uint64_t* words
    Py_ssize_t count
    Py_ssize_t room
    Py_ssize_t room_max

cdef struct PointSide:
    # Buckets of an exponential histogram on one side of zero.
    Numbers counts
    int32_t offset

cdef struct PointRead:
    # What the wire says about a point. `present` has a bit for each slot that was there.
    uint64_t[WORDS] words
    uint32_t present
    uint32_t number_slot       # AT_DOUBLE or AT_INT, whichever came last, or NO_SLOT
    Numbers bounds             # doubles; of a summary the quantiles
    Numbers buckets            # of a summary the values
    PointSide positive
    PointSide negative


cdef inline double as_double(uint64_t word) noexcept nogil:
    cdef double value
    memcpy(&value, &word, 8)
    return value


cdef inline double point_double(PointRead* point, int slot) noexcept nogil:
    return as_double(point.words[slot])


cdef inline bint has(PointRead* point, int slot) noexcept nogil:
    return point.present >> slot & 1


cdef void clear_point(PointRead* point) noexcept nogil:
    """As a point of which nothing was read; what was allocated stays."""
    memset(point.words, 0, sizeof(point.words))
    point.present = 0
    point.number_slot = NO_SLOT
    point.bounds.count = 0
    point.buckets.count = 0
    point.positive.counts.count = 0
    point.positive.offset = 0
    point.negative.counts.count = 0
    point.negative.offset = 0


cdef int make_room(Numbers* numbers, Py_ssize_t more) noexcept nogil:
    """Room for so many further numbers, up to `room_max` of all."""
    cdef Py_ssize_t needed = numbers.count + more, room = numbers.room if numbers.room else 64
    cdef void* grown
    if needed > numbers.room_max:
        needed = numbers.room_max
    if needed <= numbers.room:
        return DONE
    while room < needed:
        room *= 2
    grown = realloc(numbers.words, room * sizeof(uint64_t))
    if grown == NULL:
        return NO_MEMORY
    numbers.words = <uint64_t*>grown
    numbers.room = room
    return DONE


cdef inline int add_number(Numbers* numbers, uint64_t word) noexcept nogil:
    if numbers.count >= numbers.room and make_room(numbers, 1):
        return NO_MEMORY
    if numbers.count < numbers.room_max:
        numbers.words[numbers.count] = word
    numbers.count += 1
    return DONE


cdef int add_words(Numbers* numbers, Piece packed) noexcept nogil:
    """Words of 8 bytes."""
    cdef Py_ssize_t count = packed.size >> 3, kept = count
    if make_room(numbers, count):
        return NO_MEMORY
    if kept > numbers.room_max - numbers.count:
        kept = numbers.room_max - numbers.count
    if kept > 0:
        memcpy(numbers.words + numbers.count, packed.at, 8 * kept)
    numbers.count += count
    return DONE


cdef int add_varints(Numbers* numbers, Piece packed) noexcept nogil:
    """Varints one after another."""
    cdef const unsigned char* at = packed.at
    cdef const unsigned char* end = packed.at + packed.size
    cdef uint64_t value = 0
    while at < end:
        if at[0] < 0x80:
            value = at[0]
            at += 1
        else:
            at = varint(at, end, 10, &value)
        if add_number(numbers, value):
            return NO_MEMORY
    return DONE


cdef inline int32_t unzigzag(uint64_t value) noexcept nogil:
    """A sint32; of one of more than 32 bits the lower ones, as the protobuf library does."""
    cdef uint32_t low = <uint32_t>value
    return <int32_t>(low >> 1 ^ (0 - (low & 1)))


cdef int read_side(Piece message, PointSide* side) noexcept nogil:
    """Buckets on one side of zero, joined to those that are there already: so messages are merged."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    cdef Piece found = piece_of(at, 0)
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire == LEN and number == SIDE_COUNTS:
            at = piece(at, end, &found)
            if add_varints(&side.counts, found):
                return NO_MEMORY
        elif wire == VARINT:
            at = varint(at, end, 10, &value)
            if number == OFFSET:
                side.offset = unzigzag(value)
            elif number == SIDE_COUNTS and add_number(&side.counts, value):
                return NO_MEMORY
        else:
            at = skip(at, end, number, wire)
    return DONE


cdef int read_quantile(Piece message, PointRead* point) noexcept nogil:
    """A quantile and its value."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t[2] words
    words[0] = words[1] = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire == FIXED64 and (number == QUANTILE_AT or number == QUANTILE_VALUE):
            memcpy(&words[number - QUANTILE_AT], at, 8)
            at += 8
        else:
            at = skip(at, end, number, wire)
    if add_number(&point.bounds, words[0]) or add_number(&point.buckets, words[1]):
        return NO_MEMORY
    return DONE


cdef int read_piece(Scratch* s, Piece found, int slot, PointRead* point) noexcept nogil:
    """A field of a point that has a length."""
    if slot == AT_ATTRIBUTES:
        return attributes_add(s, found)
    if slot == AT_BUCKETS:
        return add_words(&point.buckets, found)
    if slot == AT_BOUNDS:
        return add_words(&point.bounds, found)
    if slot == AT_POSITIVE:
        return read_side(found, &point.positive)
    if slot == AT_NEGATIVE:
        return read_side(found, &point.negative)
    if slot == AT_QUANTILES:
        return read_quantile(found, point)
    return DONE


cdef inline int read_word(uint64_t word, int slot, PointRead* point) noexcept nogil:
    """A field of 8 bytes."""
    if AT_START <= slot <= FIXED_LAST:
        point.words[slot] = word
        point.present |= <uint32_t>1 << slot
        if slot == AT_DOUBLE or slot == AT_INT:
            point.number_slot = slot
        return DONE
    if slot == AT_BUCKETS:
        return add_number(&point.buckets, word)
    if slot == AT_BOUNDS:
        return add_number(&point.bounds, word)
    return DONE


cdef int read_point(Scratch* s, Piece message, int data, PointRead* point) noexcept nogil:
    """A point of a metric that holds such data, with its attributes into `s`."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = message.at + message.size
    cdef const unsigned char* slots = &SLOTS[data * FIELDS]
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    cdef Piece found = piece_of(at, 0)
    cdef int slot, code = DONE
    clear_point(point)
    attributes_begin(s)
    while at < end and code == DONE:
        at = tag(at, end, &number, &wire)
        slot = slots[number] if number < FIELDS else NO_SLOT
        if wire == LEN:
            at = piece(at, end, &found)
            code = read_piece(s, found, slot, point)
        elif wire == FIXED64:
            memcpy(&value, at, 8)
            at += 8
            code = read_word(value, slot, point)
        elif wire == VARINT:
            at = varint(at, end, 10, &value)
            if slot == AT_FLAGS or slot == AT_SCALE:
                point.words[slot] = value
        else:
            at = skip(at, end, number, wire)
    if code == DONE:
        attributes_end(s)
    return code
