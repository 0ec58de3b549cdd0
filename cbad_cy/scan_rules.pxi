"""Of the scanner in tokenize.pyx: rules 1 to 5, each a function that reads at one position and emits what stands there."""

cdef inline int digits_end(Scan* c, int start) noexcept nogil:
    cdef int i = start
    while i < c.n and BYTE_CLASS[c.s[i]] & DIGIT:
        i += 1
    c.steps += i - start + 1
    return i


cdef inline bint word_at(const Scan* c, int i) noexcept nogil:
    return i < c.n and BYTE_CLASS[c.s[i]] & WORDBYTE != 0


cdef inline bint digit_at(const Scan* c, int i) noexcept nogil:
    return i < c.n and BYTE_CLASS[c.s[i]] & DIGIT != 0


cdef bint uuid_at(Scan* c, int start) noexcept nogil:
    """Rule 1: 8-4-4-4-12 hexadecimal digits, no letter or digit behind them (whoever asks looks before them)."""
    cdef int i
    if start + UUID_BYTES > c.n:
        return False
    for i in range(UUID_BYTES):
        c.steps += 1
        if i == 8 or i == 13 or i == 18 or i == 23:
            if c.s[start + i] != c'-':
                return False
        elif not BYTE_CLASS[c.s[start + i]] & (DIGIT | HEXLETTER):
            return False
    return start + UUID_BYTES == c.n or not BYTE_CLASS[c.s[start + UUID_BYTES]] & ALNUM


cdef inline bint names_date(const unsigned char* s, int n, int names_count) noexcept nogil:
    """Rule 5: is s[:n] one of 12 months, or else one of 7 weekdays, in full or by its first three letters?"""
    cdef const char* names = b"JanuaryFebruaryMarchAprilMayJuneJulyAugustSeptemberOctoberNovemberDecember" \
                             b"MondayTuesdayWednesdayThursdayFridaySaturdaySunday"
    cdef const char* sizes = b"\x07\x08\x05\x05\x03\x04\x04\x06\x09\x07\x08\x08\x06\x07\x09\x08\x06\x08\x06"
    cdef int i
    if n < 3 or n > 9 or not BYTE_CLASS[s[0]] & UPPER:
        return False
    for i in range(names_count):
        if (n == 3 or n == sizes[i]) and memcmp(s, names, n) == 0:
            return True
        names += sizes[i]
    return False


cdef bint month_year_at(Scan* c, int start) noexcept nogil:
    """Does source[start:] begin with the first three letters of a month, `/`, and a run of four digits?"""
    c.steps += 9
    return (
        start + 8 <= c.n and c.s[start + 3] == c'/' and names_date(&c.s[start], 3, 12)
        and digit_at(c, start + 4) and digit_at(c, start + 5) and digit_at(c, start + 6) and digit_at(c, start + 7)
        and not word_at(c, start + 8)
    )


cdef int group_kind(int joints, int first, int dots, int hyphens, int slashes, bint colons, int first_bytes) noexcept nogil:
    """Rule 2; `dots` counts leading dots, `colons`: two in a row, `first`: the first separator."""
    if dots >= 3:
        return K_IP
    if joints == 0 or (joints == 1 and first == c'.'):
        return K_NUMBER
    if colons or hyphens >= 2 or slashes >= 2 or (first == c':' and first_bytes == 2):
        return K_TIME
    return K_VALUE


