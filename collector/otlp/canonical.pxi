"""Memory and limits of the makers of canonical text: growing texts, an arena that all records of a request reuse, and codes.

To be included after protowire.pxi, utf8.pxi and floats.pxi, with canonical_check.pxi, canonical_values.pxi and
canonical_attributes.pxi behind it in this order. What the texts look like says `driftlock.engine.canonical`. Functions return
a code unless they say otherwise. Nothing recurses; what is kept on the way is bounded by the record's size and its elements.
"""

from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    DONE = 0
    # reasons for which a record alone is rejected: numbers from 1 into `collector.otlp.reasons.READ`
    TOO_DEEP = 1
    TOO_MANY_ELEMENTS = 2
    BAD_ID = 3
    BAD_BUCKETS = 4
    TOO_MUCH_TEXT = 5
    REASONS_COUNT = 5
    # what ends the request
    MALFORMED = 6
    NO_MEMORY = 7

    DEPTH_CEILING = 64             # of `CanonicalLimits.depth_max`
    CHUNK_BYTES = 65536            # of the arena, the first one
    NUMBER_BYTES = 32              # room for the text of any number

cdef enum:
    ANY_NONE = 0
    ANY_STRING = 1                 # from here on as the fields of an AnyValue are numbered
    ANY_BOOL = 2
    ANY_INT = 3
    ANY_DOUBLE = 4
    ANY_ARRAY = 5
    ANY_MAP = 6
    ANY_BYTES = 7

cdef struct Limits:
    Py_ssize_t body_bytes_max
    Py_ssize_t value_bytes_max
    Py_ssize_t key_bytes_max
    Py_ssize_t attributes_max
    uint64_t elements_max
    uint64_t text_bytes_max
    int depth_max

cdef struct Cuts:
    uint64_t truncated
    uint64_t attributes_dropped
    uint64_t replaced

cdef struct Text:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t capacity

cdef struct Link:                  # a further piece of a message that is merged of several; they are not copied together,
    Piece piece                    # for they may be nested, and each level would cost as much memory as was sent
    Link* next

cdef struct Merged:
    Piece first
    Link* more
    Link* last
    Py_ssize_t count

cdef struct Any:
    int kind
    uint64_t number                # a bool, the bits of an integer or a double
    Piece piece                    # text (UTF-8), bytes, or the message of an array or a map,
    Link* more                     # of which these are further pieces

cdef struct Attribute:
    Piece key
    uint64_t prefix                # of the key: its first bytes, for quick comparisons
    uint32_t order                 # of arrival; reused while duplicates are found
    Any value

cdef struct Pair:
    Piece key
    uint64_t prefix
    Piece text

cdef struct Chunk:                 # its bytes follow it
    Chunk* before
    Py_ssize_t capacity
    Py_ssize_t used

cdef struct Mark:
    Chunk* chunk
    Py_ssize_t used

cdef struct Frame:                 # an array or a map under way
    int kind
    bint begun
    const unsigned char* at        # of an array: what is left of its message
    const unsigned char* end
    Link* more
    Py_ssize_t first               # of a map: its entries among the attributes
    Py_ssize_t next
    Py_ssize_t last
    Piece prefix                   # and what stands before its keys

cdef struct Scratch:
    Limits limits
    Cuts cuts
    uint64_t text_bytes            # of the request so far
    bint dirty                     # the record has a string that is not UTF-8
    Chunk* chunk
    Attribute* attributes          # those of the record, and above them the entries of maps under way
    Py_ssize_t attributes_count
    Py_ssize_t attributes_capacity
    Py_ssize_t attributes_seen
    Pair* pairs
    Py_ssize_t pairs_count
    Py_ssize_t pairs_capacity
    Py_ssize_t pairs_over          # found beyond those that may be kept
    Text inlined                   # an array or a map as the text of a value
    Text body
    Frame[DEPTH_CEILING + 1] frames


# ---- texts ---------------------------------------------------------------------------------------------------------------

