# What a series of metric points is called, and what tells it from others of that name; see `series_name`, `series_identity` and
# `bounded_identity` of `driftlock.engine.canonical`, whose bytes these are.

cdef enum:
    SEPARATOR = 0x1F           # between the shown name and what tells it from others
    IDENTITY_MAX = 64          # bytes after it; longer ones are hashed
    ESCAPE_GROWTH = 4          # the separator in a name becomes so many bytes

    PLAIN = 0                  # what a byte is in a name
    SPECIAL = 1                # to be escaped in keys and values
    SPECIAL_ALWAYS = 3         # and in the metric's own name, too

cdef unsigned char[256] SPECIALS

cdef int fill_specials() except -1:
    memset(SPECIALS, PLAIN, 256)
    for byte in b',="':
        SPECIALS[byte] = SPECIAL
    for byte in b"{}\\\x1f":
        SPECIALS[byte] = SPECIAL_ALWAYS
    return 0

fill_specials()

cdef struct Metric:
    # Of the metric under way: its data, how its points are to be read, and its name and what tells it from others, as shown.
    int data
    int kind
    bint cut                   # the name was longer than it may be
    Text name
    Text identity


cdef int put_escaped(Text* out, Piece words, unsigned char mask) noexcept nogil:
    """Words with a backslash before each byte that `mask` says is special."""
    cdef unsigned char* to
    cdef unsigned char seen = 0, byte
    cdef Py_ssize_t i
    if text_room(out, words.size):
        return NO_MEMORY
    to = out.data + out.size
    for i in range(words.size):
        to[i] = words.at[i]
        seen |= SPECIALS[words.at[i]]
    if not seen & mask:
        out.size += words.size
        return DONE
    if text_room(out, ESCAPE_GROWTH * words.size):
        return NO_MEMORY
    to = out.data + out.size
    for i in range(words.size):
        byte = words.at[i]
        if not SPECIALS[byte] & mask:
            to[0] = byte
            to += 1
        elif byte == SEPARATOR:
            memcpy(to, b"\\x1f", 4)
            to += 4
        else:
            to[0] = c"\\"
            to[1] = byte
            to += 2
    out.size = to - out.data
    return DONE


cdef int put_shown(Scratch* s, Metric* metric, Text* out) noexcept nogil:
    """The shown name of the series of the attributes in `s`."""
    cdef uint64_t before = s.cuts.truncated
    cdef Py_ssize_t i
    cdef int code
    s.cuts.truncated += metric.cut
    code = attributes_pairs(s, before)
    if code != DONE:
        return code
    if text_put(out, metric.name.data, metric.name.size):
        return NO_MEMORY
    if s.pairs_count == 0:
        return DONE
    for i in range(s.pairs_count):
        if text_byte(out, c"," if i else c"{") or put_escaped(out, s.pairs[i].key, SPECIAL):
            return NO_MEMORY
        if text_byte(out, c"=") or put_escaped(out, s.pairs[i].text, SPECIAL):
            return NO_MEMORY
    return text_byte(out, c"}")


# ---- types of attributes -------------------------------------------------------------------------------------------------

cdef Py_ssize_t characters(Piece text) noexcept nogil:
    cdef Py_ssize_t i, count = 0
    for i in range(text.size):
        count += text.at[i] & 0xC0 != 0x80
    return count


cdef int put_size(Text* out, Py_ssize_t size) noexcept nogil:
    if text_room(out, NUMBER_BYTES):
        return NO_MEMORY
    out.size += unsigned_text(<uint64_t>size, out.data + out.size)
    return DONE


cdef int put_inner_type(Scratch* s, Text* out, Any value) noexcept nogil:
    """The type of a value inside of another; of a string how long it is, for texts do not say where one ends."""
    if value.kind != ANY_STRING:
        return put_type(s, out, value)
    return NO_MEMORY if text_byte(out, c"s") else put_size(out, characters(value.piece))


cdef int put_map_type(Scratch* s, Text* out, Any value) noexcept nogil:
    cdef Py_ssize_t begin = 0, end = 0, i
    cdef int code = map_begin(s, &value, &begin, &end)
    if code != DONE or text_byte(out, c"{"):
        return code or NO_MEMORY
    sort_attributes(s, begin, end)
    for i in range(begin, end):
        if put_size(out, characters(s.attributes[i].key)) or text_byte(out, c":"):
            return NO_MEMORY
        code = put_inner_type(s, out, s.attributes[i].value)
        if code != DONE:
            return code
    s.attributes_count = begin
    return text_byte(out, c"}")


