# Scalars of OTLP/JSON: each function reads the value at the present place and writes it to the output, with its tag unless that is 0.
# They return 1, or 0 with the error set and the place where the value begins. For collector/otlp/jsonwire.pyx.

cdef inline int plain_string(Run* run, Piece* piece) noexcept nogil:
    """A string without its escapes, in the text itself or in the output behind the room that its value needs at most.

    Up to `piece.size` + 32 bytes may be written before it is read, without another `reserve`.
    """
    cdef unsigned char* scratch
    if not (take_string(&run.text, piece) and reserve(run, 2 * piece.size + 64)):
        return 0
    if piece.escaped:
        scratch = run.out + run.size + piece.size + 32
        piece.size = unescape(piece, scratch)
        scratch[piece.size] = 0  # numbers are read up to what can not belong to them
        piece.at = scratch
    return 1


cdef int write_string(Run* run, uint32_t tag) noexcept nogil:
    cdef Piece piece
    cdef Py_ssize_t content = 0
    if not (take_string(&run.text, &piece) and reserve(run, piece.size + 32)):
        return 0
    if piece.escaped:
        begin_content(run, tag, &content)
        run.size += unescape(&piece, run.out + run.size)
        return end_content(run, content)
    put_varint(run, tag)
    put_varint(run, piece.size)
    memcpy(run.out + run.size, piece.at, piece.size)
    run.size += piece.size
    return 1


cdef int write_hex(Run* run, uint32_t tag) noexcept nogil:
    """An id. Of an odd number of digits, which no id has, one byte stands for it, which no id has either."""
    cdef Piece piece
    cdef const unsigned char* begin = run.text.at
    cdef Py_ssize_t i, size
    if not plain_string(run, &piece):
        return 0
    for i in range(piece.size):
        if hex_digit(piece.at[i]) < 0:
            run.text.at = begin
            return fails(&run.text, WRONG_TYPE)
    size = 1 if piece.size & 1 else piece.size >> 1
    put_varint(run, tag)
    put_varint(run, size)
    for i in range(size):
        run.out[run.size + i] = 0 if piece.size & 1 else hex_digit(piece.at[2 * i]) << 4 | hex_digit(piece.at[2 * i + 1])
    run.size += size
    return 1


cdef inline int base64_digit(unsigned char char) noexcept nogil:
    """Of the standard alphabet or the one for URLs (RFC 4648); -1 for others."""
    if 65 <= char <= 90:
        return char - 65
    if 97 <= char <= 122:
        return char - 71
    if 48 <= char <= 57:
        return char + 4
    if char == 43 or char == 45:
        return 62
    return 63 if char == 47 or char == 95 else -1


cdef int write_base64(Run* run, uint32_t tag) noexcept nogil:
    """Bytes, with or without padding."""
    cdef Piece piece
    cdef const unsigned char* begin = run.text.at
    cdef Py_ssize_t i, content = 0
    cdef uint32_t bits = 0
    cdef int digit, held = 0, padding = 0
    if not plain_string(run, &piece):
        return 0
    while padding < 2 and piece.size > 0 and piece.at[piece.size - 1] == 61:
        piece.size -= 1
        padding += 1
    if (padding and (piece.size + padding) & 3) or piece.size & 3 == 1:
        run.text.at = begin
        return fails(&run.text, WRONG_TYPE)
    begin_content(run, tag, &content)
    for i in range(piece.size):
        digit = base64_digit(piece.at[i])
        if digit < 0:
            run.text.at = begin
            return fails(&run.text, WRONG_TYPE)
        bits = bits << 6 | digit
        held += 6
        if held >= 8:
            held -= 8
            run.out[run.size] = bits >> held & 0xFF
            run.size += 1
    return end_content(run, content)