cdef Group number_group(Scan* c, int start, int end) noexcept nogil:
    """Rule 2: extend the digit run source[start:end] over single separators and further whole digit runs."""
    cdef Group g
    cdef unsigned char sep, first = 0, last = 0
    cdef int r, dots = 0, hyphens = 0, slashes = 0
    cdef bint colons = False, clock = False, joined
    g.end = end
    g.first_end = end
    g.joints = 0
    while g.end + 1 < c.n:
        sep = c.s[g.end]
        if not (sep == c'.' or sep == c':' or sep == c'/' or sep == c'-' or (sep == c',' and g.joints)):
            break
        if sep == c'/' and g.joints == 0 and month_year_at(c, g.end + 1):
            slashes += 1
            g.joints += 1
            g.end += 4
        if not digit_at(c, g.end + 1):
            break
        r = digits_end(c, g.end + 1)
        if r - g.end == 9 and uuid_at(c, g.end + 1):
            break
        joined = False
        if word_at(c, r):
            if clock and c.s[r] == c'Z' and not word_at(c, r + 1):
                r += 1
            elif (
                c.s[r] == c'T' and sep == c'-' and g.joints == 1 and hyphens == 1 and end - start == 4
                and digit_at(c, r + 1) and digit_at(c, r + 2) and r + 3 < c.n and c.s[r + 3] == c':'
            ):
                joined = clock = True
                r += 3
            else:
                break
        if g.joints == 0:
            first = sep
        dots += sep == c'.' and dots == g.joints
        hyphens += sep == c'-'
        slashes += sep == c'/'
        colons = colons or (sep == c':' and last == c':')
        last = c'T' if joined else sep
        g.joints += 1 + joined
        g.end = r
        if g.joints <= 3:
            g.first_end = r
        if c.s[r - 1] == c'Z':
            break
    g.kind = group_kind(g.joints, first, dots, hyphens, slashes, colons, end - start)
    return g


cdef int take_group(Scan* c, int source_start, int start, int end) noexcept nogil:
    """Emit the number group whose first digits are source[start:end]; source_start < start where a minus belongs to it."""
    cdef Group g = number_group(c, start, end)
    cdef int m0 = begin(c)
    if g.kind == K_IP:
        slot(c, K_IP, start, g.first_end)
    elif g.kind != K_TIME:
        slot(c, g.kind, source_start, g.end)
    keep(c, g.kind, m0, put(c, m0, g.kind), source_start, g.end)
    return g.end


cdef int take_path(Scan* c, int start) noexcept nogil:
    """Rule 3: emit the path at source[start] and -> behind it; -> start when there is none."""
    cdef int end = start, slashes = 0, m0, m1
    while end < c.n and BYTE_CLASS[c.s[end]] & (WORDBYTE | PATHMARK):
        if c.s[end] == c':' and (end + 1 == c.n or BYTE_CLASS[c.s[end + 1]] & SPACE):
            break
        slashes += c.s[end] == c'/'
        end += 1
    c.steps += end - start + 1
    if slashes < 2:
        return start
    while c.s[end - 1] == c'.' or c.s[end - 1] == c':':
        end -= 1
    slot(c, K_PATH, start, end)
    m0 = begin(c)
    m1 = put(c, m0, K_PATH) if c.paths_as_slots else put_digits_masked(c, m0, start, end, False)
    keep(c, K_PATH, m0, m1, start, end)
    return end


cdef int piece_kind(Scan* c, int start, int end) noexcept nogil:
    """Rule 4 for source[start:end], which holds no `_`."""
    cdef int i, switches = 0, seen = 0, byte, before = 0
    cdef bint hexadecimal = True
    c.steps += end - start
    for i in range(start, end):
        byte = BYTE_CLASS[c.s[i]]
        seen |= byte
        hexadecimal = hexadecimal and byte & (DIGIT | HEXLETTER) != 0
        switches += i > start and (byte ^ before) & DIGIT != 0
        before = byte
    if not seen & DIGIT:
        return K_WORD
    if seen == DIGIT:
        return K_NUMBER
    if hexadecimal and end - start >= HEX_BYTES_MIN:
        return K_HEX
    if switches >= OPAQUE_SWITCHES_MIN or (end - start >= OPAQUE_BYTES_MIN and seen & UPPER and seen & LOWER):
        return K_OPAQUE
    return K_SHAPE


cdef int put_pieces(Scan* c, int m, int start, int end, int* kind) noexcept nogil:
    """Rule 4: write the run source[start:end], which holds a digit, to out[m:]; -> behind it. A sole piece sets `kind`."""
    cdef int i = start, j, k
    kind[0] = K_WORD
    while True:
        j = i
        while j < end and c.s[j] != c'_':
            j += 1
        k = piece_kind(c, i, j)
        if k == K_WORD:
            memcpy(&c.out[m], &c.s[i], j - i)
            m += j - i
        elif k == K_SHAPE:
            m = put_digits_masked(c, m, i, j, True)
        else:
            m = put(c, m, k)
            slot(c, k, i, j)
        if k != K_WORD:
            kind[0] = k if i == start and j == end else K_SHAPE
        if j == end:
            return m
        c.out[m] = c'_'
        m += 1
        i = j + 1


