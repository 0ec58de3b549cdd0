"""What other kernels use of `cbad_cy.codec` without the GIL: a codec's C functions and its contexts."""

cdef enum:
    FAILED = 0  # no frame has this size


cdef struct Kernel:
    # The C functions of one codec. Contexts and dictionaries are opaque here; NULL and FAILED mean that it did not work.
    # What `prepare` returns may point into `source`, which therefore outlives it; any number of threads may attach it at once.
    void* (*open_context)(int level) noexcept nogil
    void (*close_context)(void* context) noexcept nogil
    void* (*prepare)(const unsigned char* source, size_t size, int level) noexcept nogil
    void (*release)(void* dictionary) noexcept nogil
    bint (*attach)(void* context, const void* dictionary) noexcept nogil
    size_t (*bound)(size_t size) noexcept nogil
    size_t (*compress)(void* context, unsigned char* target, size_t room, const unsigned char* s, size_t n) noexcept nogil


cdef class Prepared:
    cdef Kernel kernel
    cdef void* dictionary
    cdef readonly bytes source_bytes
    cdef readonly str codec
    cdef readonly int level


cdef class Codec:
    cdef Kernel kernel
    cdef void* plain
    cdef void* given
    cdef unsigned char* target
    cdef size_t room
    cdef bint busy
    cdef Prepared attached  # kept alive while the context points into it
    cdef readonly str name
    cdef readonly int level
    cdef readonly str version

    cdef int reserve(self, Py_ssize_t size) except -1
    cdef int attach(self, Prepared prepared) except -1
    cdef int measure(
        self, const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] stops,
        Prepared prepared, plain, given
    ) except -1
