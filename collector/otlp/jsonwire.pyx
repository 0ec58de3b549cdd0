# cython: autotestdict=False, auto_pickle=False
"""OTLP/JSON to the protobuf bytes of the same request, in one pass and without an object for any part of it.

What comes out goes through the same decoder as protobuf that came over the network, so both encodings have the same limits and
the same rules for bad records. The rules of the text are in `collector.otlp.jsonschema`; beyond them: null is unset (in a list of
messages: an empty one), names that are not known are skipped with all they hold, of a name that is there twice the last one
counts, numbers may stand in strings, and what a double can not hold is infinite.

A value nested deeper than records may be is left empty below that, which is what its record will be rejected for. Strings
that are not Unicode text stay so: the decoder repairs and counts them.
"""

cimport cython
from libc.math cimport fabs
from libc.stdlib cimport calloc

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from collector.otlp.jsonschema import Kind
from driftlock.errors import InvalidArgument, PayloadTooLarge

include "jsontext.pxi"

cdef enum:
    DOUBLE = 1                 # kinds: see collector.otlp.jsonschema.Kind
    INT64 = 3
    UINT64 = 4
    INT32 = 5
    FIXED64 = 6
    FIXED32 = 7
    BOOL = 8
    STRING = 9
    MESSAGE = 11
    BYTES = 12
    UINT32 = 13
    ENUM = 14
    SFIXED64 = 16
    SINT32 = 17
    HEX = 100
    FIELDS = 32                # of a message
    NAME_BYTES = 64            # a longer name is no field's
    DEPTH_SLACK = 4            # levels below the deepest allowed value that are still written
    FRAMES_A_LEVEL = 4         # a value in a map: value, map, its list, pair
    FRAMES_BESIDE = 16         # around the outermost value
    PATH_CHARS = 400           # of a path in a message
    NONE = -1

cdef struct Field:
    const char* name
    Py_ssize_t name_size
    uint32_t tag
    int kind
    int message
    bint repeated

cdef struct Message:
    Field* fields
    int count
    bint is_value

cdef struct Frame:
    Message* message           # of an object
    int field                  # of the object, the one at hand; NONE at the beginning
    bint is_list               # of elements of `list_field`
    bint begun                 # something came before: a comma is due
    Field* list_field
    Py_ssize_t index           # of the list, the element at hand
    Py_ssize_t content         # where the content begins in the output
    int values                 # how many values it lies in
    uint32_t seen              # fields
    uint32_t again             # fields that were there twice
    Py_ssize_t[FIELDS] last    # where the last occurrence of each field begins

cdef struct Run:
    Text text
    unsigned char* out
    Py_ssize_t size
    Py_ssize_t room
    Py_ssize_t size_max
    Message* messages
    Frame* frames
    int depth
    int frames_max
    int values_max


# ---- output ------------------------------------------------------------------------------------------------------------------

cdef inline int reserve(Run* run, Py_ssize_t size) noexcept nogil:
    """Room for `size` more bytes. What may stay there is limited by `size_max`, which is looked at in `step`."""
    cdef unsigned char* larger
    cdef Py_ssize_t room
    if run.size + size <= run.room:
        return 1
    room = 2 * run.room + size
    larger = <unsigned char*>realloc(run.out, room)
    if larger == NULL:
        return fails(&run.text, NO_MEMORY)
    run.out = larger
    run.room = room
    return 1


cdef inline int varint_size(uint64_t value) noexcept nogil:
    cdef int size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


cdef inline void put_varint(Run* run, uint64_t value) noexcept nogil:
    while value > 0x7F:
        run.out[run.size] = (value & 0x7F) | 0x80
        run.size += 1
        value >>= 7
    run.out[run.size] = value
    run.size += 1


