"""Attributes as sorted pairs and as text, and the text of a log record. To be included after canonical_values.pxi."""

cdef enum:
    SEVERITIES_COUNT = 24
    DIVISIONS_MAX = 40             # of pairs that are sorted, before it is plain that they do not become less that way
    RANGES_MAX = 200

cdef struct Range:                 # pairs to be sorted: of their keys so many bytes are the same
    Py_ssize_t first
    Py_ssize_t last
    Py_ssize_t same
    int divisions

cdef const char* TRUNCATED_KEY = b"_truncated"
cdef uint64_t NO_MARK = UINT64_MAX


# ---- attributes as they come ---------------------------------------------------------------------------------------------

cdef inline void attributes_begin(Scratch* s) noexcept nogil:
    """For a new record, or a part of one that has attributes of its own."""
    s.attributes_count = 0
    s.attributes_seen = 0


cdef inline int attributes_add(Scratch* s, Piece message) noexcept nogil:
    """A KeyValue; those over the limit are counted and never looked at."""
    if s.attributes_seen == s.limits.attributes_max:
        s.cuts.attributes_dropped += 1
        return DONE
    s.attributes_seen += 1
    return attribute_push(s, message)


cdef inline void attributes_end(Scratch* s) noexcept nogil:
    """All have come: of a key that is there twice, which the protocol forbids, the last value stays at the first one's place."""
    if s.attributes_count > 1:
        s.attributes_count = unique_attributes(s.attributes, s.attributes_count)


cdef Py_ssize_t attribute_find(Scratch* s, const char* key, Py_ssize_t size) noexcept nogil:
    """The place of a key, or -1."""
    cdef Py_ssize_t i
    for i in range(s.attributes_count):
        if s.attributes[i].key.size == size and (size == 0 or memcmp(s.attributes[i].key.at, key, size) == 0):
            return i
    return -1


cdef void attribute_remove(Scratch* s, Py_ssize_t place) noexcept nogil:
    s.attributes_count -= 1
    while place < s.attributes_count:
        s.attributes[place] = s.attributes[place + 1]
        place += 1


# ---- pairs ---------------------------------------------------------------------------------------------------------------

cdef int pairs_grow(Scratch* s) noexcept nogil:
    cdef Py_ssize_t capacity = s.pairs_capacity + s.pairs_capacity // 2 + 32
    cdef Pair* grown = <Pair*>realloc(s.pairs, capacity * sizeof(Pair))
    if grown == NULL:
        return NO_MEMORY
    s.pairs = grown
    s.pairs_capacity = capacity
    return DONE


cdef inline int pair_push(Scratch* s, Piece key, uint64_t prefix, Piece text) noexcept nogil:
    cdef Pair* pair
    if s.pairs_count == s.pairs_capacity and pairs_grow(s) != DONE:
        return NO_MEMORY
    pair = &s.pairs[s.pairs_count]
    pair.key = key
    pair.prefix = prefix
    pair.text = text
    s.pairs_count += 1
    return DONE


cdef bint pair_below(Pair* left, Pair* right, Py_ssize_t same) noexcept nogil:
    """By key, then by text. So many bytes of the keys are the `same`, and `prefix` is what follows them."""
    cdef Py_ssize_t size
    cdef int difference = compare_pieces(
        piece_of(left.key.at + same, left.key.size - same), left.prefix,
        piece_of(right.key.at + same, right.key.size - same), right.prefix,
    )
    if difference:
        return difference < 0
    size = left.text.size if left.text.size < right.text.size else right.text.size
    difference = memcmp(left.text.at, right.text.at, size) if size else 0
    return difference < 0 or difference == 0 and left.text.size < right.text.size


cdef void sift_pair(Pair* items, Py_ssize_t root, Py_ssize_t count, Py_ssize_t same) noexcept nogil:
    cdef Pair item = items[root]
    cdef Py_ssize_t child = 2 * root + 1
    while child < count:
        if child + 1 < count and pair_below(&items[child], &items[child + 1], same):
            child += 1
        if not pair_below(&item, &items[child], same):
            break
        items[root] = items[child]
        root = child
        child = 2 * root + 1
    items[root] = item


