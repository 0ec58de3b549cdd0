"""Of redact.pyx: the table of rules, and what each kind of secret looks like.

A kind looks a bounded number of bytes back, and forward either a bounded number or over a run that is remembered, so that a
line of one letter is read a bounded number of times.
"""

cdef extern from * nogil:
    """
    enum { R_DIGIT = 1, R_HEX = 2, R_ALPHA = 4, R_HIGH = 8, R_WORD = 16, R_LOCAL = 32, R_HOST = 64, R_TOKEN = 128 };
    /* R_LOCAL: what local parts of addresses are made of, but for bytes that delimit more often. R_HOST: host names. R_TOKEN: base64, base64url and token68. */
    static const unsigned char RBYTE[256] = {
        ['0' ... '9'] = R_DIGIT | R_HEX | R_WORD | R_LOCAL | R_HOST | R_TOKEN,
        ['A' ... 'F'] = R_HEX | R_ALPHA | R_WORD | R_LOCAL | R_HOST | R_TOKEN,
        ['G' ... 'Z'] = R_ALPHA | R_WORD | R_LOCAL | R_HOST | R_TOKEN,
        ['a' ... 'f'] = R_HEX | R_ALPHA | R_WORD | R_LOCAL | R_HOST | R_TOKEN,
        ['g' ... 'z'] = R_ALPHA | R_WORD | R_LOCAL | R_HOST | R_TOKEN,
        ['_'] = R_WORD | R_LOCAL | R_TOKEN, ['-'] = R_LOCAL | R_HOST | R_TOKEN, ['.'] = R_LOCAL | R_HOST | R_TOKEN,
        ['+'] = R_LOCAL | R_TOKEN, ['/'] = R_TOKEN, ['~'] = R_LOCAL | R_TOKEN, ['='] = R_TOKEN,
        ['%'] = R_LOCAL, ['\\''] = R_LOCAL,
        [0x80 ... 0xff] = R_HIGH | R_WORD | R_LOCAL | R_HOST,
    };
    static inline int first_rule(unsigned long long x) { return __builtin_ctzll(x); }
    """
    const unsigned char RBYTE[256]
    enum: R_DIGIT, R_HEX, R_ALPHA, R_HIGH, R_WORD, R_LOCAL, R_HOST, R_TOKEN
    int first_rule(uint64_t x)

cdef enum:
    RULES_KEPT = 64
    ELEMENTS_KEPT = 16

    KIND_WHOLE = 0
    KIND_MASK = 1
    KIND_EMAIL = 2
    KIND_IP = 3
    KIND_CARD = 4
    KIND_JWT = 5
    KIND_BEARER = 6
    KIND_AWS = 7
    KIND_URL = 8

    LOCAL_BYTES_MAX = 64        # RFC 5321, 4.5.3.1.1; a longer one is taken that far back
    HOST_BYTES_MAX = 255        # RFC 5321, 4.5.3.1.2
    CARD_DIGITS_MIN = 13        # ISO/IEC 7812-1 allows 8 to 19; shorter ones are too often no cards
    CARD_DIGITS_MAX = 19
    TOKEN_BYTES_MIN = 8
    SECRET_BYTES_MAX = 1024     # of user information in a URL

cdef struct Element:
    const unsigned char* text   # a literal, or NULL
    int least                   # bytes; of a literal: its length
    int most
    uint64_t members[4]         # of a run: one bit a byte value

cdef struct Rule:
    int kind
    bint prefix
    bint drops
    bint starts_within
    bint ends_within
    const unsigned char* name   # of attributes, or NULL
    int name_bytes
    int first                   # its mask's elements
    int stop

cdef struct RuleTable:
    int count
    uint64_t of_lines
    uint64_t of_attributes
    uint64_t begins[256]        # which rules may have a match that this byte gives away: bit k is rule k
    Rule rules[RULES_KEPT]
    Element elements[RULES_KEPT * ELEMENTS_KEPT]

cdef struct Extent:
    const unsigned char* start  # the run that an element saw last
    const unsigned char* end

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end

cdef struct Place:
    uint32_t line
    uint32_t start
    uint32_t end
    uint32_t rule

cdef struct Attribute:
    Py_ssize_t key          # where the key begins
    Py_ssize_t value
    Py_ssize_t end          # of the value
    bint inner              # after { or , rather than after a space or at the line's beginning

cdef struct Search:
    const RuleTable* table
    const unsigned char* s  # all lines
    uint32_t line
    Extent* extents         # one an element of the masks
    Place* places
    Py_ssize_t count
    Py_ssize_t room
    Attribute* attributes
    Py_ssize_t attribute_count
    Py_ssize_t attribute_room
    long long steps


