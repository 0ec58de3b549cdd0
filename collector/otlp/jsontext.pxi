# The grammar of JSON (RFC 8259), read in place and without recursion. Functions that read return 1, or 0 with `error` set and
# `at` where the trouble is. Bytes of strings need not be UTF-8 here: who takes them repairs and counts that.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc, strtod
from libc.string cimport memcmp, memcpy, memmove

cdef enum:
    NUMBER_BYTES = 2048        # every double can be written exactly in fewer
    EXPONENT_LAST = 100000     # no double has one; beyond it digits of an exponent change nothing
    LONE_SURROGATE = 0xFF      # a byte that no UTF-8 has

cdef enum Error:
    NO_ERROR
    SYNTAX
    ENDED
    LONG_NUMBER
    WRONG_TYPE
    OUT_OF_RANGE
    TOO_LARGE
    NO_MEMORY

cdef struct Text:
    const unsigned char* at
    const unsigned char* end
    unsigned char* levels      # a bit for each open bracket of a value that is skipped: 1 = of an object
    Py_ssize_t levels_bytes
    Error error

cdef struct Piece:
    const unsigned char* at
    Py_ssize_t size
    bint escaped

cdef struct Number:
    const unsigned char* begin
    uint64_t digits            # all digits as one number, if it is not `long`
    int exponent               # power of ten that `digits` is multiplied with
    bint negative
    bint plain                 # neither a fraction nor an exponent
    bint long                  # more digits than fit

cdef uint64_t LARGEST_TENTH = 1844674407370955161  # of 2**64 - 1

cdef double[23] POWERS_OF_TEN = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
]


cdef inline int fails(Text* text, Error error) noexcept nogil:
    text.error = error
    return 0


cdef inline unsigned char skip_space(Text* text) noexcept nogil:
    """The next character that is not white space; 0, which is never valid, at the end."""
    while text.at < text.end:
        if text.at[0] not in (32, 9, 10, 13):
            return text.at[0]
        text.at += 1
    return 0


cdef inline int unexpected(Text* text) noexcept nogil:
    return fails(text, ENDED if text.at >= text.end else SYNTAX)


cdef inline int take(Text* text, unsigned char wanted) noexcept nogil:
    """White space and one character."""
    if skip_space(text) != wanted or text.at >= text.end:
        return unexpected(text)
    text.at += 1
    return 1


cdef inline int take_word(Text* text, const char* word, Py_ssize_t size) noexcept nogil:
    if text.end - text.at < size or memcmp(text.at, word, size) != 0:
        return fails(text, SYNTAX)
    text.at += size
    return 1


cdef inline int hex_digit(unsigned char char) noexcept nogil:
    if 48 <= char <= 57:
        return char - 48
    char |= 32
    return char - 87 if 97 <= char <= 102 else -1


cdef inline int hex_unit(const unsigned char* at) noexcept nogil:
    """Four hexadecimal digits, -1 for anything else."""
    cdef int i, digit, value = 0
    for i in range(4):
        digit = hex_digit(at[i])
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


cdef int take_string(Text* text, Piece* piece) noexcept nogil:
    """A string at the present place; its escapes are valid and still there."""
    cdef const unsigned char* at
    cdef unsigned char char
    if text.at >= text.end or text.at[0] != 34:
        return unexpected(text)
    at = text.at + 1
    piece.at = at
    piece.escaped = False
    while at < text.end:
        char = at[0]
        if char == 34:
            piece.size = at - piece.at
            text.at = at + 1
            return 1
        if char == 92:
            piece.escaped = True
            if text.end - at < 2:
                break
            if at[1] == 117:
                if text.end - at < 6:
                    break
                if hex_unit(at + 2) < 0:
                    text.at = at
                    return fails(text, SYNTAX)
                at += 6
                continue
            if at[1] not in (34, 92, 47, 98, 102, 110, 114, 116):
                text.at = at
                return fails(text, SYNTAX)
            at += 2
            continue
        if char < 32:
            text.at = at
            return fails(text, SYNTAX)
        at += 1
    text.at = text.end
    return fails(text, ENDED)


cdef inline unsigned char* put_code_point(unsigned char* out, uint32_t value) noexcept nogil:
    if value < 0x80:
        out[0] = value
        return out + 1
    if value < 0x800:
        out[0] = 0xC0 | value >> 6
        out[1] = 0x80 | value & 0x3F
        return out + 2
    if value < 0x10000:
        out[0] = 0xE0 | value >> 12
        out[1] = 0x80 | value >> 6 & 0x3F
        out[2] = 0x80 | value & 0x3F
        return out + 3
    out[0] = 0xF0 | value >> 18
    out[1] = 0x80 | value >> 12 & 0x3F
    out[2] = 0x80 | value >> 6 & 0x3F
    out[3] = 0x80 | value & 0x3F
    return out + 4