cdef void order_by_comparing(Pair* items, Py_ssize_t count, Py_ssize_t same) noexcept nogil:
    """Few by insertion, many as a heap."""
    cdef Py_ssize_t i, j
    cdef Pair item
    if count <= FEW:
        for i in range(1, count):
            if items[i - 1].prefix < items[i].prefix or not pair_below(&items[i], &items[i - 1], same):
                continue
            item = items[i]
            j = i
            while j > 0 and pair_below(&item, &items[j - 1], same):
                items[j] = items[j - 1]
                j -= 1
            items[j] = item
        return
    for i in range(count // 2 - 1, -1, -1):
        sift_pair(items, i, count, same)
    for i in range(count - 1, 0, -1):
        item = items[0]
        items[0] = items[i]
        items[i] = item
        sift_pair(items, 0, i, same)


cdef inline void swap_pairs(Pair* left, Pair* right) noexcept nogil:
    cdef Pair item = left[0]
    left[0] = right[0]
    right[0] = item


cdef inline uint64_t middle_of(uint64_t a, uint64_t b, uint64_t c) noexcept nogil:
    if a > b:
        a, b = b, a
    return a if c < a else c if c < b else b


cdef Py_ssize_t ended_first(Pair* items, Py_ssize_t count, Py_ssize_t same) noexcept nogil:
    """Move the pairs whose keys end within their prefix to the front, for they come before those that go on; -> how many."""
    cdef Py_ssize_t ended = 0, i
    for i in range(count):
        if items[i].key.size <= same + 8:
            swap_pairs(&items[ended], &items[i])
            ended += 1
        else:
            items[i].prefix = prefix_of(piece_of(items[i].key.at + same + 8, items[i].key.size - same - 8))
    return ended


cdef void order_pairs(Pair* items, Py_ssize_t count) noexcept nogil:
    """By key, then by text. Many are sorted by 8 bytes of their keys at a time, for those of nested maps begin alike.

    A quicksort with three parts whose middle one goes on 8 bytes later; what it divides badly is sorted as a heap.
    """
    cdef Range[RANGES_MAX] ranges
    cdef Range part
    cdef int waiting = 1
    cdef uint64_t pivot
    cdef Py_ssize_t low, high, i
    ranges[0].first, ranges[0].last, ranges[0].same, ranges[0].divisions = 0, count, 0, 0
    while waiting:
        waiting -= 1
        part = ranges[waiting]
        if part.last - part.first <= FEW or part.divisions == DIVISIONS_MAX or waiting + 3 > RANGES_MAX:
            order_by_comparing(items + part.first, part.last - part.first, part.same)
            continue
        pivot = middle_of(
            items[part.first].prefix, items[(part.first + part.last) // 2].prefix, items[part.last - 1].prefix
        )
        low, high, i = part.first, part.last, part.first
        while i < high:
            if items[i].prefix < pivot:
                swap_pairs(&items[low], &items[i])
                low += 1
                i += 1
            elif items[i].prefix > pivot:
                high -= 1
                swap_pairs(&items[i], &items[high])
            else:
                i += 1
        part.divisions += 1
        ranges[waiting], ranges[waiting + 1], ranges[waiting + 2] = part, part, part
        ranges[waiting].last = low
        ranges[waiting + 1].first = high
        i = low + ended_first(items + low, high - low, part.same)
        order_by_comparing(items + low, i - low, part.same)
        ranges[waiting + 2].first = i
        ranges[waiting + 2].last = high
        ranges[waiting + 2].same += 8
        ranges[waiting + 2].divisions = 0
        waiting += 3


cdef int leaf_key(Scratch* s, Piece prefix, bint dotted, Piece name, Piece* key) noexcept nogil:
    """`prefix.name`, or the name alone, cut."""
    cdef Py_ssize_t size = prefix.size + 1 + name.size, kept, bytes_max = s.limits.key_bytes_max
    cdef unsigned char* at
    if not dotted:
        key[0] = name
        cut(s, key, bytes_max)
        return DONE
    kept = size if size <= bytes_max else bytes_max + 1  # with the byte that tells where a cut may be
    at = arena_take(s, kept)       # at least the prefix, which was cut itself, and the dot
    if at == NULL:
        return NO_MEMORY
    if prefix.size:
        memcpy(at, prefix.at, prefix.size)
    at[prefix.size] = c"."
    if kept > prefix.size + 1:
        memcpy(at + prefix.size + 1, name.at, kept - prefix.size - 1)
    key[0] = piece_of(at, kept)
    cut(s, key, bytes_max)
    return DONE


cdef inline int leaf_text(Scratch* s, Any* value, Piece* text, int level) noexcept nogil:
    """The text of a value that makes one pair, cut."""
    cdef unsigned char* at
    if value.kind == ANY_STRING:
        text[0] = value.piece
    elif value.kind < ANY_ARRAY:
        at = arena_take(s, NUMBER_BYTES)
        if at == NULL:
            return NO_MEMORY
        text[0] = piece_of(at, scalar_text(value, at))
        arena_shrink(s, NUMBER_BYTES - text.size)
    else:
        s.inlined.size = 0
        if inline_text(s, value[0], &s.inlined, s.limits.value_bytes_max, level) != DONE:
            return NO_MEMORY
        text[0] = piece_of(s.inlined.data, s.inlined.size)
        cut(s, text, s.limits.value_bytes_max)
        return arena_copy(s, text.at, text.size, text)
    cut(s, text, s.limits.value_bytes_max)
    return DONE


cdef int flatten_one(
    Scratch* s, Piece prefix, bint dotted, Piece name, Any* value, Py_ssize_t pairs_max, int* level
) noexcept nogil:
    """A pair for a value that holds no others; a map that does becomes the last frame."""
    cdef Frame* frame = &s.frames[level[0]]
    cdef Mark mark
    cdef Piece key, text
    if value.kind == ANY_MAP:
        if map_begin(s, value, &frame.first, &frame.last) != DONE:
            return NO_MEMORY
        if frame.last > frame.first:
            frame.next = frame.first
            level[0] += 1
            return leaf_key(s, prefix, dotted, name, &frame.prefix)
    mark = arena_mark(s)
    if leaf_key(s, prefix, dotted, name, &key) != DONE or leaf_text(s, value, &text, level[0]) != DONE:
        return NO_MEMORY
    if s.pairs_count >= pairs_max:
        s.pairs_over += 1
        arena_back(s, mark)
        return DONE
    return pair_push(s, key, prefix_of(key), text)


cdef int flatten(Scratch* s, Piece key, Any value, Py_ssize_t pairs_max) noexcept nogil:
    """A pair for each leaf of a value, in order of arrival; an empty map is a leaf, so that its key is not lost."""
    cdef int level = 0
    cdef Frame* frame
    cdef Attribute entry
    if flatten_one(s, key, False, key, &value, pairs_max, &level) != DONE:
        return NO_MEMORY
    while level:
        frame = &s.frames[level - 1]
        if frame.next == frame.last:
            s.attributes_count = frame.first
            level -= 1
            continue
        entry = s.attributes[frame.next]
        frame.next += 1
        if flatten_one(s, frame.prefix, True, entry.key, &entry.value, pairs_max, &level) != DONE:
            return NO_MEMORY
    return DONE


cdef int attributes_pairs(Scratch* s, uint64_t before) noexcept nogil:
    """The attributes as sorted `pairs`; with `_truncated` among them if anything was cut since `before` (`NO_MARK`: never)."""
    cdef Py_ssize_t count = s.attributes_count, i
    cdef Attribute* attribute
    cdef Piece text
    s.pairs_count = 0
    s.pairs_over = 0
    for i in range(count):
        if s.pairs_count >= s.limits.attributes_max:
            s.cuts.attributes_dropped += <uint64_t>(count - i)
            break
        attribute = &s.attributes[i]
        if attribute.value.kind >= ANY_ARRAY or attribute.key.size > s.limits.key_bytes_max:
            if flatten(s, attribute.key, attribute.value, s.limits.attributes_max) != DONE:
                return NO_MEMORY
        elif leaf_text(s, &attribute.value, &text, 0) != DONE:
            return NO_MEMORY
        elif pair_push(s, attribute.key, attribute.prefix, text) != DONE:
            return NO_MEMORY
    s.cuts.attributes_dropped += <uint64_t>s.pairs_over
    if before != NO_MARK and s.cuts.truncated > before:
        text = piece_of(<const unsigned char*>TRUNCATED_KEY, 10)
        if pair_push(s, text, prefix_of(text), piece_of(<const unsigned char*><const char*>b"true", 4)) != DONE:
            return NO_MEMORY
    order_pairs(s.pairs, s.pairs_count)
    return DONE


cdef int pairs_text(Scratch* s, Text* out, bint first) noexcept nogil:
    """Append ` key=value` for each pair; the `first` one on its line has no blank before it."""
    cdef Py_ssize_t size = 2 * s.pairs_count, i
    cdef unsigned char* to
    cdef Pair* pair
    for i in range(s.pairs_count):
        size += s.pairs[i].key.size + s.pairs[i].text.size
    if text_room(out, size) != DONE:
        return NO_MEMORY
    to = out.data + out.size
    for i in range(s.pairs_count):
        pair = &s.pairs[i]
        if not first:
            to[0] = c" "
            to += 1
        first = False
        if pair.key.size:
            memcpy(to, pair.key.at, pair.key.size)
            to += pair.key.size
        to[0] = c"="
        to += 1
        if pair.text.size:
            memcpy(to, pair.text.at, pair.text.size)
            to += pair.text.size
    out.size = to - out.data
    return DONE


# ---- bodies and log records ----------------------------------------------------------------------------------------------

cdef int map_text(Scratch* s, Any* value) noexcept nogil:
    """A body that is a map as sorted `key=value`, into `s.body`; it stops soon after what a body may have."""
    cdef Py_ssize_t begin = 0, end = 0, i, room
    cdef Pair* pair
    s.pairs_count = 0
    if map_begin(s, value, &begin, &end) != DONE:
        return NO_MEMORY
    for i in range(begin, end):
        if flatten(s, s.attributes[i].key, s.attributes[i].value, PY_SSIZE_T_MAX) != DONE:
            return NO_MEMORY
    s.attributes_count = begin
    order_pairs(s.pairs, s.pairs_count)
    for i in range(s.pairs_count):
        pair = &s.pairs[i]
        room = s.limits.body_bytes_max + 1 - s.body.size
        if room <= 0:
            break
        if i and text_byte(&s.body, c" ") != DONE:
            return NO_MEMORY
        if text_put(&s.body, pair.key.at, pair.key.size) != DONE or text_byte(&s.body, c"=") != DONE:
            return NO_MEMORY
        if text_put(&s.body, pair.text.at, pair.text.size) != DONE:
            return NO_MEMORY
    s.pairs_count = 0
    return DONE


cdef int body_text(Scratch* s, Any* body, Piece* text) noexcept nogil:
    """Text of a body, uncut: a string as it is, a map as sorted pairs, anything else as one value. Valid until the next."""
    if body.kind == ANY_STRING:
        text[0] = body.piece
        return DONE
    s.body.size = 0
    if body.kind == ANY_MAP:
        if map_text(s, body) != DONE:
            return NO_MEMORY
    elif inline_text(s, body[0], &s.body, s.limits.body_bytes_max, 0) != DONE:
        return NO_MEMORY
    text[0] = piece_of(s.body.data, s.body.size)
    return DONE


cdef inline int part_put(Scratch* s, Text* out, Piece part, Py_ssize_t bytes_max, bint* first) noexcept nogil:
    """A part of a line and the blank before it, unless it is empty."""
    if part.size == 0:
        return DONE
    cut(s, &part, bytes_max)
    if not first[0] and text_byte(out, c" ") != DONE:
        return NO_MEMORY
    first[0] = False
    return text_put(out, part.at, part.size)


cdef int log_text(Scratch* s, Text* out, Piece severity, Piece event_name, Piece body, uint64_t before) noexcept nogil:
    """Append the text of a log record: `[SEVERITY ][event_name ]body[ key=value ...]`, the attributes being those of `s`.

    `before` is how many cuts there were when the record began.
    """
    cdef bint first = True
    cut(s, &body, s.limits.body_bytes_max)
    if part_put(s, out, severity, s.limits.key_bytes_max, &first) != DONE:
        return NO_MEMORY
    if part_put(s, out, event_name, s.limits.key_bytes_max, &first) != DONE:
        return NO_MEMORY
    if part_put(s, out, body, PY_SSIZE_T_MAX, &first) != DONE:
        return NO_MEMORY
    if s.attributes_count or s.cuts.truncated > before:
        if attributes_pairs(s, before) != DONE:
            return NO_MEMORY
        return pairs_text(s, out, first)
    return DONE
