"""Of codec.pyx: the functions of libzstd that one row of `CODECS` needs."""

cdef extern from * nogil:
    """
    #define ZSTD_STATIC_LINKING_ONLY
    #include <zstd.h>
    static ZSTD_customMem cbad_default_memory(void) { return ZSTD_defaultCMem; }
    """
    ctypedef struct ZSTD_CCtx:
        pass
    ctypedef struct ZSTD_CDict:
        pass
    ctypedef struct ZSTD_CCtx_params:
        pass
    ctypedef struct ZSTD_customMem:
        pass
    enum:
        ZSTD_c_compressionLevel, ZSTD_c_contentSizeFlag, ZSTD_c_checksumFlag, ZSTD_c_dictIDFlag, ZSTD_c_format
        ZSTD_f_zstd1_magicless, ZSTD_dlm_byCopy, ZSTD_dct_rawContent
    ZSTD_CCtx* ZSTD_createCCtx()
    size_t ZSTD_freeCCtx(ZSTD_CCtx* cctx)
    size_t ZSTD_CCtx_setParameter(ZSTD_CCtx* cctx, int parameter, int value)
    size_t ZSTD_CCtx_refCDict(ZSTD_CCtx* cctx, const ZSTD_CDict* cdict)
    size_t ZSTD_compress2(ZSTD_CCtx* cctx, void* target, size_t capacity, const void* source, size_t size)
    size_t ZSTD_compressBound(size_t size)
    unsigned ZSTD_isError(size_t code)
    const char* ZSTD_versionString()
    ZSTD_CCtx_params* ZSTD_createCCtxParams()
    size_t ZSTD_CCtxParams_init(ZSTD_CCtx_params* params, int level)
    size_t ZSTD_freeCCtxParams(ZSTD_CCtx_params* params)
    ZSTD_CDict* ZSTD_createCDict_advanced2(
        const void* source, size_t size, int method, int content, const ZSTD_CCtx_params* params, ZSTD_customMem memory)
    size_t ZSTD_freeCDict(ZSTD_CDict* cdict)
    ZSTD_customMem cbad_default_memory()


cdef void* zstd_open(int level) noexcept nogil:
    cdef ZSTD_CCtx* context = ZSTD_createCCtx()
    if context == NULL:
        return NULL
    if (
        ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))
        or ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_format, ZSTD_f_zstd1_magicless))
        or ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0))
        or ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0))
        or ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0))
    ):
        ZSTD_freeCCtx(context)
        return NULL
    return context


cdef void zstd_close(void* context) noexcept nogil:
    ZSTD_freeCCtx(<ZSTD_CCtx*>context)


cdef void* zstd_prepare(const unsigned char* source, size_t size, int level) noexcept nogil:
    # Raw content: text that happens to start with the magic number of a trained dictionary must not be read as one.
    cdef ZSTD_CCtx_params* params = ZSTD_createCCtxParams()
    cdef void* dictionary = NULL
    if params == NULL:
        return NULL
    if not ZSTD_isError(ZSTD_CCtxParams_init(params, level)):
        dictionary = ZSTD_createCDict_advanced2(
            source, size, ZSTD_dlm_byCopy, ZSTD_dct_rawContent, params, cbad_default_memory())
    ZSTD_freeCCtxParams(params)
    return dictionary


cdef void zstd_release(void* dictionary) noexcept nogil:
    ZSTD_freeCDict(<ZSTD_CDict*>dictionary)


cdef bint zstd_attach(void* context, const void* dictionary) noexcept nogil:
    return not ZSTD_isError(ZSTD_CCtx_refCDict(<ZSTD_CCtx*>context, <const ZSTD_CDict*>dictionary))


cdef size_t zstd_bound(size_t size) noexcept nogil:
    return ZSTD_compressBound(size)


cdef size_t zstd_compress(void* context, unsigned char* target, size_t room, const unsigned char* s, size_t n) noexcept nogil:
    cdef size_t size = ZSTD_compress2(<ZSTD_CCtx*>context, target, room, s, n)
    return FAILED if ZSTD_isError(size) else size