cdef int take_word(Scan* c, int start, int end, int seen) noexcept nogil:
    """Rules 4 and 5: emit the run source[start:end], whose bytes' classes are `seen`; -> behind it."""
    cdef int m0 = begin(c), m1, kind = K_WORD, r
    cdef Group g
    if seen & DIGIT:
        m1 = put_pieces(c, m0, start, end, &kind)
    elif names_date(&c.s[start], end - start, 19):
        kind = K_DATE
        m1 = put(c, m0, K_DATE)
    else:
        memcpy(&c.out[m0], &c.s[start], end - start)
        m1 = m0 + end - start
    if c.s[end - 1] == c'_' and end < c.n and c.s[end] == c'-' and digit_at(c, end + 1):
        r = digits_end(c, end + 1)
        if not word_at(c, r) and not uuid_at(c, end + 1):
            g = number_group(c, end + 1, r)
            if g.joints == 0:
                kind = K_SHAPE
                m1 = put(c, m1, K_NUMBER)
                slot(c, K_NUMBER, end, r)
                end = r
    keep(c, kind, m0, m1, start, end)
    return end


cdef int take_run(Scan* c, int start) noexcept nogil:
    """Rules 1, 2, 4, 5 at source[start], the first byte of a run; -> behind what was emitted."""
    cdef int end = start, seen = 0, m0
    while end < c.n and BYTE_CLASS[c.s[end]] & WORDBYTE:
        seen |= BYTE_CLASS[c.s[end]]
        end += 1
    c.steps += end - start + 1
    if (
        end - start >= 8 and end < c.n and c.s[end] == c'-'
        and (end - start == 8 or c.s[end - 9] == c'_') and uuid_at(c, end - 8)
    ):
        if end - start > 8:
            return take_word(c, start, end - 8, seen)
        m0 = begin(c)
        slot(c, K_UUID, start, start + UUID_BYTES)
        keep(c, K_UUID, m0, put(c, m0, K_UUID), start, start + UUID_BYTES)
        return start + UUID_BYTES
    if seen == DIGIT:
        return take_group(c, start, start, end)
    return take_word(c, start, end, seen)


cdef int take_other(Scan* c, int start) noexcept nogil:
    """Emit or drop what starts at source[start], neither whitespace nor a run; -> behind it."""
    cdef unsigned char byte = c.s[start]
    cdef int end, m0
    if byte == c'-' and digit_at(c, start + 1) and not (start and (start == c.after or BYTE_CLASS[c.s[start - 1]] & ALNUM)):
        end = digits_end(c, start + 1)
        if not word_at(c, end) and not uuid_at(c, start + 1):
            return take_group(c, start, start + 1, end)
    elif byte == c'/' and start + 1 < c.n:
        if BYTE_CLASS[c.s[start + 1]] & LETTER:
            end = take_path(c, start)
            if end > start:
                return end
        elif digit_at(c, start + 1) and (start == 0 or (start != c.after and BYTE_CLASS[c.s[start - 1]] & SPACE)):
            end = digits_end(c, start + 1)
            if not word_at(c, end) and not uuid_at(c, start + 1):
                return start + 1
    m0 = begin(c)
    c.out[m0] = byte
    keep(c, K_PUNCT, m0, m0 + 1, start, start + 1)
    return start + 1


cdef inline void scan_piece(Scan* c, int i) noexcept nogil:
    """Rules 1 to 6 for c.s[i:c.n], which begins a line or follows a match."""
    cdef int byte
    while i < c.n:
        byte = BYTE_CLASS[c.s[i]]
        if byte & WORDBYTE:
            i = take_run(c, i)
        elif byte & SPACE:
            c.space = True
            i += 1
        else:
            i = take_other(c, i)
        c.steps += 1


cdef void scan(Scan* c) noexcept nogil:
    """Mask c.s[:c.n] into c.out[:c.w], c.tokens[:c.depth] and c.slots[:c.slot_count]."""
    c.w = c.depth = c.slot_count = 0
    c.space = False
    c.after = -1
    if c.masks == NULL:
        scan_piece(c, 0)
    else:
        scan_masked(c)
