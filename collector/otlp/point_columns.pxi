# Columns of the points of a stream, which have room for all points of its resources from the begin; texts and shapes grow.

cdef enum:
    KIND_GAUGE = 0             # of a point, as `driftlock.engine.event.PointKind` has them
    KIND_DELTA = 1
    KIND_CUMULATIVE = 2
    KIND_CHANGE = 3
    KIND_HISTOGRAM_DELTA = 4
    KIND_HISTOGRAM_CUMULATIVE = 5
    KIND_SUMMARY = 6
    KIND_STALE = 7

cdef struct Columns:
    unsigned int* lengths
    unsigned long long* times
    unsigned int* instances
    unsigned int* series_index
    double* values
    unsigned char* kinds
    unsigned long long* starts
    double* counts
    double* sums
    unsigned int* sizes
    Text text
    Doubles at
    Doubles shape
    SeriesTable table
    Py_ssize_t count
    Py_ssize_t room
    bint kinds_told            # whether a column says anything
    bint starts_told
    bint counts_told
    bint sums_told
    bint sizes_told

cdef struct PointNumbers:
    # The numbers of a point. NaN = not given.
    int kind
    uint64_t start
    double value
    double observations
    double total


cdef void columns_free(Columns* columns) noexcept nogil:
    text_free(&columns.text)
    text_free(&columns.table.identities)
    free(columns.at.data)
    free(columns.shape.data)
    free(columns.table.series)
    free(columns.table.slots)


cdef int columns_room(Columns* columns, Py_ssize_t room, Py_ssize_t bytes, uint64_t seed) noexcept nogil:
    """Room for the series of so many points that have so many bytes in the request, which is about as much as their texts have."""
    cdef uint64_t mask = 15
    columns.room = room
    while mask < 2 * <uint64_t>room:
        mask = 2 * mask + 1
    columns.table.seed = seed
    columns.table.mask = mask
    columns.table.series = <Series*>malloc((room + 1) * sizeof(Series))
    columns.table.slots = <uint32_t*>calloc(mask + 1, sizeof(uint32_t))
    if text_room(&columns.text, bytes) or text_room(&columns.table.identities, bytes):
        return NO_MEMORY
    return NO_MEMORY if columns.table.series == NULL or columns.table.slots == NULL else DONE


cdef void add_point(
    Columns* columns, uint64_t time, uint32_t instance, uint32_t series, Py_ssize_t length, PointNumbers* numbers, Py_ssize_t size
) noexcept nogil:
    """Append a point with so many entries of a shape."""
    cdef Py_ssize_t i = columns.count
    columns.lengths[i] = <unsigned int>length
    columns.times[i] = time
    columns.instances[i] = instance
    columns.series_index[i] = series
    columns.kinds[i] = <unsigned char>numbers.kind
    columns.starts[i] = numbers.start
    columns.sizes[i] = <unsigned int>size
    memcpy(&columns.values[i], &numbers.value, 8)  # a NaN of whatever bits
    columns.counts[i] = numbers.observations
    columns.sums[i] = numbers.total
    columns.kinds_told |= numbers.kind != KIND_GAUGE
    columns.starts_told |= numbers.start != 0
    columns.counts_told |= numbers.observations == numbers.observations
    columns.sums_told |= numbers.total == numbers.total
    columns.sizes_told |= size != 0
    columns.count += 1
