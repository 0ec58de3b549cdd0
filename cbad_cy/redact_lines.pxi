"""Of redact.pyx: attributes of a line, matches of all rules in it, and what becomes of those that overlap."""

cdef int add_place(Search* c, Py_ssize_t start, Py_ssize_t end, int rule) noexcept nogil:
    cdef Place* grown
    if c.count == c.room:
        grown = <Place*>realloc(c.places, (2 * c.room + 64) * sizeof(Place))
        if grown == NULL:
            return -1
        c.places = grown
        c.room = 2 * c.room + 64
    c.places[c.count].line = c.line
    c.places[c.count].start = <uint32_t>start
    c.places[c.count].end = <uint32_t>end
    c.places[c.count].rule = <uint32_t>rule
    c.count += 1
    return 0


cdef inline Py_ssize_t run_end(Search* c, int element, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """Behind the longest run of the element's bytes that begins at s[start]. Each byte is looked at once by each element."""
    cdef const Element* e = &c.table.elements[element]
    cdef Extent* seen = &c.extents[element]
    cdef const unsigned char* p = c.s + start
    if not seen.start <= p < seen.end:
        seen.start = p
        while p < c.s + n and e.members[p[0] >> 6] >> (p[0] & 63) & 1:
            p += 1
        seen.end = p
        c.steps += p - seen.start
    return seen.end - c.s


cdef bint mask(Search* c, const Rule* rule, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """Does the rule's mask match at s[i]? As masks of profiles do, but for whitespace, which may begin one."""
    cdef const unsigned char* s = c.s
    cdef const Element* e
    cdef Py_ssize_t p = i, end
    cdef int k
    if not rule.starts_within and is_of(s[i], R_WORD) and word_before(s, i, lo):
        return False
    for k in range(rule.first, rule.stop):
        e = &c.table.elements[k]
        c.steps += 1
        if e.text != NULL:
            if n - p < e.least or memcmp(&s[p], e.text, e.least) != 0:
                return False
            c.steps += e.least
            p += e.least
        else:
            end = run_end(c, k, p, n)
            if end - p < e.least:
                return False
            p = end if end - p <= e.most else p + e.most
    if p < n and (s[p] & 0xC0 == 0x80 or (not rule.ends_within and is_of(s[p], R_WORD) and is_of(s[p - 1], R_WORD))):
        return False
    found.start = i
    found.end = p
    return True


cdef bint match(Search* c, const Rule* rule, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """What the rule finds at s[i], of s[lo:n]."""
    if rule.kind == KIND_MASK:
        return mask(c, rule, i, lo, n, found)
    if rule.kind == KIND_EMAIL:
        return email(c, i, lo, n, found)
    if rule.kind == KIND_IP:
        return ip(c, i, lo, n, found)
    if rule.kind == KIND_CARD:
        return card(c, i, lo, n, found)
    if rule.kind == KIND_JWT:
        return jwt(c, i, lo, n, found)
    if rule.kind == KIND_BEARER:
        return bearer(c, i, lo, n, found)
    if rule.kind == KIND_AWS:
        return aws(c, i, lo, n, found)
    return rule.kind == KIND_URL and url(c, i, lo, n, found)


cdef int find_in_piece(Search* c, Py_ssize_t lo, Py_ssize_t n, uint64_t rules) noexcept nogil:
    """All that these rules find in s[lo:n], each from left to right; -> how often, -1: no memory."""
    cdef Py_ssize_t next_at[RULES_KEPT]
    cdef Py_ssize_t i
    cdef uint64_t wanted
    cdef Span found
    cdef int k, finds = 0
    found.start = found.end = lo
    for k in range(c.table.count):
        next_at[k] = lo
    c.steps += n - lo
    for i in range(lo, n):
        wanted = c.table.begins[c.s[i]] & rules
        while wanted:
            k = first_rule(wanted)
            wanted &= wanted - 1
            if i < next_at[k]:
                continue
            if match(c, &c.table.rules[k], i, next_at[k] if c.table.rules[k].kind == KIND_EMAIL else lo, n, &found):
                if add_place(c, found.start, found.end, k) != 0:
                    return -1
                next_at[k] = found.end
                finds += 1
            elif c.table.rules[k].kind == KIND_JWT:
                next_at[k] = found.end
    return finds


cdef int add_attribute(Search* c, Py_ssize_t key, Py_ssize_t value, bint inner) noexcept nogil:
    cdef Attribute* grown
    cdef Attribute* it
    if c.attribute_count == c.attribute_room:
        grown = <Attribute*>realloc(c.attributes, (2 * c.attribute_room + 64) * sizeof(Attribute))
        if grown == NULL:
            return -1
        c.attributes = grown
        c.attribute_room = 2 * c.attribute_room + 64
    it = &c.attributes[c.attribute_count]
    it.key = key
    it.value = value
    it.inner = inner
    c.attribute_count += 1
    return 0


cdef inline bint in_key(unsigned char byte) noexcept nogil:
    return is_of(byte, R_WORD) or byte == c'.' or byte == c'-' or byte == c'/' or byte == c':' or byte == c'@' or byte == c'$'


cdef int read_attributes(Search* c, Py_ssize_t lo, Py_ssize_t n) noexcept nogil:
    """All `key=` of the line s[lo:n], and where their values end. A key that has other bytes than `in_key` ends no value."""
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t i = lo, key, k, after = n, closing = n, p = n
    cdef Attribute* it
    c.attribute_count = 0
    while i < n:
        key = i
        while i < n and in_key(s[i]):
            i += 1
        if i > key and i < n and s[i] == c'=' and (
            key == lo or s[key - 1] == c' ' or s[key - 1] == c'{' or s[key - 1] == c','
        ):
            if add_attribute(c, key, i + 1, key > lo and s[key - 1] != c' ') != 0:
                return -1
        i += 1
    c.steps += n - lo
    for k in range(c.attribute_count - 1, -1, -1):
        it = &c.attributes[k]
        while p > it.value:
            p -= 1
            if (s[p] == c',' or s[p] == c'}') and s[p - 1] != c'\\':
                closing = p
        it.end = closing if it.inner else after
        if not it.inner and it.key > lo:
            after = it.key - 1
    c.steps += n - lo
    return 0


cdef bint is_named(const Rule* rule, const unsigned char* s, const Attribute* it) noexcept nogil:
    cdef Py_ssize_t size = it.value - 1 - it.key
    return (size == rule.name_bytes or (rule.prefix and size > rule.name_bytes)) and (
        memcmp(&s[it.key], rule.name, rule.name_bytes) == 0
    )


cdef int find_in_attributes(Search* c, int k, Py_ssize_t lo, Py_ssize_t n) noexcept nogil:
    """All that a rule finds in the attributes it is for. No byte is looked at twice, though attributes may hold others."""
    cdef const Rule* rule = &c.table.rules[k]
    cdef const Attribute* it
    cdef Py_ssize_t j, start, end, before, done = lo
    cdef int finds
    for j in range(c.attribute_count):
        it = &c.attributes[j]
        c.steps += 1
        if not is_named(rule, c.s, it):
            continue
        c.steps += rule.name_bytes
        start = it.value if it.value > done else done
        finds = 0
        before = c.count
        if rule.kind == KIND_WHOLE:
            finds = it.value < it.end or rule.drops
            if finds and not rule.drops and add_place(c, it.value, it.end, k) != 0:
                return -1
        elif start < it.end:
            finds = find_in_piece(c, start, it.end, <uint64_t>1 << k)
        if finds < 0:
            return -1
        if it.end > done:
            done = it.end
        if rule.drops and finds:
            c.count = before
            start = it.key - 1 if it.key > lo and c.s[it.key - 1] != c'{' else it.key
            end = it.end
            if start == it.key and end < n and (c.s[end] == c' ' or c.s[end] == c','):
                end += 1
            if add_place(c, start, end, k) != 0:
                return -1
    return 0


cdef int compare_places(const void* one, const void* other) noexcept nogil:
    cdef const Place* a = <const Place*>one
    cdef const Place* b = <const Place*>other
    if a.start != b.start:
        return -1 if a.start < b.start else 1
    if a.end != b.end:
        return -1 if a.end > b.end else 1
    return -1 if a.rule < b.rule else a.rule > b.rule


cdef void join_places(Search* c, Py_ssize_t first) noexcept nogil:
    """Places of a line from number `first` on: those that overlap become one, which the first of them decides."""
    cdef Py_ssize_t i, kept = first
    if c.count - first < 2:
        return
    qsort(&c.places[first], c.count - first, sizeof(Place), compare_places)
    for i in range(first + 1, c.count):
        if c.places[i].start < c.places[kept].end:
            if c.places[i].end > c.places[kept].end:
                c.places[kept].end = c.places[i].end
        else:
            kept += 1
            c.places[kept] = c.places[i]
    c.count = kept + 1


cdef int find_in_lines(
    Search* c, const unsigned char* text, const unsigned int* lengths, Py_ssize_t lines
) noexcept nogil:
    """All lines; -> 0, -1: no memory."""
    cdef Py_ssize_t line, lo = 0, n, first
    cdef uint64_t rules
    c.s = text
    for line in range(lines):
        n = lo + lengths[line]
        first = c.count
        c.line = <uint32_t>line
        if c.table.of_lines and find_in_piece(c, lo, n, c.table.of_lines) < 0:
            return -1
        if c.table.of_attributes and n > lo:
            if read_attributes(c, lo, n) != 0:
                return -1
            rules = c.table.of_attributes
            while rules:
                if find_in_attributes(c, first_rule(rules), lo, n) != 0:
                    return -1
                rules &= rules - 1
        join_places(c, first)
        lo = n
    return 0