cdef int text_grow(Text* text, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t capacity = text.capacity + text.capacity // 2
    cdef unsigned char* data
    if capacity < text.size + more:
        capacity = text.size + more
    if capacity < 64:
        capacity = 64
    data = <unsigned char*>realloc(text.data, capacity)
    if data == NULL:
        return NO_MEMORY
    text.data = data
    text.capacity = capacity
    return DONE


cdef inline int text_room(Text* text, Py_ssize_t more) noexcept nogil:
    """Room for so many bytes more."""
    return DONE if text.capacity - text.size >= more and text.data != NULL else text_grow(text, more)


cdef inline int text_put(Text* text, const unsigned char* at, Py_ssize_t size) noexcept nogil:
    if text_room(text, size) != DONE:
        return NO_MEMORY
    if size > 0:
        memcpy(text.data + text.size, at, size)
        text.size += size
    return DONE


cdef inline int text_byte(Text* text, unsigned char byte) noexcept nogil:
    if text_room(text, 1) != DONE:
        return NO_MEMORY
    text.data[text.size] = byte
    text.size += 1
    return DONE


cdef inline void text_free(Text* text) noexcept nogil:
    free(text.data)
    memset(text, 0, sizeof(Text))


# ---- the arena: memory that stays where it is until the next record ------------------------------------------------------

cdef unsigned char* arena_chunk(Scratch* s, Py_ssize_t size) noexcept nogil:
    """`size` bytes of a new chunk."""
    cdef Py_ssize_t capacity = CHUNK_BYTES
    cdef Chunk* chunk
    if s.chunk != NULL and capacity < 2 * s.chunk.capacity:
        capacity = 2 * s.chunk.capacity if s.chunk.capacity < 1 << 24 else s.chunk.capacity
    if capacity < size:
        capacity = size
    chunk = <Chunk*>malloc(sizeof(Chunk) + capacity)
    if chunk == NULL:
        return NULL
    chunk.before = s.chunk
    chunk.capacity = capacity
    chunk.used = size
    s.chunk = chunk
    return <unsigned char*>(chunk + 1)


cdef inline unsigned char* arena_take(Scratch* s, Py_ssize_t size) noexcept nogil:
    """So many bytes, or NULL where there is no memory."""
    cdef unsigned char* at
    if s.chunk != NULL and s.chunk.capacity - s.chunk.used >= size:
        at = <unsigned char*>(s.chunk + 1) + s.chunk.used
        s.chunk.used += size
        return at
    return arena_chunk(s, size)


cdef inline void arena_shrink(Scratch* s, Py_ssize_t size) noexcept nogil:
    """Give so many bytes of those taken last back."""
    s.chunk.used -= size


cdef int arena_copy(Scratch* s, const unsigned char* at, Py_ssize_t size, Piece* copy) noexcept nogil:
    cdef unsigned char* to = arena_take(s, size)
    if to == NULL:
        return NO_MEMORY
    if size:
        memcpy(to, at, size)
    copy.at = to
    copy.size = size
    return DONE


cdef inline Mark arena_mark(Scratch* s) noexcept nogil:
    cdef Mark mark
    mark.chunk = s.chunk
    mark.used = s.chunk.used if s.chunk != NULL else 0
    return mark


cdef void arena_back(Scratch* s, Mark mark) noexcept nogil:
    """Forget what was taken since `mark`."""
    cdef Chunk* before
    while s.chunk != mark.chunk:
        before = s.chunk.before
        free(s.chunk)
        s.chunk = before
    if s.chunk != NULL:
        s.chunk.used = mark.used


# ---- the whole -----------------------------------------------------------------------------------------------------------

cdef int scratch_init(Scratch* s, object limits) except -1:
    """`limits`: an `OtlpLimits`."""
    memset(s, 0, sizeof(Scratch))
    s.limits.body_bytes_max = limits.text.body_bytes_max
    s.limits.value_bytes_max = limits.text.value_bytes_max
    s.limits.key_bytes_max = limits.text.key_bytes_max
    s.limits.attributes_max = limits.text.attributes_max
    s.limits.depth_max = limits.text.depth_max
    s.limits.elements_max = limits.record_elements_max
    s.limits.text_bytes_max = limits.text_bytes_max
    return 0


cdef void scratch_free(Scratch* s) noexcept nogil:
    cdef Mark nothing
    nothing.chunk = NULL
    nothing.used = 0
    arena_back(s, nothing)
    free(s.attributes)
    free(s.pairs)
    text_free(&s.inlined)
    text_free(&s.body)
    s.attributes = NULL
    s.pairs = NULL


cdef inline void scratch_reset(Scratch* s) noexcept nogil:
    """Before each record: what was made of the last one is forgotten. Of the arena its largest chunk stays."""
    cdef Chunk* before
    if s.chunk != NULL:
        while s.chunk.before != NULL:  # the last one is the largest
            before = s.chunk.before
            s.chunk.before = before.before
            free(before)
        s.chunk.used = 0
    s.dirty = False
    s.attributes_count = 0
    s.attributes_seen = 0
    s.pairs_count = 0


cdef inline int count_text(Scratch* s, Py_ssize_t size) noexcept nogil:
    """Count the text of one more record; `TOO_MUCH_TEXT`, and it is not counted, where those of the request would be too long."""
    if <uint64_t>size > s.limits.text_bytes_max - s.text_bytes:
        return TOO_MUCH_TEXT
    s.text_bytes += <uint64_t>size
    return DONE


cdef inline Piece piece_of(const unsigned char* at, Py_ssize_t size) noexcept nogil:
    cdef Piece found
    found.at = at
    found.size = size
    return found


cdef inline void cut(Scratch* s, Piece* text, Py_ssize_t bytes_max) noexcept nogil:
    """The longest prefix of at most `bytes_max` bytes that ends between characters."""
    if text.size > bytes_max:
        s.cuts.truncated += 1
        text.size = utf8_cut(text.at, text.size, bytes_max)


cdef inline int clean(Scratch* s, Piece* text) noexcept nogil:
    """A string field as UTF-8: repaired where it is not."""
    cdef unsigned char* repaired
    cdef Py_ssize_t size
    if not s.dirty or utf8_valid(text.at, text.size):
        return DONE
    size = utf8_repair(text.at, text.size, NULL)
    repaired = arena_take(s, size)
    if repaired == NULL:
        return NO_MEMORY
    utf8_repair(text.at, text.size, repaired)
    text.at = repaired
    text.size = size
    return DONE


cdef inline void merged_begin(Merged* merged, const unsigned char* nowhere) noexcept nogil:
    merged.first = piece_of(nowhere, 0)
    merged.more = NULL
    merged.last = NULL
    merged.count = 0


cdef inline int merged_add(Scratch* s, Merged* merged, Piece part) noexcept nogil:
    """One more occurrence of a message that may be there only once: one after another they are the merged message."""
    cdef Link* link
    cdef unsigned char* at
    merged.count += 1
    if merged.count == 1:
        merged.first = part
        return DONE
    at = arena_take(s, sizeof(Link) + sizeof(void*))
    if at == NULL:
        return NO_MEMORY
    link = <Link*>(at + (sizeof(void*) - <size_t>at % sizeof(void*)) % sizeof(void*))
    link.piece = part
    link.next = NULL
    if merged.last == NULL:
        merged.more = link
    else:
        merged.last.next = link
    merged.last = link
    return DONE
