# cython: autotestdict=False
"""The counts of the statistical coder as one block of C: what `cbad_cy.codelength` describes, for kernels of any thread.

Everything here is C and works without the GIL; `cbad_cy.codelength.Coder` is its border, where the arithmetic is described.
"""

from libc.math cimport frexp, ldexp
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef enum:
    FULL = 65533               # a context that counted so many learns nothing until counts are halved
    SLOTS_CODED = 16
    VALUES_SURE = 8            # from so many on, mostly new ones close a slot
    SIGHTINGS = 2
    TEMPLATES_FIRST = 3        # so many of a bucket's cells
    MARK_LEAST = 4 * ONE_BIT   # what costs less is not worth pointing at


include "hash.pxi"
include "logarithm.pxi"
include "code_cells.pxi"
include "code_tokens.pxi"


cdef uint64_t template_of(const unsigned char* line, size_t size) noexcept nogil:
    return hash_of(line, size) | 1


cdef int model_open(Model* m, size_t bytes_max, uint32_t halving_events) noexcept nogil:
    m.halving_events = halving_events
    m.buckets_min = <uint32_t>(bytes_max // BUCKET_BYTES)
    m.buckets_max = 1
    while m.buckets_min >= 2 * BUCKETS_START:
        m.buckets_min //= 2
        m.buckets_max *= 2
    m.buckets_max *= m.buckets_min
    m.room = m.buckets_min
    m.table = <Bucket*>aligned_alloc(BUCKET_BYTES, m.buckets_min * sizeof(Bucket))
    if m.table == NULL:
        return -1
    model_clear(m)
    return 0


cdef void model_close(Model* m) noexcept nogil:
    free(m.table)
    m.table = NULL


cdef int model_copy(Model* to, const Model* source) noexcept nogil:
    cdef Bucket* larger
    if to.room < source.buckets:
        larger = <Bucket*>aligned_alloc(BUCKET_BYTES, source.buckets * sizeof(Bucket))
        if larger == NULL:
            return -1
        free(to.table)
        to.table = larger
        to.room = source.buckets
    memcpy(to.table, source.table, source.buckets * sizeof(Bucket))
    to.buckets = source.buckets
    to.learned = source.learned
    return 0


cdef uint64_t model_lines(Model* m, const unsigned char* text, size_t size) noexcept nogil:
    cdef size_t start = 0, stop
    cdef uint64_t template, context = 0, total = 0
    while start < size:
        stop = start
        while stop < size and text[stop] != 10:
            stop += 1
        template = template_of(text + start, stop - start)
        total += model_cost(m, text + start, stop - start, template, context, NULL, 0).total
        if model_learn(m, text + start, stop - start, template, context, NULL, 0) != 0:
            return NO_MEMORY
        context = template
        start = stop + 1
    return total


# ---- cells -----------------------------------------------------------------------------------------------------


cdef void model_clear(Model* m) noexcept nogil:
    m.buckets = m.buckets_min
    m.learned = 0
    memset(m.table, 0, m.buckets * sizeof(Bucket))


cdef Bucket* bucket_of(const Model* m, uint32_t hash) noexcept nogil:
    return &m.table[<uint64_t>hash * m.buckets >> 32]


cdef Share model_share(const Model* m, uint64_t context, uint64_t symbol) noexcept nogil:
    cdef Share found
    cdef uint32_t hash = filed(context)
    cdef const Bucket* b = bucket_of(m, hash)
    cdef int i = place(b, hash)
    found.n = found.total = found.distinct = 0
    if i < 0:
        return found
    found.total = b.count[i]
    found.distinct = b.distinct[i]
    hash = filed_symbol(context, symbol)
    b = bucket_of(m, hash)
    i = place(b, hash)
    if i >= 0:  # its context may have been given up and begun anew
        found.n = b.count[i] if b.count[i] < found.total else found.total
    return found


cdef int add(Model* m, uint64_t context, uint64_t symbol) noexcept nogil:
    """Count a symbol; -> 0, or -1 when memory is short."""
    cdef uint32_t hash = filed(context), inner = filed_symbol(context, symbol)
    cdef Bucket* b = bucket_of(m, hash)
    cdef Bucket* inside = bucket_of(m, inner)
    cdef int i = place(b, hash), k = place(inside, inner)
    cdef unsigned int total = b.count[i] if i >= 0 else 0
    if total >= FULL:
        return 0
    if k >= 0:
        inside.count[k] = <uint16_t>((inside.count[k] if inside.count[k] < total else total) + 1)
    else:
        if insert(m, inner, KNOWN if context == any_template() else 0) != 0:
            return -1
        b = bucket_of(m, hash)
        i = place(b, hash)
    if i < 0:
        return insert(m, hash, 1)
    b.count[i] += 1
    if k < 0:
        b.distinct[i] += 1
    return 0


cdef inline int least(const Bucket* b) noexcept nogil:
    """The cell of a full bucket that is given up: that a template is known is worth more than anything about it, unless
    most of the bucket knows that and nothing else."""
    cdef int i, at = 0, templates = 0
    cdef bint first
    for i in range(CELLS):
        templates += b.distinct[i] == KNOWN
    first = templates <= TEMPLATES_FIRST
    for i in range(1, CELLS):
        if first and (b.distinct[at] == KNOWN) != (b.distinct[i] == KNOWN):
            if b.distinct[at] == KNOWN:
                at = i
        elif b.count[at] > b.count[i]:
            at = i
    return at


cdef int insert(Model* m, uint32_t hash, unsigned int distinct) noexcept nogil:
    """Put a cell with a count of 1 behind the others of its bucket; -> 0, or -1 when memory is short."""
    cdef Bucket* b = bucket_of(m, hash)
    cdef int i, at = 0
    while b.hash[CELLS - 1] and m.buckets < m.buckets_max:
        if grow(m) != 0:
            return -1
        b = bucket_of(m, hash)
    if b.hash[CELLS - 1]:
        at = least(b)
        for i in range(at, CELLS - 1):
            b.hash[i] = b.hash[i + 1]
            b.count[i] = b.count[i + 1]
            b.distinct[i] = b.distinct[i + 1]
        at = CELLS - 1
    else:
        while b.hash[at]:
            at += 1
    b.hash[at] = hash
    b.count[at] = 1
    b.distinct[at] = <uint16_t>distinct
    return 0


cdef int grow(Model* m) noexcept nogil:
    """Double the table: the cells of bucket i go to 2i and 2i + 1, in their order; -> 0, or -1 when memory is short."""
    cdef Bucket* larger
    cdef Bucket old
    cdef Bucket* b
    cdef uint32_t before = m.buckets, number
    cdef int i, at
    if 2 * before > m.room:
        larger = <Bucket*>aligned_alloc(BUCKET_BYTES, 2 * <size_t>before * sizeof(Bucket))
        if larger == NULL:
            return -1
        memcpy(larger, m.table, before * sizeof(Bucket))
        free(m.table)
        m.table = larger
        m.room = 2 * before
    m.buckets = 2 * before
    for number in range(before):
        old = m.table[before - 1 - number]
        memset(&m.table[2 * (before - 1 - number)], 0, 2 * sizeof(Bucket))
        for i in range(CELLS):
            if old.hash[i] == 0:
                break
            b = bucket_of(m, old.hash[i])
            at = 0
            while b.hash[at]:
                at += 1
            b.hash[at] = old.hash[i]
            b.count[at] = old.count[i]
            b.distinct[at] = old.distinct[i]
    return 0


cdef void halve(Model* m) noexcept nogil:
    """Halve counts of 2 and more. A closed slot opens again when its context is down to 1."""
    cdef Bucket* b
    cdef uint32_t number
    cdef int i
    for number in range(m.buckets):
        b = &m.table[number]
        for i in range(CELLS):
            if b.count[i] > 1:
                b.count[i] >>= 1
            if b.distinct[i] == CLOSED:
                if b.count[i] == 1:
                    b.distinct[i] = 1
            elif b.distinct[i] > 1 and b.distinct[i] != KNOWN:
                b.distinct[i] >>= 1


# ---- code ------------------------------------------------------------------------------------------------------


cdef double token_share(const Model* m, uint64_t before, uint64_t last, uint64_t token, size_t size) noexcept nogil:
    cdef double p = blend(model_share(m, any_token(), token), spelled(size))
    p = blend(model_share(m, after_token(last), token), p)
    return blend(model_share(m, after_tokens(before, last), token), p)


cdef double token_bits(const Model* m, const unsigned char* line, size_t size) noexcept nogil:
    """The token code of a line, bits; what is certain to be over the cap is not counted to its end."""
    cdef size_t i = 0, stop
    cdef uint64_t before = 0, last = 0, token
    cdef double p = 1.0, bits = 0.0
    while True:
        i = token_start(line, size, i)
        if i == size:
            break
        stop = token_stop(line, size, i)
        token = hash_of(line + i, stop - i)
        p *= token_share(m, before, last, token, stop - i)
        if p < 1e-120:  # a single factor is above 1e-50
            bits += bits_of(p)
            p = 1.0
            if bits >= CAP // ONE_BIT:
                return bits
        before = last
        last = token
        i = stop
    return bits + bits_of(p * token_share(m, before, last, 0, 1))


cdef double slot_share(const Model* m, uint64_t template, int position, uint64_t slot) noexcept nogil:
    cdef Share bucket = model_share(m, slot_buckets(template, position), slot >> 56)
    cdef Share value
    cdef double p
    if bucket.total == 0:
        return 0.75  # a little less than the share of the same value when it comes again
    p = blend(bucket, 1.0 / 64)
    value = model_share(m, slot_values(template, position), slot)
    if value.total == 0 or value.distinct == CLOSED:
        return p
    if value.n:
        return blend(value, p)
    return escape(value) * (p if p > 1.0 / 64 else 1.0 / 64)


cdef Bits model_cost(
    const Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
) noexcept nogil:
    cdef Bits found
    cdef Share known = model_share(m, any_template(), template), follows = model_share(m, after_template(context), template)
    cdef double p
    cdef int i
    found.tokens = 0
    if known.n:
        p = blend(follows, known.n / <double>(known.total + known.distinct))
    elif follows.n:  # what was known of it without its context has been given up
        p = blend(follows, 0.0)
    else:
        p = escape(known) * escape(follows)
        found.tokens = whole(token_bits(m, line, size))
    found.template = whole(bits_of(p))
    p = 1.0
    for i in range(slot_count if slot_count < SLOTS_CODED else SLOTS_CODED):
        p *= slot_share(m, template, i, slots[i])  # 16 factors above 1e-12
    found.slots = whole(bits_of(p))
    found.total = found.template + found.tokens + found.slots
    if found.total > CAP:
        found.total = CAP
    return found


# ---- learning --------------------------------------------------------------------------------------------------


cdef int learn_token(Model* m, uint64_t before, uint64_t last, uint64_t token) noexcept nogil:
    if add(m, any_token(), token) != 0 or add(m, after_token(last), token) != 0:
        return -1
    return add(m, after_tokens(before, last), token)


cdef int learn_tokens(Model* m, const unsigned char* line, size_t size) noexcept nogil:
    cdef size_t i = 0, stop
    cdef uint64_t before = 0, last = 0, token
    cdef int count
    for count in range(TOKENS_KEPT):
        i = token_start(line, size, i)
        if i == size:
            return learn_token(m, before, last, 0)
        stop = token_stop(line, size, i)
        token = hash_of(line + i, stop - i)
        if learn_token(m, before, last, token) != 0:
            return -1
        before = last
        last = token
        i = stop
    return 0


cdef int learn_slot(Model* m, uint64_t template, int position, uint64_t slot) noexcept nogil:
    cdef uint64_t context = slot_values(template, position)
    cdef uint32_t hash = filed(context)
    cdef Bucket* b
    cdef int i
    if add(m, slot_buckets(template, position), slot >> 56) != 0:
        return -1
    b = bucket_of(m, hash)
    i = place(b, hash)
    if i >= 0 and b.distinct[i] == CLOSED:
        return 0
    if add(m, context, slot) != 0:
        return -1
    b = bucket_of(m, hash)
    i = place(b, hash)
    if i >= 0 and (
        b.distinct[i] > VALUES_KEPT or (b.distinct[i] >= VALUES_SURE and 2 * b.distinct[i] > b.count[i])
    ):
        b.distinct[i] = CLOSED
    return 0


cdef int model_learn(
    Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots, int slot_count
) noexcept nogil:
    cdef unsigned int sightings = model_share(m, any_template(), template).n
    cdef int i
    if add(m, any_template(), template) != 0 or add(m, after_template(context), template) != 0:
        return -1
    if sightings < SIGHTINGS and learn_tokens(m, line, size) != 0:
        return -1
    for i in range(slot_count if slot_count < SLOTS_CODED else SLOTS_CODED):
        if learn_slot(m, template, i, slots[i]) != 0:
            return -1
    m.learned += 1
    if m.learned == m.halving_events:
        m.learned = 0
        halve(m)
    return 0


# ---- where the bits are ----------------------------------------------------------------------------------------------

cdef void keep_mark(Mark* marks, int* count, Mark one) noexcept nogil:
    """Behind the others; when all places are taken the cheapest makes room, of equals the first."""
    cdef int i, least = 0
    if count[0] == MARKS_KEPT:
        for i in range(1, MARKS_KEPT):
            if marks[i].bits < marks[least].bits:
                least = i
        if one.bits <= marks[least].bits:
            return
        for i in range(least, MARKS_KEPT - 1):
            marks[i] = marks[i + 1]
        count[0] -= 1
    marks[count[0]] = one
    count[0] += 1


cdef int model_marks(
    const Model* m, const unsigned char* line, size_t size, uint64_t template, uint64_t context, const uint64_t* slots,
    int slot_count, Mark* marks
) noexcept nogil:
    cdef Share known = model_share(m, any_template(), template), follows = model_share(m, after_template(context), template)
    cdef uint64_t before = 0, last = 0, token
    cdef size_t i = 0, stop
    cdef Mark one
    cdef int count = 0, k
    one.slot = -1
    if known.n == 0 and follows.n == 0:
        for k in range(TOKENS_KEPT):
            i = token_start(line, size, i)
            if i == size:
                break
            stop = token_stop(line, size, i)
            token = hash_of(line + i, stop - i)
            one.start = <unsigned int>i
            one.stop = <unsigned int>stop
            one.bits = whole(bits_of(token_share(m, before, last, token, stop - i)))
            if one.bits >= MARK_LEAST:
                keep_mark(marks, &count, one)
            before = last
            last = token
            i = stop
    one.start = one.stop = 0
    for k in range(slot_count if slot_count < SLOTS_CODED else SLOTS_CODED):
        one.slot = k
        one.bits = whole(bits_of(slot_share(m, template, k, slots[k])))
        if one.bits >= MARK_LEAST:
            keep_mark(marks, &count, one)
    return count