cdef Py_ssize_t unescape(const Piece* piece, unsigned char* out) noexcept nogil:
    """The bytes of a string at `out`, which has room for `piece.size`; -> how many.

    A surrogate without its other half, which no Unicode text has, becomes one byte that UTF-8 does not have either: whoever
    repairs text makes U+FFFD of it, and counts it, as of any other damage.
    """
    cdef const unsigned char* at = piece.at
    cdef const unsigned char* end = piece.at + piece.size
    cdef unsigned char* begin = out
    cdef int unit, low
    while at < end:
        if at[0] != 92:
            out[0] = at[0]
            out += 1
            at += 1
            continue
        if at[1] != 117:
            out[0] = plain_escape(at[1])
            out += 1
            at += 2
            continue
        unit = hex_unit(at + 2)
        at += 6
        if 0xD800 <= unit < 0xDC00 and end - at >= 6 and at[0] == 92 and at[1] == 117:
            low = hex_unit(at + 2)
            if 0xDC00 <= low < 0xE000:
                out = put_code_point(out, 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
                at += 6
                continue
        if 0xD800 <= unit < 0xE000:
            out[0] = LONE_SURROGATE
            out += 1
        else:
            out = put_code_point(out, unit)
    return out - begin


cdef inline unsigned char plain_escape(unsigned char char) noexcept nogil:
    """What a backslash and `char` stand for."""
    if char == 98:
        return 8
    if char == 102:
        return 12
    if char == 110:
        return 10
    if char == 114:
        return 13
    return 9 if char == 116 else char


cdef inline bint is_digit(const unsigned char* at, const unsigned char* end) noexcept nogil:
    return at < end and 48 <= at[0] <= 57


cdef inline const unsigned char* take_digits(const unsigned char* at, const unsigned char* end, Number* number) noexcept nogil:
    while is_digit(at, end):
        if number.digits > LARGEST_TENTH or (number.digits == LARGEST_TENTH and at[0] > 53):  # 2**64 - 1 ends with a 5
            number.long = True
        else:
            number.digits = number.digits * 10 + (at[0] - 48)
        at += 1
    return at


cdef const unsigned char* take_number(const unsigned char* at, const unsigned char* end, Number* number) noexcept nogil:
    """The position after a number of JSON; NULL when there is none."""
    cdef const unsigned char* fraction
    cdef int exponent = 0
    cdef bint below = False
    number.begin = at
    number.digits = 0
    number.exponent = 0
    number.long = False
    number.plain = True
    number.negative = at < end and at[0] == 45
    at += number.negative
    if not is_digit(at, end):
        return NULL
    if at[0] == 48:
        at += 1
    else:
        at = take_digits(at, end, number)
    if at < end and at[0] == 46:
        number.plain = False
        fraction = at + 1
        at = take_digits(fraction, end, number)
        if at == fraction:
            return NULL
        number.exponent = -<int>(at - fraction) if at - fraction < EXPONENT_LAST else -EXPONENT_LAST
    if at < end and at[0] | 32 == 101:
        number.plain = False
        at += 1
        if at < end and at[0] in (43, 45):
            below = at[0] == 45
            at += 1
        if not is_digit(at, end):
            return NULL
        while is_digit(at, end):
            if exponent < EXPONENT_LAST:
                exponent = exponent * 10 + (at[0] - 48)
            at += 1
        number.exponent += -exponent if below else exponent
    return at


cdef double as_double(const Number* number) noexcept nogil:
    """The nearest double; infinite beyond the largest.

    Up to 2**53 and 10**22 both factors are exact, so that one operation rounds correctly (W. D. Clinger, "How to Read Floating
    Point Numbers Accurately", PLDI 1990). strtod stops at the character after the number, and decimal points are points:
    Python leaves LC_NUMERIC at "C".
    """
    cdef double value
    if number.long or number.digits > <uint64_t>1 << 53 or not -22 <= number.exponent <= 22:
        return strtod(<const char*>number.begin, NULL)
    value = <double>number.digits
    if number.exponent < 0:
        value /= POWERS_OF_TEN[-number.exponent]
    else:
        value *= POWERS_OF_TEN[number.exponent]
    return -value if number.negative else value


cdef inline int open_level(Text* text, Py_ssize_t level, bint is_object) noexcept nogil:
    cdef Py_ssize_t place = level >> 3
    cdef unsigned char* larger
    if place >= text.levels_bytes:
        larger = <unsigned char*>realloc(text.levels, 2 * text.levels_bytes + 64)
        if larger == NULL:
            return fails(text, NO_MEMORY)
        text.levels = larger
        text.levels_bytes = 2 * text.levels_bytes + 64
    if is_object:
        text.levels[place] |= 1 << (level & 7)
    else:
        text.levels[place] &= ~(1 << (level & 7))
    return 1


cdef int skip_scalar(Text* text) noexcept nogil:
    """A string, a number or a word."""
    cdef Piece piece
    cdef Number number
    cdef const unsigned char* after
    cdef unsigned char char = skip_space(text)
    if char == 34:
        return take_string(text, &piece)
    if char == 116:
        return take_word(text, "true", 4)
    if char == 102:
        return take_word(text, "false", 5)
    if char == 110:
        return take_word(text, "null", 4)
    after = take_number(text.at, text.end, &number)
    if after == NULL:
        return unexpected(text)
    if after - text.at > NUMBER_BYTES:
        return fails(text, LONG_NUMBER)
    text.at = after
    return 1


cdef inline int take_key(Text* text, Piece* key) noexcept nogil:
    skip_space(text)
    return take_string(text, key) and take(text, 58)


cdef int skip_value(Text* text) noexcept nogil:
    """Any value, however deep: of each open bracket one bit is kept."""
    cdef Py_ssize_t depth = 0
    cdef unsigned char char
    cdef Piece key
    while True:
        char = skip_space(text)
        if char == 123 or char == 91:
            if not open_level(text, depth, char == 123):
                return 0
            depth += 1
            text.at += 1
            if skip_space(text) != char + 2:  # the closing bracket
                if char == 123 and not take_key(text, &key):
                    return 0
                continue
        elif not skip_scalar(text):
            return 0
        while depth:
            char = skip_space(text)
            if char == 44:
                text.at += 1
                if text.levels[(depth - 1) >> 3] >> ((depth - 1) & 7) & 1 and not take_key(text, &key):
                    return 0
                break
            if char != (125 if text.levels[(depth - 1) >> 3] >> ((depth - 1) & 7) & 1 else 93):
                return unexpected(text)
            text.at += 1
            depth -= 1
        if not depth:
            return 1
