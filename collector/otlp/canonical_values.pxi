"""Values of OTLP as text: scalars, arrays and maps on their own, and maps as pairs with dotted keys.

All of it is read from records that `check_record` found good: nothing is checked again. To be included after canonical_check.pxi.
"""

cdef enum:
    FEW = 24                       # so many are sorted, and searched for duplicates, in the simplest way


# ---- reading -------------------------------------------------------------------------------------------------------------

cdef int read_any_of(Scratch* s, Piece message, Link* more, Any* value) noexcept nogil:
    """An AnyValue: of its cases the last one counts; arrays, or maps, right after each other are one."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = at + message.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t bits = 0
    cdef Merged run
    cdef Piece part
    merged_begin(&run, at)
    value.kind = ANY_NONE
    value.number = 0
    value.piece = run.first
    while True:
        while at == end:
            if more == NULL:
                if value.kind == ANY_ARRAY or value.kind == ANY_MAP:
                    value.piece = run.first
                value.more = run.more
                return clean(s, &value.piece) if value.kind == ANY_STRING else DONE
            at = more.piece.at
            end = at + more.piece.size
            more = more.next
        at = tag(at, end, &number, &wire)
        if wire == LEN:
            at = piece(at, end, &part)
            if number == ANY_ARRAY or number == ANY_MAP:
                if value.kind != <int>number:
                    merged_begin(&run, at)
                value.kind = <int>number
                if merged_add(s, &run, part) != DONE:
                    return NO_MEMORY
            elif number == ANY_STRING or number == ANY_BYTES:
                value.kind = <int>number
                value.piece = part
        elif wire == VARINT and (number == ANY_BOOL or number == ANY_INT):
            at = varint(at, end, 10, &value.number)
            value.kind = <int>number
        elif wire == VARINT and number == 8:  # an index into the dictionary that only profiles have
            at = varint(at, end, 10, &bits)
            value.kind = ANY_NONE
        elif wire == FIXED64 and number == ANY_DOUBLE:
            memcpy(&value.number, at, 8)
            at += 8
            value.kind = ANY_DOUBLE
        else:
            at = skip(at, end, number, wire)


cdef int read_any(Scratch* s, const unsigned char* at, const unsigned char* end, Any* value) noexcept nogil:
    """An AnyValue that is in one piece."""
    return read_any_of(s, piece_of(at, end - at), NULL, value)


cdef inline uint64_t prefix_of(Piece text) noexcept nogil:
    """The first 8 bytes as a number that sorts as they do."""
    cdef uint64_t word = 0
    cdef Py_ssize_t i
    if text.size >= 8:
        memcpy(&word, text.at, 8)
        return (
            word >> 56 | (word >> 40 & 0xFF00) | (word >> 24 & 0xFF0000) | (word >> 8 & <uint64_t>0xFF000000)
            | (word << 8 & <uint64_t>0xFF00000000) | (word << 24 & <uint64_t>0xFF0000000000)
            | (word << 40 & <uint64_t>0xFF000000000000) | word << 56
        )
    for i in range(text.size):
        word |= <uint64_t>text.at[i] << (56 - 8 * i)
    return word


cdef int read_pair(Scratch* s, Piece message, Attribute* attribute) noexcept nogil:
    """A KeyValue."""
    cdef const unsigned char* at = message.at
    cdef const unsigned char* end = at + message.size
    cdef uint32_t number = 0, wire = 0
    cdef Merged values
    cdef Piece part
    if quick_pair(at, end, &attribute.key, &attribute.value):
        if s.dirty:
            if clean(s, &attribute.key) != DONE:
                return NO_MEMORY
            if attribute.value.kind == ANY_STRING and clean(s, &attribute.value.piece) != DONE:
                return NO_MEMORY
        attribute.prefix = prefix_of(attribute.key)
        return DONE
    attribute.key = piece_of(at, 0)
    merged_begin(&values, at)
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire == LEN:
            at = piece(at, end, &part)
            if number == 1:
                attribute.key = part
            elif number == 2 and merged_add(s, &values, part) != DONE:
                return NO_MEMORY
        else:
            at = skip(at, end, number, wire)
    if clean(s, &attribute.key) != DONE:
        return NO_MEMORY
    attribute.prefix = prefix_of(attribute.key)
    return read_any_of(s, values.first, values.more, &attribute.value)


cdef int attributes_grow(Scratch* s) noexcept nogil:
    cdef Py_ssize_t capacity = s.attributes_capacity + s.attributes_capacity // 2 + 32
    cdef Attribute* grown = <Attribute*>realloc(s.attributes, capacity * sizeof(Attribute))
    if grown == NULL:
        return NO_MEMORY
    s.attributes = grown
    s.attributes_capacity = capacity
    return DONE


cdef inline int attribute_push(Scratch* s, Piece message) noexcept nogil:
    """One KeyValue more. It may move all attributes."""
    cdef Attribute* attribute
    if s.attributes_count == s.attributes_capacity and attributes_grow(s) != DONE:
        return NO_MEMORY
    attribute = &s.attributes[s.attributes_count]
    attribute.order = <uint32_t>s.attributes_count
    s.attributes_count += 1
    return read_pair(s, message, attribute)


# ---- order and duplicates ------------------------------------------------------------------------------------------------

cdef inline int compare_pieces(Piece left, uint64_t left_prefix, Piece right, uint64_t right_prefix) noexcept nogil:
    """By bytes, which of UTF-8 is by code points."""
    cdef Py_ssize_t size
    cdef int difference
    if left_prefix != right_prefix:
        return -1 if left_prefix < right_prefix else 1
    size = left.size if left.size < right.size else right.size
    if size > 8:
        difference = memcmp(left.at + 8, right.at + 8, size - 8)
        if difference:
            return difference
    if left.size == right.size:
        return 0
    return -1 if left.size < right.size else 1


cdef inline bint attribute_below(Attribute* left, Attribute* right) noexcept nogil:
    """By key, then by arrival."""
    cdef int difference = compare_pieces(left.key, left.prefix, right.key, right.prefix)
    return difference < 0 or difference == 0 and left.order < right.order


cdef void sift_attribute(Attribute* items, Py_ssize_t root, Py_ssize_t count) noexcept nogil:
    cdef Attribute item = items[root]
    cdef Py_ssize_t child = 2 * root + 1
    while child < count:
        if child + 1 < count and attribute_below(&items[child], &items[child + 1]):
            child += 1
        if not attribute_below(&item, &items[child]):
            break
        items[root] = items[child]
        root = child
        child = 2 * root + 1
    items[root] = item


cdef void order_attributes(Attribute* items, Py_ssize_t count) noexcept nogil:
    """Sort by key, then by arrival: few by insertion, many as a heap."""
    cdef Py_ssize_t i, j
    cdef Attribute item
    if count <= FEW:
        for i in range(1, count):
            if attribute_below(&items[i], &items[i - 1]):
                item = items[i]
                j = i
                while j > 0 and attribute_below(&item, &items[j - 1]):
                    items[j] = items[j - 1]
                    j -= 1
                items[j] = item
        return
    for i in range(count // 2 - 1, -1, -1):
        sift_attribute(items, i, count)
    for i in range(count - 1, 0, -1):
        item = items[0]
        items[0] = items[i]
        items[i] = item
        sift_attribute(items, 0, i)


cdef void sift_arrival(Attribute* items, Py_ssize_t root, Py_ssize_t count) noexcept nogil:
    cdef Attribute item = items[root]
    cdef Py_ssize_t child = 2 * root + 1
    while child < count:
        if child + 1 < count and items[child].order < items[child + 1].order:
            child += 1
        if item.order >= items[child].order:
            break
        items[root] = items[child]
        root = child
        child = 2 * root + 1
    items[root] = item


cdef inline bint same_key(Attribute* left, Attribute* right) noexcept nogil:
    return (
        left.prefix == right.prefix
        and left.key.size == right.key.size
        and (left.key.size <= 8 or memcmp(left.key.at + 8, right.key.at + 8, left.key.size - 8) == 0)
    )


cdef Py_ssize_t unique_few(Attribute* items, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t kept = 0, i, j
    for i in range(count):
        for j in range(kept):
            if same_key(&items[j], &items[i]):
                items[j].value = items[i].value
                break
        else:
            if kept != i:
                items[kept] = items[i]
            kept += 1
    return kept


cdef Py_ssize_t unique_attributes(Attribute* items, Py_ssize_t count) noexcept nogil:
    """Of each key the last value at the place of the first one; -> how many there are."""
    cdef Py_ssize_t kept = 0, i
    cdef Attribute item
    if count <= FEW:
        return unique_few(items, count)
    order_attributes(items, count)
    for i in range(count):
        if kept and same_key(&items[kept - 1], &items[i]):
            items[kept - 1].value = items[i].value
        else:
            if kept != i:
                items[kept] = items[i]
            kept += 1
    for i in range(kept // 2 - 1, -1, -1):  # and back to the order of arrival
        sift_arrival(items, i, kept)
    for i in range(kept - 1, 0, -1):
        item = items[0]
        items[0] = items[i]
        items[i] = item
        sift_arrival(items, 0, i)
    return kept


cdef void sort_attributes(Scratch* s, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Entries of a map by key."""
    order_attributes(s.attributes + begin, end - begin)