cdef int put_array_type(Scratch* s, Text* out, Any value) noexcept nogil:
    cdef Frame elements
    cdef Piece found
    cdef Any element
    cdef int code
    if text_byte(out, c"["):
        return NO_MEMORY
    elements_begin(&elements, &value)
    while next_element(&elements, &found):
        code = read_any(s, found.at, found.at + found.size, &element)
        if code == DONE:
            code = put_inner_type(s, out, element)
        if code != DONE:
            return code
    return text_byte(out, c"]")


cdef int put_type(Scratch* s, Text* out, Any value) noexcept nogil:
    """A letter, or of what holds others how it is made up. Calls itself as deep as values are nested, which is bounded."""
    if value.kind == ANY_MAP:
        return put_map_type(s, out, value)
    if value.kind == ANY_ARRAY:
        return put_array_type(s, out, value)
    return text_byte(out, b"nsbid??x"[value.kind])


# ---- identity ------------------------------------------------------------------------------------------------------------

cdef int put_bounded(Text* out, Text* identity) noexcept nogil:
    """What tells series apart, hashed if it is too long."""
    cdef unsigned char[BLAKE_TEXT + 1] hashed
    if identity.size <= IDENTITY_MAX:
        return text_put(out, identity.data, identity.size)
    hashed[0] = c"~"
    blake2b_text(identity.data, identity.size, hashed + 1)
    return text_put(out, hashed, BLAKE_TEXT + 1)


cdef int put_identity(Scratch* s, Metric* metric, Text* types, Text* out) noexcept nogil:
    """What follows the shown name. Attributes are sorted on the way, if not all of them are strings."""
    cdef Py_ssize_t i, count = s.attributes_count
    cdef bint strings = True
    cdef int code
    for i in range(count):
        strings &= s.attributes[i].value.kind == ANY_STRING
    if text_byte(out, SEPARATOR):
        return NO_MEMORY
    if strings:
        return text_put(out, metric.identity.data, metric.identity.size)
    types.size = 0
    if text_put(types, metric.identity.data, metric.identity.size) or text_byte(types, SEPARATOR):
        return NO_MEMORY
    sort_attributes(s, 0, count)
    for i in range(count):
        code = put_type(s, types, s.attributes[i].value)
        if code != DONE:
            return code
    return put_bounded(out, types)


# ---- the series of a stream ----------------------------------------------------------------------------------------------

cdef extern from *:
    ctypedef unsigned long long hash_product "unsigned __int128"

cdef struct Series:
    uint64_t hash
    Py_ssize_t begin           # of its identity among the stream's
    Py_ssize_t size
    Py_ssize_t shown           # so many bytes are its name

cdef struct SeriesTable:
    Text identities
    Series* series
    uint32_t* slots            # 1-based numbers of series; a power of two of them, at least half of them empty
    uint64_t mask
    uint32_t count
    uint64_t seed


cdef inline uint64_t fold(uint64_t a, uint64_t b) noexcept nogil:
    cdef hash_product product = <hash_product>a * b
    return <uint64_t>product ^ <uint64_t>(product >> 64)


cdef uint64_t series_hash(const unsigned char* at, Py_ssize_t size, uint64_t seed) noexcept nogil:
    """Folded products. The seed is what a sender does not know: series that all share a slot can not be made up."""
    cdef uint64_t state = seed ^ <uint64_t>size, word
    while size >= 8:
        memcpy(&word, at, 8)
        state = fold(state ^ word, seed | 1) + <uint64_t>0x9E3779B97F4A7C15
        at += 8
        size -= 8
    word = 0
    if size:
        memcpy(&word, at, size)
    return fold(state ^ word, seed ^ <uint64_t>0xD6E8FEB86659FD93)


cdef uint32_t series_number(SeriesTable* table, Py_ssize_t begin, Py_ssize_t shown) noexcept nogil:
    """The number of the series whose identity stands at the end of all, from `begin` on; it stays there only if it is new."""
    cdef const unsigned char* identity = table.identities.data + begin
    cdef Py_ssize_t size = table.identities.size - begin
    cdef uint64_t hash = series_hash(identity, size, table.seed)
    cdef uint64_t slot = hash & table.mask
    cdef Series* known
    while table.slots[slot]:
        known = &table.series[table.slots[slot] - 1]
        if known.hash == hash and known.size == size and memcmp(table.identities.data + known.begin, identity, size) == 0:
            table.identities.size = begin
            return table.slots[slot]
        slot = (slot + 1) & table.mask
    known = &table.series[table.count]
    known.hash = hash
    known.begin = begin
    known.size = size
    known.shown = shown
    table.count += 1
    table.slots[slot] = table.count
    return table.count
