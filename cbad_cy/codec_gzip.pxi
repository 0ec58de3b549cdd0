"""Of codec.pyx: the functions of zlib that one row of `CODECS` needs."""

cdef extern from * nogil:
    """
    #define ZLIB_CONST
    #include <zlib.h>
    """
    ctypedef struct z_stream:
        const unsigned char* next_in
        unsigned int avail_in
        unsigned char* next_out
        unsigned int avail_out
        unsigned long total_out
        void* (*zalloc)(void* opaque, unsigned int items, unsigned int size) noexcept nogil
        void (*zfree)(void* opaque, void* block) noexcept nogil
        void* opaque
    enum:
        Z_OK, Z_STREAM_END, Z_FINISH, Z_DEFLATED, Z_DEFAULT_STRATEGY
    int deflateInit2(z_stream* stream, int level, int method, int window_bits, int memory_level, int strategy)
    int deflateReset(z_stream* stream)
    int deflateSetDictionary(z_stream* stream, const unsigned char* dictionary, unsigned int size)
    int deflateCopy(z_stream* target, z_stream* source)
    int deflate(z_stream* stream, int flush)
    int deflateEnd(z_stream* stream)
    unsigned long compressBound(unsigned long size)
    const char* zlibVersion()

cdef enum:
    GZIP_LOOK_BACK_BYTES = 32768  # largest distance of a match (RFC 1951, section 3.2.5)
    GZIP_WINDOW_BITS = -15  # that look-back; negative: a raw stream without header and checksum
    GZIP_MEMORY_LEVEL = 8  # zlib's own default, so sizes are those of everybody's gzip


cdef struct gzip_block:
    gzip_block* next
    size_t size


cdef struct gzip_past:
    # Nothing is computed beforehand: priming takes 30 us, about one window, and a primed state would take 262 KiB a past.
    const unsigned char* source
    unsigned int size


cdef struct gzip_context:
    z_stream primed  # has read the past; compresses itself only when there is none
    z_stream copy  # of `primed`, for one compression
    bint past
    gzip_block* spare  # blocks that zlib gave back: 0.1 us instead of the 80 us of malloc, page faults and free


cdef void* gzip_allocate(void* opaque, unsigned int items, unsigned int size) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>opaque
    cdef size_t wanted = <size_t>items * size
    cdef gzip_block** link = &c.spare
    cdef gzip_block* block
    while link[0] != NULL:
        block = link[0]
        if block.size == wanted:
            link[0] = block.next
            return block + 1
        link = &block.next
    block = <gzip_block*>malloc(sizeof(gzip_block) + wanted)
    if block == NULL:
        return NULL
    block.size = wanted
    return block + 1


cdef void gzip_give_back(void* opaque, void* memory) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>opaque
    cdef gzip_block* block = <gzip_block*>memory - 1
    block.next = c.spare
    c.spare = block


cdef void gzip_free(gzip_context* c) noexcept nogil:
    cdef gzip_block* block
    while c.spare != NULL:
        block = c.spare
        c.spare = block.next
        free(block)
    free(c)


cdef void* gzip_open(int level) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>calloc(1, sizeof(gzip_context))
    if c == NULL:
        return NULL
    c.primed.zalloc = gzip_allocate
    c.primed.zfree = gzip_give_back
    c.primed.opaque = c
    if deflateInit2(&c.primed, level, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK:
        gzip_free(c)
        return NULL
    return c


cdef void gzip_close(void* context) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>context
    deflateEnd(&c.primed)
    gzip_free(c)


cdef void* gzip_prepare(const unsigned char* source, size_t size, int level) noexcept nogil:
    cdef size_t kept = min(size, <size_t>GZIP_LOOK_BACK_BYTES)
    cdef gzip_past* past = <gzip_past*>malloc(sizeof(gzip_past))
    if past != NULL:
        past.source = source + (size - kept)
        past.size = <unsigned int>kept
    return past


cdef void gzip_release(void* dictionary) noexcept nogil:
    free(dictionary)


cdef bint gzip_attach(void* context, const void* dictionary) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>context
    cdef const gzip_past* past = <const gzip_past*>dictionary
    c.past = past.size > 0
    return deflateReset(&c.primed) == Z_OK and deflateSetDictionary(&c.primed, past.source, past.size) == Z_OK


cdef size_t gzip_bound(size_t size) noexcept nogil:
    return compressBound(size)


cdef size_t gzip_compress(void* context, unsigned char* target, size_t room, const unsigned char* s, size_t n) noexcept nogil:
    cdef gzip_context* c = <gzip_context*>context
    cdef z_stream* stream = &c.primed
    cdef size_t size = FAILED
    if c.past:
        # Reading the past again would cost five times as much as copying the state behind it.
        stream = &c.copy
        if deflateCopy(stream, &c.primed) != Z_OK:
            return FAILED
    elif deflateReset(stream) != Z_OK:
        return FAILED
    stream.next_in = s
    stream.avail_in = <unsigned int>n
    stream.next_out = target
    stream.avail_out = <unsigned int>room
    if deflate(stream, Z_FINISH) == Z_STREAM_END:
        size = stream.total_out
    if c.past:
        deflateEnd(stream)
    return size
