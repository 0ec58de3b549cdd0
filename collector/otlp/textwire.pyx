# cython: autotestdict=False
"""Numbers and text as the kernels that read records write them, one call each: for tests and benchmarks, which reach no C function.

Nothing that runs calls these; the kernels include the same sources.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

include "floats.pxi"
include "utf8.pxi"


def float_text(double value) -> bytes:
    """Python's repr of a finite double; b"NaN", b"Infinity" or b"-Infinity" of the others."""
    cdef unsigned char[DOUBLE_TEXT_BYTES_MAX] out
    cdef Py_ssize_t size
    with nogil:
        size = double_text(value, out)
    return (<char*>out)[:size]


def floats_text(const double[::1] values) -> bytes:
    """The texts of many doubles, one a line: what they cost is not what calls from Python cost."""
    cdef Py_ssize_t size = 0, i
    text = PyBytes_FromStringAndSize(NULL, (DOUBLE_TEXT_BYTES_MAX + 1) * values.shape[0])
    cdef unsigned char* out = <unsigned char*>PyBytes_AS_STRING(text)
    with nogil:
        for i in range(values.shape[0]):
            size += double_text(values[i], out + size)
            out[size] = c"\n"
            size += 1
    return text[:size]


def int_text(int64_t value) -> bytes:
    """Decimal text of a signed 64-bit integer."""
    cdef unsigned char[INTEGER_TEXT_BYTES_MAX] out
    cdef int size = signed_text(value, out)
    return (<char*>out)[:size]


def uint_text(uint64_t value) -> bytes:
    """Decimal text of an unsigned 64-bit integer."""
    cdef unsigned char[INTEGER_TEXT_BYTES_MAX] out
    cdef int size = unsigned_text(value, out)
    return (<char*>out)[:size]


def is_utf8(const unsigned char[::1] text) -> bool:
    """Whether these bytes are UTF-8."""
    cdef Py_ssize_t size = text.shape[0]
    cdef bint valid
    if size == 0:
        return True
    with nogil:
        valid = utf8_valid(&text[0], size)
    return valid


def repaired(const unsigned char[::1] text) -> bytes:
    """UTF-8 with U+FFFD for what was not: `bytes(text).decode(errors="replace").encode()`."""
    cdef Py_ssize_t size = text.shape[0], found
    if size == 0:
        return b""
    found = utf8_repair(&text[0], size, NULL)
    out = PyBytes_FromStringAndSize(NULL, found)
    if utf8_repair(&text[0], size, <unsigned char*>PyBytes_AS_STRING(out)) != found:
        raise AssertionError("a repair is not as long as it said")
    return out


def cut(const unsigned char[::1] text, Py_ssize_t bytes_max) -> bytes:
    """The longest prefix of at most `bytes_max` bytes (0 or more) that ends between characters; `text` is UTF-8."""
    if bytes_max < 0:
        raise ValueError("bytes_max must not be negative")
    if text.shape[0] == 0:
        return b""
    return bytes(text[:utf8_cut(&text[0], text.shape[0], bytes_max)])
