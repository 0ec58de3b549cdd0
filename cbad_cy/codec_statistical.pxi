"""Of codec.pyx: the statistical coder as one more row of `CODECS`.

Texts are masked lines, newlines between them; slots are not part of such a text. Nothing is written: only the size counts.
"""

from cbad_cy.model cimport (
    NO_MEMORY, Model, model_clear, model_close, model_copy, model_lines, model_open)

cdef enum:
    STATISTICAL_BYTES_MAX = 96 * 1024
    STATISTICAL_HALVING_EVENTS = 1 << 15
    COST_OF_A_BYTE = 8 * 1024


cdef struct statistical_context:
    Model model
    const Model* past  # NULL: code alone


cdef void* statistical_open(int level) noexcept nogil:
    cdef statistical_context* context = <statistical_context*>malloc(sizeof(statistical_context))
    if context == NULL:
        return NULL
    context.past = NULL
    if model_open(&context.model, STATISTICAL_BYTES_MAX, STATISTICAL_HALVING_EVENTS) != 0:
        free(context)
        return NULL
    return context


cdef void statistical_close(void* context) noexcept nogil:
    model_close(&(<statistical_context*>context).model)
    free(context)


cdef void* statistical_prepare(const unsigned char* source, size_t size, int level) noexcept nogil:
    cdef Model* past = <Model*>malloc(sizeof(Model))
    if past == NULL:
        return NULL
    if model_open(past, STATISTICAL_BYTES_MAX, STATISTICAL_HALVING_EVENTS) != 0:
        free(past)
        return NULL
    if model_lines(past, source, size) == NO_MEMORY:
        statistical_release(past)
        return NULL
    return past


cdef void statistical_release(void* dictionary) noexcept nogil:
    model_close(<Model*>dictionary)
    free(dictionary)


cdef bint statistical_attach(void* context, const void* dictionary) noexcept nogil:
    (<statistical_context*>context).past = <const Model*>dictionary
    return True


cdef size_t statistical_bound(size_t size) noexcept nogil:
    return 0


cdef size_t statistical_compress(
    void* context, unsigned char* target, size_t room, const unsigned char* s, size_t n
) noexcept nogil:
    cdef statistical_context* c = <statistical_context*>context
    cdef uint64_t cost
    if c.past == NULL:
        model_clear(&c.model)
    elif model_copy(&c.model, c.past) != 0:
        return FAILED
    cost = model_lines(&c.model, s, n)
    if cost == NO_MEMORY:
        return FAILED
    return 1 + (cost + COST_OF_A_BYTE - 1) // COST_OF_A_BYTE
