"""Canonical text of a span: `kind name status exceptions attributes events`, see `driftlock.engine.canonical.span_text`.

Exceptions, which OpenTelemetry's semantic conventions record as events ("Exceptions in spans"), come before the attributes: what of a
long span is cut off later is not them. The type and the message of one come first, then what else it has, then its stack trace.
Needs the files of canonical text, exceptions.pxi and span_columns.pxi.
"""

cdef enum:
    TRACE_ID = 1               # fields of a span
    SPAN_ID = 2
    TRACE_STATE = 3
    PARENT_ID = 4
    NAME = 5
    KIND = 6
    START = 7
    END = 8
    ATTRIBUTES = 9
    EVENTS = 11
    STATUS = 15
    MESSAGE = 2                # of a status
    CODE = 3
    EVENT_NAME = 2             # of an event
    EVENT_ATTRIBUTES = 3

cdef struct Pieces:
    Piece* at
    Py_ssize_t count
    Py_ssize_t capacity

cdef struct Reading:
    Scratch scratch
    Text out                   # texts of all accepted spans
    Pieces attributes          # of the span that is read
    Pieces events
    uint64_t[REASONS_COUNT] rejected
    Py_ssize_t stack_end_chars
    Py_ssize_t causes_max
    Py_ssize_t begin           # of the text of the span
    Py_ssize_t others          # events that are no exceptions
    Py_ssize_t parts           # blanks between these are not counted when its length is looked at
    Py_ssize_t counted         # so much of the text has been looked at, and had so many characters
    Py_ssize_t characters


# ---- fields --------------------------------------------------------------------------------------------------------------

cdef inline int pieces_put(Pieces* pieces, Piece found) noexcept nogil:
    cdef Piece* at
    cdef Py_ssize_t capacity
    if pieces.count == pieces.capacity:
        capacity = 2 * pieces.capacity + 64
        at = <Piece*>realloc(pieces.at, capacity * sizeof(Piece))
        if at == NULL:
            return NO_MEMORY
        pieces.at = at
        pieces.capacity = capacity
    pieces.at[pieces.count] = found
    pieces.count += 1
    return DONE


cdef void read_status(Piece status, SpanFields* span) noexcept nogil:
    """The last code and message of a status; what they were before where there is none."""
    cdef const unsigned char* at = status.at
    cdef const unsigned char* end = status.at + status.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if number == CODE and wire == VARINT:
            at = varint(at, end, 10, &value)
            span.code = <int32_t><uint32_t>value
        elif number == MESSAGE and wire == LEN:
            at = piece(at, end, &span.message)
        else:
            at = skip(at, end, number, wire)


cdef inline int read_piece(Reading* reading, uint32_t number, Piece found, SpanFields* span) noexcept nogil:
    """A field of a span that has a length."""
    if number == ATTRIBUTES:
        return pieces_put(&reading.attributes, found)
    if number == NAME:
        span.name = found
    elif number == TRACE_ID:
        span.trace_id = found
    elif number == SPAN_ID:
        span.span_id = found
    elif number == PARENT_ID:
        span.parent_id = found
    elif number == TRACE_STATE:
        span.state = found
    elif number == STATUS:
        read_status(found, span)
    elif number == EVENTS:
        return pieces_put(&reading.events, found)
    return DONE


cdef int read_fields(Reading* reading, Piece record, SpanFields* span) noexcept nogil:
    """The fields of a span that has been checked."""
    cdef const unsigned char* at = record.at
    cdef const unsigned char* end = record.at + record.size
    cdef uint32_t number = 0, wire = 0
    cdef uint64_t value = 0
    cdef Piece found
    memset(span, 0, sizeof(SpanFields))
    reading.attributes.count = 0
    reading.events.count = 0
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire == LEN:
            at = piece(at, end, &found)
            if read_piece(reading, number, found, span) != DONE:
                return NO_MEMORY
        elif wire == FIXED64:
            if number == START:
                memcpy(&span.start, at, 8)
            elif number == END:
                memcpy(&span.end, at, 8)
            at += 8
        elif wire == VARINT:
            at = varint(at, end, 10, &value)
            if number == KIND:
                span.kind = <int32_t><uint32_t>value
        else:
            at = skip(at, end, number, wire)
    return DONE


cdef int read_event(Scratch* s, Piece event, Piece* name, bint with_attributes) noexcept nogil:
    """The name of an event, as sent, and what attributes it has."""
    cdef const unsigned char* at = event.at
    cdef const unsigned char* end = event.at + event.size
    cdef uint32_t number = 0, wire = 0
    cdef int code
    cdef Piece found
    name.at = NULL
    name.size = 0
    attributes_begin(s)
    while at < end:
        at = tag(at, end, &number, &wire)
        if wire != LEN:
            at = skip(at, end, number, wire)
            continue
        at = piece(at, end, &found)
        if number == EVENT_NAME:
            name[0] = found
        elif number == EVENT_ATTRIBUTES and with_attributes:
            code = attributes_add(s, found)
            if code != DONE:
                return code
    return DONE