cdef bint kind_begins(int kind, int byte) noexcept:
    """Whether a match of a built-in kind may be given away by this byte: its first one, the @ of an address, the : of `://`."""
    if kind == KIND_EMAIL:
        return byte == c'@'
    if kind == KIND_IP:
        return RBYTE[byte] & R_HEX != 0 or byte == c':'
    if kind == KIND_CARD:
        return RBYTE[byte] & R_DIGIT != 0
    if kind == KIND_JWT:
        return byte == c'e'
    if kind == KIND_BEARER:
        return byte == c'b' or byte == c'B'
    if kind == KIND_AWS:
        return byte == c'A'
    if kind == KIND_URL:
        return byte == c':'
    return False


cdef inline bint is_of(unsigned char byte, int classes) noexcept nogil:
    return RBYTE[byte] & classes != 0


cdef inline bint word_before(const unsigned char* s, Py_ssize_t i, Py_ssize_t lo) noexcept nogil:
    """Whether a letter, a digit or `_` stands right before s[i]."""
    return i > lo and is_of(s[i - 1], R_WORD)


cdef bint email(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """Around the @ at s[i]: a local part and a host with a letter or a dot in it."""
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t a = i, b = i + 1
    while a > lo and i - a < LOCAL_BYTES_MAX and is_of(s[a - 1], R_LOCAL):
        a -= 1
    while b < n and b - i <= HOST_BYTES_MAX and is_of(s[b], R_HOST):
        b += 1
    while b > i + 1 and (s[b - 1] == c'.' or s[b - 1] == c'-'):  # the end of a sentence
        b -= 1
    c.steps += b - a
    # Neither cut may lie inside a character.
    while a < i and s[a] & 0xC0 == 0x80:
        a += 1
    while b > i + 1 and b < n and s[b] & 0xC0 == 0x80:
        b -= 1
    if a == i or b == i + 1:
        return False
    found.start = a
    found.end = b
    return True


cdef Py_ssize_t ipv4(const unsigned char* s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Behind four numbers up to 255 joined by dots at s[i]; -1 where there are none."""
    cdef int part, value, digits
    for part in range(4):
        if part:
            if i >= n or s[i] != c'.':
                return -1
            i += 1
        value = digits = 0
        while i < n and digits < 4 and is_of(s[i], R_DIGIT):
            value = 10 * value + s[i] - c'0'
            digits += 1
            i += 1
        if digits == 0 or digits > 3 or value > 255:
            return -1
    return i


cdef Py_ssize_t ipv6(const unsigned char* s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Behind an IPv6 address in one of the forms of RFC 4291, 2.2; -1 where there is none."""
    cdef int groups = 0, digits
    cdef bint gap = False, digit = False
    cdef Py_ssize_t start, four
    if i + 1 < n and s[i] == c':' and s[i + 1] == c':':
        gap = True
        i += 2
    while groups < 8:
        start = i
        digits = 0
        while i < n and digits < 5 and is_of(s[i], R_HEX):
            digit |= is_of(s[i], R_DIGIT)
            digits += 1
            i += 1
        if digits == 0:
            break
        if digits > 4:
            return -1
        if i < n and s[i] == c'.' and groups <= 6:
            four = ipv4(s, start, n)
            if four < 0:
                return -1
            i = four
            groups += 2
            break
        groups += 1
        if groups == 8 or i >= n or s[i] != c':':
            break
        if i + 1 < n and s[i + 1] == c':':
            if gap:
                return -1
            gap = True
            i += 2
        elif i + 1 < n and is_of(s[i + 1], R_HEX):
            i += 1
        else:
            break
    if gap:
        # `::` alone names no machine, and stands in code, as `a::b` does.
        return i if 1 <= groups < 8 and (digit or groups > 2) else -1
    return i if groups == 8 else -1


cdef bint ip(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t end
    if word_before(s, i, lo) or (i > lo and (s[i - 1] == c'.' or s[i - 1] == c':') and i - 1 > lo and is_of(s[i - 2], R_HEX)):
        return False
    end = ipv4(s, i, n) if is_of(s[i], R_DIGIT) else -1
    # A version of five numbers is no address; a dot that ends a sentence is no number.
    if end > 0 and ((end < n and is_of(s[end], R_WORD)) or (end + 1 < n and s[end] == c'.' and is_of(s[end + 1], R_DIGIT))):
        end = -1
    if end < 0:
        end = ipv6(s, i, n)
        if end < 0 or (end < n and is_of(s[end], R_WORD)) or (end + 1 < n and s[end] == c':' and is_of(s[end + 1], R_HEX)):
            return False
    found.start = i
    found.end = end
    return True


cdef bint checks_out(const unsigned char* digits, int count) noexcept nogil:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    cdef int k, total = 0, value
    for k in range(count):
        value = digits[count - 1 - k]
        if k & 1:
            value = 2 * value - 9 if value > 4 else 2 * value
        total += value
    return total % 10 == 0


cdef bint card(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """13 to 19 digits, or groups of 4 4 4 4, 4 4 4 4 1-3, 4 6 5 or 4 6 4 joined by one kind of space or hyphen, that check out.

    The first digit is that of an industry that issues cards for payment: times in ms and ns, which begin with 1, are no cards.
    """
    cdef const unsigned char* s = c.s
    cdef unsigned char digits[CARD_DIGITS_MAX]
    cdef int sizes[5]
    cdef Py_ssize_t ends[5]
    cdef int count = 0, groups = 0, k
    cdef Py_ssize_t p = i
    cdef unsigned char joint = 0
    if not c'2' <= s[i] <= c'6' or (i > lo and (is_of(s[i - 1], R_WORD) or s[i - 1] == c'.')):
        return False
    while groups < 5:
        sizes[groups] = 0
        while p < n and count < CARD_DIGITS_MAX and is_of(s[p], R_DIGIT):
            digits[count] = s[p] - c'0'
            count += 1
            sizes[groups] += 1
            p += 1
        if sizes[groups] == 0 or (p < n and is_of(s[p], R_WORD)):
            break
        ends[groups] = p
        groups += 1
        if p >= n or (s[p] != c' ' and s[p] != c'-') or (joint and s[p] != joint):
            break
        joint = s[p]
        p += 1
    c.steps += p - i
    for k in range(groups, 0, -1):  # the longest first
        count = 0
        for p in range(k):
            count += sizes[p]
        if (
            (k == 1 and CARD_DIGITS_MIN <= count <= CARD_DIGITS_MAX)
            or (k == 3 and sizes[0] == 4 and sizes[1] == 6 and 4 <= sizes[2] <= 5)
            or (k == 4 and sizes[0] == 4 and sizes[1] == 4 and sizes[2] == 4 and sizes[3] == 4)
            or (k == 5 and sizes[0] == 4 and sizes[1] == 4 and sizes[2] == 4 and sizes[3] == 4 and sizes[4] <= 3)
        ) and checks_out(digits, count):
            found.start = i
            found.end = ends[k - 1]
            return True
    return False


cdef bint jwt(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """`eyJ...` in three parts joined by dots (RFC 7519), of which the last may be empty, or five (RFC 7516).

    Where it fails, `found.end` says how far nothing else can succeed.
    """
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t p = i
    cdef int dots = 0
    found.end = i
    if word_before(s, i, lo) or n - i < 3 or memcmp(&s[i], b"eyJ", 3) != 0:
        return False
    while p < n and is_of(s[p], R_TOKEN):
        if s[p] == c'.':
            dots += 1
        p += 1
    c.steps += p - i
    found.start = i
    found.end = p
    if dots < 2:
        return False
    return True


cdef bint bearer(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """What follows `Bearer ` or `Basic ` in any case (RFC 6750, 2.1; RFC 7617), of at least `TOKEN_BYTES_MIN` bytes."""
    cdef const unsigned char* s = c.s
    cdef const unsigned char* word = b"bearer"
    cdef const unsigned char* other = b"basic"
    cdef Py_ssize_t p = i, start
    cdef int k
    if word_before(s, i, lo):
        return False
    for k in range(6):
        if i + k >= n or s[i + k] | 0x20 != word[k]:
            break
    else:
        p = i + 6
    if p == i:
        for k in range(5):
            if i + k >= n or s[i + k] | 0x20 != other[k]:
                return False
        p = i + 5
    start = p
    while p < n and p - start < 4 and (s[p] == c' ' or s[p] == c':' or s[p] == c'='):
        p += 1
    if p == start:
        return False
    start = p
    while p < n and is_of(s[p], R_TOKEN):
        p += 1
    c.steps += p - i
    if p - start < TOKEN_BYTES_MIN:
        return False
    found.start = start
    found.end = p
    return True


cdef bint aws(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """`AKIA` or `ASIA` and sixteen capital letters or digits: an access key's id."""
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t p
    if word_before(s, i, lo) or n - i < 20 or (memcmp(&s[i], b"AKIA", 4) != 0 and memcmp(&s[i], b"ASIA", 4) != 0):
        return False
    for p in range(i + 4, i + 20):
        if not (is_of(s[p], R_DIGIT) or c'A' <= s[p] <= c'Z'):
            return False
    if i + 20 < n and is_of(s[i + 20], R_WORD):
        return False
    found.start = i
    found.end = i + 20
    return True


cdef bint url(Search* c, Py_ssize_t i, Py_ssize_t lo, Py_ssize_t n, Span* found) noexcept nogil:
    """The password in `scheme://user:password@host` (RFC 3986, 3.2.1), up to the last @ before the path."""
    cdef const unsigned char* s = c.s
    cdef Py_ssize_t p = i + 3, colon = -1, at = -1
    if i == lo or n - i < 4 or s[i + 1] != c'/' or s[i + 2] != c'/' or not is_of(s[i - 1], R_WORD):
        return False
    while p < n and p - i <= SECRET_BYTES_MAX and s[p] > c' ' and s[p] != c'/' and s[p] != c'"' and s[p] != c'<':
        if s[p] == c':' and colon < 0:
            colon = p
        elif s[p] == c'@':
            at = p
        p += 1
    c.steps += p - i
    if colon < 0 or at <= colon + 1:
        return False
    found.start = colon + 1
    found.end = at
    return True
