"""Of the scanner in tokenize.pyx: classes of bytes, the state of one scan, and how masked text is written (rule 6)."""

cdef extern from * nogil:
    """
    enum { DIGIT = 1, HEXLETTER = 2, LOWER = 4, UPPER = 8, UNDERSCORE = 16, HIGH = 32, SPACE = 64, PATHMARK = 128 };
    static const unsigned char BYTE_CLASS[256] = {
        ['\\t'] = SPACE, ['\\n'] = SPACE, ['\\v'] = SPACE, ['\\f'] = SPACE, ['\\r'] = SPACE, [' '] = SPACE,
        ['0'] = DIGIT, ['1'] = DIGIT, ['2'] = DIGIT, ['3'] = DIGIT, ['4'] = DIGIT,
        ['5'] = DIGIT, ['6'] = DIGIT, ['7'] = DIGIT, ['8'] = DIGIT, ['9'] = DIGIT,
        ['A' ... 'F'] = UPPER | HEXLETTER, ['G' ... 'Z'] = UPPER,
        ['a' ... 'f'] = LOWER | HEXLETTER, ['g' ... 'z'] = LOWER,
        ['_'] = UNDERSCORE, [0x80 ... 0xff] = HIGH,
        ['/'] = PATHMARK, ['.'] = PATHMARK, ['-'] = PATHMARK, [':'] = PATHMARK, ['$'] = PATHMARK,
        ['@'] = PATHMARK, ['%'] = PATHMARK, ['+'] = PATHMARK, ['='] = PATHMARK, ['~'] = PATHMARK,
    };
    """
    const unsigned char BYTE_CLASS[256]
    enum: DIGIT, HEXLETTER, LOWER, UPPER, UNDERSCORE, HIGH, SPACE, PATHMARK

cdef enum:
    LETTER = LOWER | UPPER | HIGH
    ALNUM = DIGIT | LOWER | UPPER | HIGH
    WORDBYTE = DIGIT | LOWER | UPPER | HIGH | UNDERSCORE
    UUID_BYTES = 36
    HEX_BYTES_MIN = 4
    OPAQUE_SWITCHES_MIN = 3
    OPAQUE_BYTES_MIN = 16

cdef enum:
    K_WORD, K_PUNCT, K_SHAPE, K_NUMBER, K_UUID, K_IP, K_TIME, K_VALUE, K_HEX, K_OPAQUE, K_DATE, K_PATH, K_MASK

cdef struct Token:
    int kind
    int masked_start
    int masked_end
    int source_start
    int source_end

cdef struct Slot:
    int kind
    int start
    int end

cdef struct Group:
    int end        # behind the last byte of the number group
    int joints     # separators in it
    int first_end  # behind the first four numbers or fewer: the address of an <IP>
    int kind

cdef struct Scan:
    const unsigned char* s  # the line
    int n                   # its bytes
    unsigned char* out      # at least n bytes
    int w                   # bytes written
    Token* tokens           # at least n
    int depth               # tokens that survived rule 6 so far
    Slot* slots             # at least n, or NULL when not wanted
    int slot_count
    bint space              # whitespace stands before the token at hand
    bint paths_as_slots
    const MaskTable* masks  # or NULL
    Extent* extents         # one an element of the masks, or NULL
    int after               # where the last match of a mask ended in this line, -1: none
    long long steps         # bytes looked at, for tests of linearity


cdef inline int begin(Scan* c) noexcept nogil:
    """Where the text of the next token goes; the space before it is written but not yet kept."""
    if c.space and c.depth:
        c.out[c.w] = c' '
        return c.w + 1
    return c.w


cdef inline bint same(const Scan* c, const Token* a, int start, int end) noexcept nogil:
    return a.masked_end - a.masked_start == end - start and memcmp(&c.out[a.masked_start], &c.out[start], end - start) == 0


cdef void keep(Scan* c, int kind, int m0, int m1, int s0, int s1) noexcept nogil:
    """Rule 6: append the token whose text is out[m0:m1], or fold it into the one that it repeats."""
    cdef unsigned char first = c.out[m0]
    cdef Token* top
    c.space = False
    c.steps += m1 - m0
    if c.depth and not BYTE_CLASS[first] & ALNUM:
        top = &c.tokens[c.depth - 1]
        if same(c, top, m0, m1):
            top.source_end = s1
            return
        if (
            c.depth >= 2 and kind != K_PUNCT and (first == c'<' or (first == c'#' and m1 - m0 == 1))
            and top.kind != K_WORD and top.kind != K_SHAPE and top.kind != K_PATH and same(c, top - 1, m0, m1)
        ):
            c.depth -= 1
            top -= 1
            top.source_end = s1
            c.w = top.masked_end
            return
    top = &c.tokens[c.depth]
    top.kind = kind
    top.masked_start = m0
    top.masked_end = m1
    top.source_start = s0
    top.source_end = s1
    c.depth += 1
    c.w = m1


cdef inline void slot(Scan* c, int kind, int start, int end) noexcept nogil:
    if c.slots != NULL:
        c.slots[c.slot_count].kind = kind
        c.slots[c.slot_count].start = start
        c.slots[c.slot_count].end = end
    c.slot_count += 1


cdef inline int put(Scan* c, int m, int kind) noexcept nogil:
    """Write the mark of a masked kind at out[m]; -> behind it."""
    cdef unsigned char letter = c'D'
    if kind == K_NUMBER:
        c.out[m] = c'#'
        return m + 1
    c.out[m] = c'<'
    if kind == K_IP:
        c.out[m + 1] = c'I'
        c.out[m + 2] = c'P'
        c.out[m + 3] = c'>'
        return m + 4
    if kind == K_UUID:
        letter = c'U'
    elif kind == K_TIME:
        letter = c'T'
    elif kind == K_VALUE:
        letter = c'V'
    elif kind == K_HEX:
        letter = c'H'
    elif kind == K_OPAQUE:
        letter = c'X'
    elif kind == K_PATH:
        letter = c'P'
    c.out[m + 1] = letter
    c.out[m + 2] = c'>'
    return m + 3


cdef int put_digits_masked(Scan* c, int m, int start, int end, bint with_slots) noexcept nogil:
    """Copy source[start:end] to out[m:], each digit run as `#`; -> behind it."""
    cdef int i = start, j
    c.steps += end - start
    while i < end:
        if not BYTE_CLASS[c.s[i]] & DIGIT:
            c.out[m] = c.s[i]
            m += 1
            i += 1
            continue
        j = i + 1
        while j < end and BYTE_CLASS[c.s[j]] & DIGIT:
            j += 1
        c.out[m] = c'#'
        m += 1
        if with_slots:
            slot(c, K_NUMBER, i, j)
        i = j
    return m