cdef inline void elements_begin(Frame* frame, Any* value) noexcept nogil:
    """Before the first `next_element` of an array, or of a map, whose elements are KeyValues."""
    frame.at = value.piece.at
    frame.end = frame.at + value.piece.size
    frame.more = value.more


cdef bint next_element(Frame* frame, Piece* element) noexcept nogil:
    """The next element, if there is one more."""
    cdef uint32_t number = 0, wire = 0
    while True:
        while frame.at == frame.end:
            if frame.more == NULL:
                return False
            frame.at = frame.more.piece.at
            frame.end = frame.at + frame.more.piece.size
            frame.more = frame.more.next
        frame.at = tag(frame.at, frame.end, &number, &wire)
        if wire == LEN:
            frame.at = piece(frame.at, frame.end, element)
            if number == 1:
                return True
        else:
            frame.at = skip(frame.at, frame.end, number, wire)


cdef int map_begin(Scratch* s, Any* value, Py_ssize_t* begin, Py_ssize_t* end) noexcept nogil:
    """The entries of a map as `attributes[begin:end]`, keys unique, in order of arrival. Drop them by `attributes_count = begin`.

    `value` may not be one of the attributes, which may move.
    """
    cdef Frame elements
    cdef Piece entry
    elements_begin(&elements, value)
    begin[0] = s.attributes_count
    while next_element(&elements, &entry):
        if attribute_push(s, entry) != DONE:
            return NO_MEMORY
    if s.attributes_count - begin[0] > 1:
        s.attributes_count = begin[0] + unique_attributes(s.attributes + begin[0], s.attributes_count - begin[0])
    end[0] = s.attributes_count
    return DONE