cdef int take_numeral(Run* run, int kind, Number* number, Piece* piece) noexcept nogil:
    """A number, or a string that may be one: of any other string `number.begin` is NULL, and `piece` the string."""
    cdef const unsigned char* begin = run.text.at
    cdef const unsigned char* after
    if begin[0] == 34 and kind != ENUM:
        if not plain_string(run, piece):
            return 0
        after = take_number(piece.at, piece.at + piece.size, number)
        if after != piece.at + piece.size:
            number.begin = NULL
            return 1
    else:
        if not reserve(run, 32):
            return 0
        after = take_number(begin, run.text.end, number)
        if after == NULL:
            return fails(&run.text, WRONG_TYPE)
        run.text.at = after
    if after - number.begin > NUMBER_BYTES:
        run.text.at = begin
        return fails(&run.text, LONG_NUMBER)
    return 1


cdef inline bint in_range(int kind, bint negative, uint64_t value) noexcept nogil:
    if kind == UINT64 or kind == FIXED64:
        return value == 0 or not negative
    if kind == UINT32 or kind == FIXED32:
        return value < <uint64_t>1 << 32 and (value == 0 or not negative)
    if kind == INT64 or kind == SFIXED64:
        return value <= (<uint64_t>1 << 63) - 1 + negative
    return value <= (<uint64_t>1 << 31) - 1 + negative


cdef int write_whole(Run* run, int kind, uint32_t tag) noexcept nogil:
    """A whole number, which may be written with a fraction of 0 or an exponent."""
    cdef const unsigned char* begin = run.text.at
    cdef const unsigned char* after
    cdef Number number
    cdef Piece piece
    cdef double real
    cdef uint64_t value
    if not take_numeral(run, kind, &number, &piece):
        return 0
    after = run.text.at
    run.text.at = begin  # where the trouble is, if there is any
    if number.begin == NULL:
        return fails(&run.text, WRONG_TYPE)
    value = number.digits
    if not number.plain:
        real = fabs(as_double(&number))
        if not real < 18446744073709551616.0:
            return fails(&run.text, OUT_OF_RANGE)
        value = <uint64_t>real
        if <double>value != real:
            return fails(&run.text, WRONG_TYPE)
    elif number.long:
        return fails(&run.text, OUT_OF_RANGE)
    if not in_range(kind, number.negative, value):
        return fails(&run.text, OUT_OF_RANGE)
    run.text.at = after
    if tag:
        put_varint(run, tag)
    if kind == SINT32:
        put_varint(run, 2 * value - 1 if number.negative and value else 2 * value)
        return 1
    if number.negative:
        value = -value
    if kind == FIXED64 or kind == SFIXED64:
        put_fixed(run, value, 8)
    elif kind == FIXED32:
        put_fixed(run, value, 4)
    else:
        put_varint(run, value)
    return 1


cdef inline bint is_text(const Piece* piece, const char* word, Py_ssize_t size) noexcept nogil:
    return piece.size == size and memcmp(piece.at, word, size) == 0


cdef int write_double(Run* run, uint32_t tag) noexcept nogil:
    cdef const unsigned char* begin = run.text.at
    cdef Number number
    cdef Piece piece
    cdef uint64_t bits
    cdef double value
    if not take_numeral(run, DOUBLE, &number, &piece):
        return 0
    if number.begin != NULL:
        value = as_double(&number)
        memcpy(&bits, &value, 8)
    elif is_text(&piece, "NaN", 3):
        bits = 0x7FF8000000000000
    elif is_text(&piece, "Infinity", 8):
        bits = 0x7FF0000000000000
    elif is_text(&piece, "-Infinity", 9):
        bits = 0xFFF0000000000000
    else:
        run.text.at = begin
        return fails(&run.text, WRONG_TYPE)
    if tag:
        put_varint(run, tag)
    put_fixed(run, bits, 8)
    return 1


cdef int write_bool(Run* run, uint32_t tag) noexcept nogil:
    cdef bint value = run.text.at[0] == 116
    if not value and run.text.at[0] != 102:
        return fails(&run.text, WRONG_TYPE)
    if not (take_word(&run.text, "true", 4) if value else take_word(&run.text, "false", 5)) or not reserve(run, 16):
        return 0
    put_varint(run, tag)
    put_varint(run, value)
    return 1