cdef inline Piece literal(const char* text, Py_ssize_t size) noexcept nogil:
    return piece_of(<const unsigned char*>text, size)


cdef inline bint is_exception(Piece name) noexcept nogil:
    return name.size == 9 and memcmp(name.at, b"exception", 9) == 0


# ---- text ----------------------------------------------------------------------------------------------------------------

cdef inline int put_part(Reading* reading, Piece part) noexcept nogil:
    """A part of the text, after a blank if others are before it; nothing for an empty one."""
    if part.size == 0:
        return DONE
    reading.parts += 1
    if reading.out.size > reading.begin and text_byte(&reading.out, c" ") != DONE:
        return NO_MEMORY
    return text_put(&reading.out, part.at, part.size)


cdef Piece enum_text(int32_t number, bint status, unsigned char* room) noexcept nogil:
    """The name of a kind or a status; one that is not known is its number, for which there is room."""
    if number == 0:
        return piece_of(room, 0)
    if status:
        if number == 1:
            return literal(b"OK", 2)
        if number == 2:
            return literal(b"ERROR", 5)
    elif number == 1:
        return literal(b"INTERNAL", 8)
    elif number == 2:
        return literal(b"SERVER", 6)
    elif number == 3:
        return literal(b"CLIENT", 6)
    elif number == 4:
        return literal(b"PRODUCER", 8)
    elif number == 5:
        return literal(b"CONSUMER", 8)
    return piece_of(room, signed_text(number, room))


cdef void take_text(Scratch* s, const char* key, Py_ssize_t key_size, Piece* text) noexcept nogil:
    """Take an attribute that is a text and not empty away from the others; nothing for what is none."""
    cdef Py_ssize_t index = attribute_find(s, key, key_size)
    text.at = NULL
    text.size = 0
    if index >= 0 and s.attributes[index].value.kind == ANY_STRING and s.attributes[index].value.piece.size:
        text[0] = s.attributes[index].value.piece
        attribute_remove(s, index)


cdef int headline_of(Scratch* s, Piece type, Piece message, Piece* headline) noexcept nogil:
    """`type: message`, or what there is of them."""
    cdef unsigned char* at
    headline[0] = type if type.size else message
    if type.size and message.size:
        at = arena_take(s, type.size + 2 + message.size)
        if at == NULL:
            return NO_MEMORY
        memcpy(at, type.at, type.size)
        memcpy(at + type.size, b": ", 2)
        memcpy(at + type.size + 2, message.at, message.size)
        headline[0] = piece_of(at, type.size + 2 + message.size)
    return DONE


cdef int exception_text(Reading* reading) noexcept nogil:
    """Append the text of the exception whose attributes are in the scratch space."""
    cdef Scratch* s = &reading.scratch
    cdef Text* out = &reading.out
    cdef Py_ssize_t begin = out.size
    cdef uint64_t before = s.cuts.truncated
    cdef Piece type, message, stack, headline
    cdef int code
    take_text(s, b"exception.type", 14, &type)
    take_text(s, b"exception.message", 17, &message)
    take_text(s, b"exception.stacktrace", 20, &stack)
    code = headline_of(s, type, message, &headline)
    if code == DONE:
        code = log_text(s, out, piece_of(NULL, 0), literal(b"exception", 9), headline, before)
    if code == DONE and stack.size:
        code = text_byte(out, c" ")
        if code == DONE:
            code = stack_text(out, stack, reading.stack_end_chars, reading.causes_max)
    if code == DONE and out.size - begin > s.limits.value_bytes_max:
        s.cuts.truncated += 1
        out.size = begin + utf8_cut(out.data + begin, out.size - begin, s.limits.value_bytes_max)
    return code


cdef int put_exceptions(Reading* reading) noexcept nogil:
    """Exceptions, as many as fit into a value; how many events are none is counted on the way."""
    cdef Scratch* s = &reading.scratch
    cdef Py_ssize_t i, before, begin, room = s.limits.value_bytes_max
    cdef bint full = False
    cdef Piece name
    cdef int code
    for i in range(reading.events.count):
        code = read_event(s, reading.events.at[i], &name, False)
        if not is_exception(name):
            reading.others += 1
            continue
        if full:
            continue
        code = read_event(s, reading.events.at[i], &name, True)
        if code != DONE:
            return code
        attributes_end(s)
        before = reading.out.size
        if before > reading.begin:
            code = text_byte(&reading.out, c" ")
        begin = reading.out.size
        if code == DONE:
            code = exception_text(reading)
        if code != DONE:
            return code
        room -= characters(reading.out.data + begin, reading.out.size - begin)
        if room < 0:
            s.cuts.truncated += 1
            reading.out.size = before
            full = True
    return DONE