# ---- text of a value on its own ------------------------------------------------------------------------------------------

cdef Py_ssize_t scalar_text(Any* value, unsigned char* out) noexcept nogil:
    """Text of nothing, a bool, an integer or a double; `out` has `NUMBER_BYTES`."""
    cdef double number
    if value.kind == ANY_INT:
        return signed_text(<int64_t>value.number, out)
    if value.kind == ANY_BOOL:
        if value.number:
            memcpy(out, <const char*>b"true", 4)
            return 4
        memcpy(out, <const char*>b"false", 5)
        return 5
    if value.kind == ANY_DOUBLE:
        memcpy(&number, &value.number, 8)
        return double_text(number, out)
    return 0


cdef int hex_put(Text* out, const unsigned char* at, Py_ssize_t size) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef unsigned char* to
    cdef Py_ssize_t i
    if text_room(out, 2 * size) != DONE:
        return NO_MEMORY
    to = out.data + out.size
    for i in range(size):
        to[2 * i] = digits[at[i] >> 4]
        to[2 * i + 1] = digits[at[i] & 15]
    out.size += 2 * size
    return DONE


cdef int value_begin(Scratch* s, Any* value, Text* out, Py_ssize_t stop, int* level) noexcept nogil:
    """A scalar, of which nothing beyond `stop` is needed; or the begin of an array or a map, which becomes the last frame."""
    cdef Py_ssize_t room = stop + 1 - out.size if stop >= out.size else 0
    cdef Frame* frame
    if value.kind == ANY_STRING:
        return text_put(out, value.piece.at, value.piece.size if value.piece.size < room else room)
    if value.kind == ANY_BYTES:
        room = room // 2 + 1
        return hex_put(out, value.piece.at, value.piece.size if value.piece.size < room else room)
    if value.kind != ANY_ARRAY and value.kind != ANY_MAP:
        if text_room(out, NUMBER_BYTES) != DONE:
            return NO_MEMORY
        out.size += scalar_text(value, out.data + out.size)
        return DONE
    frame = &s.frames[level[0]]
    level[0] += 1
    frame.kind = value.kind
    frame.begun = False
    if value.kind == ANY_ARRAY:
        elements_begin(frame, value)
        return text_byte(out, c"[")
    if map_begin(s, value, &frame.first, &frame.last) != DONE:
        return NO_MEMORY
    sort_attributes(s, frame.first, frame.last)
    frame.next = frame.first
    return text_byte(out, c"{")


cdef int inline_text(Scratch* s, Any value, Text* out, Py_ssize_t bytes_max, int level) noexcept nogil:
    """Append the text of any value on its own. It stops soon after `bytes_max` bytes: the caller cuts what is longer.

    Frames from `level` on are used.
    """
    cdef Py_ssize_t entries = s.attributes_count, stop = out.size + bytes_max
    cdef int base = level
    cdef Frame* frame
    cdef Piece element
    cdef Attribute entry
    if value_begin(s, &value, out, stop, &level) != DONE:
        return NO_MEMORY
    while level > base and out.size <= stop:
        frame = &s.frames[level - 1]
        if frame.kind == ANY_ARRAY:
            if not next_element(frame, &element):
                level -= 1
                if text_byte(out, c"]") != DONE:
                    return NO_MEMORY
                continue
            if read_any(s, element.at, element.at + element.size, &value) != DONE:
                return NO_MEMORY
        elif frame.next == frame.last:
            level -= 1
            s.attributes_count = frame.first
            if text_byte(out, c"}") != DONE:
                return NO_MEMORY
            continue
        if frame.begun and text_byte(out, c",") != DONE:
            return NO_MEMORY
        frame.begun = True
        if frame.kind == ANY_MAP:
            entry = s.attributes[frame.next]
            frame.next += 1
            value = entry.value
            if text_put(out, entry.key.at, entry.key.size) != DONE or text_byte(out, c"=") != DONE:
                return NO_MEMORY
        if value_begin(s, &value, out, stop, &level) != DONE:
            return NO_MEMORY
    s.attributes_count = entries
    return DONE
