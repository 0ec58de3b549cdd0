"""Of codec.pyx: the functions of liblz4 that one row of `CODECS` needs.

The library is linked statically: `LZ4_attach_dictionary` is in its static interface only.
"""

cdef extern from * nogil:
    """
    #define LZ4_STATIC_LINKING_ONLY
    #include <lz4.h>
    """
    ctypedef struct LZ4_stream_t:
        pass
    LZ4_stream_t* LZ4_initStream(void* buffer, size_t size)
    void LZ4_resetStream_fast(LZ4_stream_t* stream)
    int LZ4_loadDict(LZ4_stream_t* stream, const char* dictionary, int size)
    void LZ4_attach_dictionary(LZ4_stream_t* stream, const LZ4_stream_t* dictionary)
    int LZ4_compress_fast_continue(
        LZ4_stream_t* stream, const char* source, char* target, int size, int capacity, int acceleration)
    int LZ4_compressBound(int size)
    const char* LZ4_versionString()

cdef enum:
    LZ4_LOOK_BACK_BYTES = 65536  # offsets have 16 bits (LZ4 block format, "Sequences")


cdef struct lz4_past:
    LZ4_stream_t stream  # points into the source, which therefore has to stay
    bint loaded  # liblz4 ignores a past of fewer than 8 bytes


cdef struct lz4_context:
    LZ4_stream_t stream
    const lz4_past* past  # NULL: compress alone


cdef void* lz4_open(int level) noexcept nogil:
    cdef lz4_context* context = <lz4_context*>malloc(sizeof(lz4_context))
    if context != NULL:
        LZ4_initStream(&context.stream, sizeof(LZ4_stream_t))
        context.past = NULL
    return context


cdef void lz4_close(void* context) noexcept nogil:
    free(context)


cdef void* lz4_prepare(const unsigned char* source, size_t size, int level) noexcept nogil:
    cdef size_t kept = min(size, <size_t>LZ4_LOOK_BACK_BYTES)
    cdef lz4_past* past = <lz4_past*>malloc(sizeof(lz4_past))
    if past != NULL:
        LZ4_initStream(&past.stream, sizeof(LZ4_stream_t))
        past.loaded = LZ4_loadDict(&past.stream, <const char*>source + (size - kept), <int>kept) > 0
    return past


cdef void lz4_release(void* dictionary) noexcept nogil:
    free(dictionary)


cdef bint lz4_attach(void* context, const void* dictionary) noexcept nogil:
    # Only noted: liblz4 forgets an attached dictionary after each compression.
    cdef const lz4_past* past = <const lz4_past*>dictionary
    (<lz4_context*>context).past = past if past.loaded else NULL
    return True


cdef size_t lz4_bound(size_t size) noexcept nogil:
    return LZ4_compressBound(<int>size)


cdef size_t lz4_compress(void* context, unsigned char* target, size_t room, const unsigned char* s, size_t n) noexcept nogil:
    cdef lz4_context* c = <lz4_context*>context
    cdef int size
    if c.past == NULL:
        # A full reset: after a fast one, what was compressed before decides whether the first bytes can be found by hash.
        LZ4_initStream(&c.stream, sizeof(LZ4_stream_t))
    else:
        # Here the dictionary answers wherever the context's own table has nothing, so a fast reset forgets everything.
        LZ4_resetStream_fast(&c.stream)
        LZ4_attach_dictionary(&c.stream, &c.past.stream)
    size = LZ4_compress_fast_continue(&c.stream, <const char*>s, <char*>target, <int>n, <int>room, 1)
    if size <= 0:
        LZ4_initStream(&c.stream, sizeof(LZ4_stream_t))  # a failed stream must not be reset the fast way
        return FAILED
    return size