cdef inline int put_pairs(Reading* reading) noexcept nogil:
    """The attributes in the scratch space, sorted."""
    cdef int code
    attributes_end(&reading.scratch)
    code = attributes_pairs(&reading.scratch, NO_MARK)
    if code == DONE:
        code = pairs_text(&reading.scratch, &reading.out, reading.out.size == reading.begin)
        reading.parts += reading.scratch.pairs_count
    return code


cdef inline bint is_full(Reading* reading) noexcept nogil:
    """Whether what was put so far has more characters than a body may have bytes, the blanks between its parts not counted."""
    cdef Py_ssize_t blanks = reading.parts - 1 if reading.parts else 0, chars_max = reading.scratch.limits.body_bytes_max
    if reading.out.size - reading.begin - blanks <= chars_max:
        return False
    reading.characters += characters(reading.out.data + reading.counted, reading.out.size - reading.counted)
    reading.counted = reading.out.size
    return reading.characters - blanks > chars_max


cdef int put_events(Reading* reading) noexcept nogil:
    """Events that are no exceptions, until the text is full."""
    cdef Scratch* s = &reading.scratch
    cdef Py_ssize_t i
    cdef Piece name
    cdef int code
    for i in range(reading.events.count):
        code = read_event(s, reading.events.at[i], &name, False)
        if is_exception(name):
            continue
        code = read_event(s, reading.events.at[i], &name, True)
        if code == DONE and is_full(reading):
            s.cuts.truncated += 1
            return DONE
        if code == DONE:
            code = clean(s, &name)
        if code == DONE:
            cut(s, &name, s.limits.value_bytes_max)
            code = put_part(reading, literal(b"event:", 6))
        if code == DONE:
            code = text_byte(&reading.out, c" ")
        if code == DONE:
            code = text_put(&reading.out, name.at, name.size)
            reading.parts += 1
        if code == DONE:
            code = put_pairs(reading)
        if code != DONE:
            return code
    return DONE


cdef int put_head(Reading* reading, SpanFields* span) noexcept nogil:
    """Kind and name; -> what `put_part` says."""
    cdef unsigned char[INTEGER_TEXT_BYTES_MAX] room
    cdef Piece name = span.name
    cdef int code = clean(&reading.scratch, &name)
    if code == DONE:
        code = put_part(reading, enum_text(span.kind, False, room))
    if code == DONE:
        cut(&reading.scratch, &name, reading.scratch.limits.value_bytes_max)
        code = put_part(reading, name)
    return code


cdef int put_status(Reading* reading, SpanFields* span) noexcept nogil:
    """How the work ended, in one part: the status and its message, then exceptions."""
    cdef unsigned char[INTEGER_TEXT_BYTES_MAX] room
    cdef Piece message = span.message
    cdef Py_ssize_t parts = reading.parts, begin = reading.out.size
    cdef int code = clean(&reading.scratch, &message)
    if code == DONE:
        code = put_part(reading, enum_text(span.code, True, room))
    if code == DONE:
        cut(&reading.scratch, &message, reading.scratch.limits.value_bytes_max)
        code = put_part(reading, message)
    if code == DONE and reading.events.count:
        code = put_exceptions(reading)
    reading.parts = parts + (reading.out.size > begin)
    return code


cdef int span_text(Reading* reading, SpanFields* span) noexcept nogil:
    """Append the text of a span. What is cut in its status is marked there, if it is an exception."""
    cdef Scratch* s = &reading.scratch
    cdef Py_ssize_t i
    cdef uint64_t before = s.cuts.truncated, unmarked
    cdef int code
    reading.begin = reading.counted = reading.out.size
    reading.parts = reading.characters = reading.others = 0
    code = put_head(reading, span)
    if code != DONE:
        return code
    unmarked = s.cuts.truncated
    code = put_status(reading, span)
    before += s.cuts.truncated - unmarked
    attributes_begin(s)
    for i in range(reading.attributes.count):
        if code == DONE:
            code = attributes_add(s, reading.attributes.at[i])
    if code == DONE:
        code = put_pairs(reading)
    if code == DONE and reading.others:
        code = put_events(reading)
    if code == DONE and s.cuts.truncated > before:
        code = put_part(reading, literal(b"_truncated=true", 15))
    return code


cdef int read_span(Reading* reading, Piece record, SpanFields* span) noexcept nogil:
    """A span's fields, and its text behind the others. A span that is rejected leaves no text."""
    cdef Scratch* s = &reading.scratch
    cdef Py_ssize_t begin = reading.out.size
    cdef int code
    scratch_reset(s)
    code = check_record(s, SPAN_RECORD, record)
    if code == DONE:
        code = read_fields(reading, record, span)
    if code == DONE and (
        span.trace_id.size not in (0, 16) or span.span_id.size not in (0, 8) or span.parent_id.size not in (0, 8)
    ):
        code = BAD_ID
    if code == DONE:
        code = span_text(reading, span)
    if code == DONE:
        code = count_text(s, reading.out.size - begin)
    if code != DONE:
        reading.out.size = begin
    return code