cdef inline void put_fixed(Run* run, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        run.out[run.size + i] = value >> 8 * i & 0xFF
    run.size += size


cdef inline int begin_content(Run* run, uint32_t tag, Py_ssize_t* content) noexcept nogil:
    """A tag and one byte for the length of what follows."""
    if not reserve(run, 16):
        return 0
    put_varint(run, tag)
    run.size += 1
    content[0] = run.size
    return 1


cdef inline int end_content(Run* run, Py_ssize_t content) noexcept nogil:
    """Write the length of what was put since `content`, and make room where it needs more than its byte."""
    cdef Py_ssize_t size = run.size - content
    cdef int more = varint_size(size) - 1
    if more:
        if not reserve(run, more):
            return 0
        memmove(run.out + content + more, run.out + content, size)
    run.size = content - 1
    put_varint(run, size)
    run.size += size
    return 1


cdef int drop_repetitions(Run* run, Frame* frame) noexcept nogil:
    """Of fields that were there twice, keep only what the last occurrence wrote."""
    cdef Py_ssize_t at = frame.content, begin, kept = frame.content
    cdef uint64_t value
    cdef int local = 0, shift
    cdef uint32_t tag
    while at < run.size:
        begin = at
        tag = 0
        shift = 0
        while True:
            tag |= <uint32_t>(run.out[at] & 0x7F) << shift
            shift += 7
            at += 1
            if run.out[at - 1] < 0x80:
                break
        if tag & 7 == 1:
            at += 8
        elif tag & 7 == 5:
            at += 4
        else:
            value = 0
            shift = 0
            while True:
                value |= <uint64_t>(run.out[at] & 0x7F) << shift
                shift += 7
                at += 1
                if run.out[at - 1] < 0x80:
                    break
            if tag & 7 == 2:
                at += <Py_ssize_t>value
        for local in range(frame.message.count):
            if frame.message.fields[local].tag == tag:
                break
        if not (frame.again >> local & 1 and begin < frame.last[local]):
            memmove(run.out + kept, run.out + begin, at - begin)
            kept += at - begin
    run.size = kept
    return 1


include "jsonscalars.pxi"


# ---- objects and lists -------------------------------------------------------------------------------------------------------

cdef inline Frame* push(Run* run, int values, Py_ssize_t content) noexcept nogil:
    """An empty frame; there is always room, as only values can hold themselves and `values_max` limits those."""
    cdef Frame* frame = run.frames + run.depth
    run.depth += 1
    frame.message = NULL
    frame.list_field = NULL
    frame.is_list = False
    frame.begun = False
    frame.field = NONE
    frame.index = NONE
    frame.content = content
    frame.values = values
    frame.seen = 0
    frame.again = 0
    return frame


cdef int write_message(Run* run, Field* field, int values, bint in_list) noexcept nogil:
    """Begin a message, or write an empty one: for null in a list, and where values are nested too deep."""
    cdef Message* message = run.messages + field.message
    cdef Py_ssize_t content = 0
    cdef bint is_null = in_list and run.text.at[0] == 110
    if run.text.at[0] != 123 and not is_null:
        return fails(&run.text, WRONG_TYPE)
    if not begin_content(run, field.tag, &content):
        return 0
    if is_null:
        return take_word(&run.text, "null", 4) and end_content(run, content)
    values += message.is_value
    if values > run.values_max or run.depth == run.frames_max:
        return skip_value(&run.text) and end_content(run, content)
    run.text.at += 1
    push(run, values, content).message = message
    return 1


cdef int write_element(Run* run, Field* field, int values, bint in_list) noexcept nogil:
    """A value of the field that is not a list. Numbers in lists are packed: they have one tag."""
    if skip_space(&run.text) == 0:
        return unexpected(&run.text)
    if field.kind == MESSAGE:
        return write_message(run, field, values, in_list)
    if field.kind in (STRING, BYTES, HEX):
        if run.text.at[0] != 34:
            return fails(&run.text, WRONG_TYPE)
        if field.kind == STRING:
            return write_string(run, field.tag)
        return write_hex(run, field.tag) if field.kind == HEX else write_base64(run, field.tag)
    if field.kind == BOOL:
        return write_bool(run, field.tag)
    if field.kind == DOUBLE:
        return write_double(run, 0 if in_list else field.tag)
    return write_whole(run, field.kind, 0 if in_list else field.tag)


cdef int find_field(const Message* message, const Piece* key, int after) noexcept nogil:
    """The number of a field in its message, NONE for an unknown name. Fields mostly come in order."""
    cdef unsigned char[6 * NAME_BYTES] name
    cdef Piece plain = key[0]
    cdef Field* field
    cdef int tried, local = after
    if key.escaped:
        if key.size > 6 * NAME_BYTES:
            return NONE
        plain.size = unescape(key, name)
        plain.at = name
    for tried in range(message.count):
        local = local + 1 if local + 1 < message.count else 0
        field = message.fields + local
        if field.name_size == plain.size and memcmp(field.name, plain.at, plain.size) == 0:
            return local
    return NONE


cdef int end_object(Run* run, Frame* frame) noexcept nogil:
    run.text.at += 1
    if frame.again:
        drop_repetitions(run, frame)
    run.depth -= 1
    return 1 if run.depth == 0 else end_content(run, frame.content)


cdef int object_step(Run* run, Frame* frame) noexcept nogil:
    """A name and the beginning of its value, or the end of the object."""
    cdef int before = frame.field
    cdef Field* field
    cdef Frame* elements
    cdef Piece key
    cdef Py_ssize_t content = NONE
    if skip_space(&run.text) == 125:
        return end_object(run, frame)
    frame.field = NONE
    if frame.begun and not take(&run.text, 44):
        return 0
    frame.begun = True
    if not take_key(&run.text, &key):
        return 0
    frame.field = find_field(frame.message, &key, before)
    if frame.field == NONE:
        return skip_value(&run.text)
    frame.again |= frame.seen & <uint32_t>1 << frame.field
    frame.seen |= <uint32_t>1 << frame.field
    frame.last[frame.field] = run.size
    field = frame.message.fields + frame.field
    if skip_space(&run.text) == 110:
        return take_word(&run.text, "null", 4)
    if not field.repeated:
        return write_element(run, field, frame.values, False)
    if skip_space(&run.text) != 91:
        return fails(&run.text, ENDED if run.text.at >= run.text.end else WRONG_TYPE)
    run.text.at += 1
    if field.kind not in (MESSAGE, STRING) and not begin_content(run, field.tag, &content):
        return 0
    elements = push(run, frame.values, content)
    elements.is_list = True
    elements.list_field = field
    return 1


cdef int list_step(Run* run, Frame* frame) noexcept nogil:
    """An element or its beginning, or the end of the list."""
    if skip_space(&run.text) == 93:
        run.text.at += 1
        run.depth -= 1
        return 1 if frame.content == NONE else end_content(run, frame.content)
    if frame.begun and not take(&run.text, 44):
        return 0
    frame.begun = True
    frame.index += 1
    return write_element(run, frame.list_field, frame.values, True)


cdef int read_request(Run* run) noexcept nogil:
    """The whole text."""
    cdef Frame* frame
    if skip_space(&run.text) != 123:
        return fails(&run.text, ENDED if run.text.at >= run.text.end else WRONG_TYPE)
    run.text.at += 1
    push(run, 0, 0).message = run.messages
    while run.depth:
        frame = run.frames + run.depth - 1
        if not (list_step(run, frame) if frame.is_list else object_step(run, frame)):
            return 0
        if run.size > run.size_max:
            return fails(&run.text, TOO_LARGE)
    skip_space(&run.text)
    return 1 if run.text.at >= run.text.end else fails(&run.text, SYNTAX)


# ---- for Python --------------------------------------------------------------------------------------------------------------

_EXPECTED = {
    Kind.STRING: "a string",
    Kind.BYTES: "a string in base64",
    Kind.HEX: "a string of hexadecimal digits",
    Kind.BOOL: "true or false",
    Kind.ENUM: "a whole number: the value of the enum, not its name",
    Kind.DOUBLE: 'a number, or one of the strings "NaN", "Infinity" and "-Infinity"',
    Kind.MESSAGE: "an object",
}

_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # of UTF-8, and of UTF-16 in both orders


cdef str expected(Frame* frame):
    """What should have stood where the frame is."""
    cdef Field* field = frame.list_field if frame.is_list else frame.message.fields + frame.field
    if field.repeated and not frame.is_list:
        return "a list"
    return _EXPECTED.get(field.kind, "a whole number, or a string of one")


cdef object failure(Run* run, const unsigned char* begin):
    """The exception that says what is wrong, and where."""
    cdef Frame* frame = run.frames
    cdef Error error = run.text.error
    cdef int i
    if error == NO_MEMORY:
        return MemoryError()
    if error == TOO_LARGE:
        return PayloadTooLarge(f"the request is larger than {run.size_max} bytes as protobuf; send smaller batches")
    place = f"near byte {run.text.at - begin}"
    path = pointer = ""
    for i in range(run.depth):
        frame = run.frames + i
        if frame.is_list and frame.index != NONE:
            path += f"[{frame.index}]"
            pointer += f"/{frame.index}"
        elif not frame.is_list and frame.field != NONE:
            name = frame.message.fields[frame.field].name.decode()
            path += f".{name}" if path else name
            pointer += f"/{name}"
    if len(path) > PATH_CHARS:
        path = f"{path[:PATH_CHARS // 2]}...{path[-PATH_CHARS // 2:]}"
    where = path or "the request"
    if error == WRONG_TYPE:
        text = f"{where} must be {expected(frame) if run.depth else 'an object'} ({place}); do not resend it"
    elif error == OUT_OF_RANGE:
        text = f"{where} is out of range ({place}); do not resend it"
    elif error == LONG_NUMBER:
        text = f"{where} is a number of more than {NUMBER_BYTES} characters ({place}); do not resend it"
    elif error == ENDED:
        text = f"the JSON ends within {where}; do not resend it"
    else:
        text = f"the body is not valid JSON ({place}, in {where}); do not resend it"
    return InvalidArgument(text, pointer=pointer or None)


@cython.final
cdef class Transcoder:
    """Turns requests of one signal from OTLP/JSON into protobuf. May be called from several threads at once."""

    cdef Message* _messages
    cdef int _count
    cdef Py_ssize_t _bytes_max
    cdef int _values_max
    cdef int _frames_max
    cdef object _names

    def __cinit__(self, schema, *, Py_ssize_t bytes_max, int depth_max):
        """`schema`: see `json_schema`; `bytes_max`: of what comes out; `depth_max`: levels of values that records may have."""
        cdef Message* message
        cdef Field* field
        if bytes_max < 1 or depth_max < 1:
            raise ValueError("bytes_max and depth_max must be at least 1")
        self._bytes_max = bytes_max
        self._values_max = depth_max + DEPTH_SLACK
        self._frames_max = FRAMES_A_LEVEL * self._values_max + FRAMES_BESIDE
        self._names = [[each.name for each in row.fields] for row in schema]
        self._messages = <Message*>calloc(len(schema), sizeof(Message))
        if self._messages == NULL:
            raise MemoryError
        for row, names in zip(schema, self._names, strict=True):
            if len(names) > FIELDS:
                raise ValueError(f"a message has more than {FIELDS} fields")
            message = self._messages + self._count
            message.fields = <Field*>calloc(len(names) or 1, sizeof(Field))
            if message.fields == NULL:
                raise MemoryError
            self._count += 1
            message.is_value = row.is_value
            for each, name in zip(row.fields, names, strict=True):
                field = message.fields + message.count
                field.name = PyBytes_AS_STRING(name)
                field.name_size = PyBytes_GET_SIZE(name)
                field.kind = each.kind
                field.message = each.message
                field.repeated = each.repeated
                field.tag = each.number << 3 | wire_type(each.kind, each.repeated)
                message.count += 1

    def __dealloc__(self):
        cdef int i
        for i in range(self._count):
            free(self._messages[i].fields)
        free(self._messages)

    def __call__(self, bytes text not None):
        """The request as protobuf.

        Raises `InvalidArgument` that names the place, by path and as a JSON pointer, for what is not OTLP/JSON, and
        `PayloadTooLarge` when more than `bytes_max` bytes come out.
        """
        cdef const unsigned char* begin = <const unsigned char*>PyBytes_AS_STRING(text)
        cdef Run run
        if text.startswith(_MARKS):
            raise InvalidArgument("the body begins with a byte order mark; send JSON as UTF-8 without one; do not resend it")
        if b"\0" in text[:2]:
            raise InvalidArgument("the body looks like UTF-16 or UTF-32; send JSON as UTF-8; do not resend it")
        run.text = Text(begin, begin + PyBytes_GET_SIZE(text), NULL, 0, NO_ERROR)
        run.size = run.depth = 0
        run.size_max = self._bytes_max
        run.messages = self._messages
        run.values_max = self._values_max
        run.frames_max = self._frames_max
        run.room = min(self._bytes_max, PyBytes_GET_SIZE(text) // 2) + 64
        run.out = <unsigned char*>malloc(run.room)
        run.frames = <Frame*>malloc(self._frames_max * sizeof(Frame))
        try:
            if run.out == NULL or run.frames == NULL:
                raise MemoryError
            with nogil:
                read_request(&run)
            if run.text.error != NO_ERROR:
                raise failure(&run, begin)
            return PyBytes_FromStringAndSize(<char*>run.out, run.size)
        finally:
            free(run.out)
            free(run.frames)
            free(run.text.levels)


cdef int wire_type(int kind, bint repeated):
    """Wire type of a field; numbers in lists are packed."""
    if repeated or kind in (STRING, BYTES, HEX, MESSAGE):
        return 2
    if kind in (DOUBLE, FIXED64, SFIXED64):
        return 1
    return 5 if kind == FIXED32 else 0
