"""Of keyset.pyx: what one rung knows: sets and templates with counts, what was odd lately, and past scores."""

cdef inline unsigned int units(double bits) noexcept nogil:
    """In 1/64 bit, at most the cap."""
    return <unsigned int>(bits * UNIT + 0.5) if bits < CAP // UNIT else CAP


cdef inline int item_of(const Rung* r, uint32_t template) noexcept nogil:
    cdef int i
    for i in range(<int>r.items):
        if r.item_hash[i] == template:
            return i
    return -1


cdef inline int set_of(const Rung* r, uint64_t hash) noexcept nogil:
    cdef int i
    for i in range(<int>r.sets):
        if r.set_hash[i] == hash:
            return i
    return -1


cdef inline double template_share(const Rung* r, int item, bint there) noexcept nogil:
    """Krichevsky and Trofimov's estimate that a key has this template, or has it not."""
    cdef double total = r.total / <double>ONE_KEY, n = r.item_count[item] / <double>ONE_KEY
    return ((n if there else total - n) + 0.5) / (total + 1.0)


cdef inline double unseen_share(const Rung* r) noexcept nogil:
    return 0.5 / (r.total / <double>ONE_KEY + 1.0) * NAMING


cdef unsigned int code_of(const Rung* r, const uint32_t* ids, int count, uint64_t hash) noexcept nogil:
    """Code length of a set, 1/64 bit: n(set) + D times the product over templates, over N + D."""
    cdef uint8_t there[ITEMS]
    cdef double p = 1.0, total = r.total / <double>ONE_KEY
    cdef int i, k
    memset(there, 0, ITEMS)
    for k in range(count):
        i = item_of(r, ids[k])
        if i >= 0:
            there[i] = 1
        else:
            p *= unseen_share(r)
    for i in range(<int>r.items):
        if r.item_hash[i]:
            p *= template_share(r, i, there[i])
    if r.sets:
        i = set_of(r, hash)
        p = ((r.set_count[i] / <double>ONE_KEY if i >= 0 else 0.0) + r.sets * p) / (total + r.sets)
    return units(bits_of(p)) if p > LEAST else CAP


cdef void forget_item(Rung* r, int item) noexcept nogil:
    cdef int i
    r.item_hash[item] = 0
    r.item_count[item] = 0
    for i in range(<int>r.sets):
        r.set_items[i][item >> 6] &= ~(<uint64_t>1 << (item & 63))


cdef int count_item(Rung* r, uint32_t template, uint32_t weight) noexcept nogil:
    """Count a template, the rarest one making room; -> where."""
    cdef int i = item_of(r, template), k
    if i >= 0:
        r.item_count[i] += weight
        return i
    i = item_of(r, 0)
    if i < 0 and r.items < ITEMS:
        i = <int>r.items
        r.items += 1
    if i < 0:
        i = 0
        for k in range(1, ITEMS):
            if r.item_count[k] < r.item_count[i]:
                i = k
        forget_item(r, i)
    r.item_hash[i] = template
    r.item_count[i] = weight
    return i


cdef void drop_set(Rung* r, int at) noexcept nogil:
    cdef int i
    r.sets -= 1
    for i in range(at, <int>r.sets):
        r.set_hash[i] = r.set_hash[i + 1]
        r.set_items[i][0] = r.set_items[i + 1][0]
        r.set_items[i][1] = r.set_items[i + 1][1]
        r.set_count[i] = r.set_count[i + 1]


cdef void learn_set(Rung* r, const uint32_t* ids, int count, uint64_t hash, uint32_t keys) noexcept nogil:
    """Count a set and its templates as those of `keys` keys; every so often everything fades a little."""
    cdef uint32_t weight = keys * ONE_KEY
    cdef int i, k, at = set_of(r, hash)
    for k in range(count):
        count_item(r, ids[k], weight)
    if at < 0:
        if r.sets == SETS:
            at = 0
            for i in range(1, SETS):
                if r.set_count[i] < r.set_count[at]:
                    at = i
            drop_set(r, at)
        at = <int>r.sets
        r.sets += 1
        r.set_hash[at] = hash
        r.set_count[at] = 0
        r.set_items[at][0] = r.set_items[at][1] = 0
        for k in range(count):
            i = item_of(r, ids[k])
            if i >= 0:  # with more templates than items, some made room for others
                r.set_items[at][i >> 6] |= <uint64_t>1 << (i & 63)
    r.set_count[at] += weight
    r.total += weight
    r.learned += 1
    if r.learned % FADING_KEYS == 0:
        fade(r)


cdef void fade(Rung* r) noexcept nogil:
    """Take 1/32 off all counts, so that a key counts half after some 1,400 others; forget what is next to nothing."""
    cdef int i
    r.total -= r.total >> 5
    for i in range(<int>r.sets - 1, -1, -1):
        r.set_count[i] -= r.set_count[i] >> 5
        if r.set_count[i] < FORGOTTEN:
            drop_set(r, i)
    for i in range(<int>r.items):
        r.item_count[i] -= r.item_count[i] >> 5
        if r.item_hash[i] and r.item_count[i] < FORGOTTEN:
            forget_item(r, i)


cdef void prune(Rung* r) noexcept nogil:
    """Forget sets under 2 % and count templates anew from the others, unless that would forget most of what is known."""
    cdef uint64_t kept = 0
    cdef int i, k
    for i in range(<int>r.sets):
        if 50 * <uint64_t>r.set_count[i] >= r.total:
            kept += r.set_count[i]
    if 2 * kept < r.total:
        return
    for i in range(<int>r.sets - 1, -1, -1):
        if 50 * <uint64_t>r.set_count[i] < r.total:
            drop_set(r, i)
    r.total = <uint32_t>kept
    for k in range(<int>r.items):
        r.item_count[k] = 0
        for i in range(<int>r.sets):
            if r.set_items[i][k >> 6] >> (k & 63) & 1:
                r.item_count[k] += r.set_count[i]
        if r.item_count[k] == 0:
            r.item_hash[k] = 0


cdef void drop_odd(Rung* r, int at) noexcept nogil:
    cdef int i
    r.odds -= 1
    for i in range(at, <int>r.odds):
        r.odd_hash[i] = r.odd_hash[i + 1]
        r.odd_fast[i] = r.odd_fast[i + 1]
        r.odd_slow[i] = r.odd_slow[i + 1]
        r.odd_seen[i] = r.odd_seen[i + 1]


cdef inline bint enough(const Rung* r, int at) noexcept nogil:
    return r.odd_fast[at] >= FAST_ENOUGH or r.odd_slow[at] >= SLOW_ENOUGH


cdef uint32_t adopted(Rung* r, uint64_t hash, bint odd) noexcept nogil:
    """Weigh whether an odd set has become common; -> as how many keys it is to be learned, 0 while it is still odd.

    Page's cumulative sums of the log likelihood ratio of "one key in ten has it" to "three in a hundred have it", which four in
    a row decide, and of half of both shares, with twice the evidence.
    """
    cdef int i, at = -1, least = 0
    cdef uint32_t keys
    for i in range(<int>r.odds - 1, -1, -1):
        if r.odd_hash[i] == hash:
            continue
        r.odd_fast[i] = r.odd_fast[i] - FAST_AGAINST if r.odd_fast[i] > FAST_AGAINST else 0
        r.odd_slow[i] = r.odd_slow[i] - SLOW_AGAINST if r.odd_slow[i] > SLOW_AGAINST else 0
        if r.odd_slow[i] == 0 and r.odd_fast[i] == 0:
            drop_odd(r, i)
    if not odd:
        return 0
    for i in range(<int>r.odds):
        if r.odd_hash[i] == hash:
            at = i
        if r.odd_slow[i] < r.odd_slow[least]:
            least = i
    if at < 0:
        if r.odds == ODDS:
            drop_odd(r, least)
        at = <int>r.odds
        r.odds += 1
        r.odd_hash[at] = hash
        r.odd_fast[at] = r.odd_slow[at] = 0
        r.odd_seen[at] = 0
    r.odd_fast[at] = r.odd_fast[at] + EVIDENCE_FOR if r.odd_fast[at] + EVIDENCE_FOR < 2 * FAST_ENOUGH else 2 * FAST_ENOUGH
    r.odd_slow[at] = r.odd_slow[at] + EVIDENCE_FOR if r.odd_slow[at] + EVIDENCE_FOR < 2 * SLOW_ENOUGH else 2 * SLOW_ENOUGH
    if r.odd_seen[at] < WARM:  # learned at once it weighs no more than a warm-up
        r.odd_seen[at] += 1
    if not enough(r, at):
        return 0
    keys = r.odd_seen[at]
    r.odd_seen[at] = 0
    return keys


cdef inline unsigned int usual_code(const Rung* r, unsigned int otherwise) noexcept nogil:
    """The upper median of code lengths of keys that were learned."""
    cdef uint64_t count = r.usual_count if r.usual_count < USUAL else USUAL
    return r.ordered[count // 2] if count else otherwise


cdef void push_usual(Rung* r, unsigned int code) noexcept nogil:
    cdef int count = <int>(r.usual_count if r.usual_count < USUAL else USUAL), i = 0
    cdef int slot = <int>(r.usual_count % USUAL)
    if count == USUAL:
        while r.ordered[i] != r.usual[slot]:
            i += 1
        count -= 1
        memmove(&r.ordered[i], &r.ordered[i + 1], (count - i) * sizeof(uint16_t))
    i = count
    while i > 0 and r.ordered[i - 1] > code:
        r.ordered[i] = r.ordered[i - 1]
        i -= 1
    r.ordered[i] = <uint16_t>code
    r.usual[slot] = <uint16_t>code
    r.usual_count += 1


cdef inline void push_past(Rung* r, unsigned int score) noexcept nogil:
    r.past[r.past_count % PAST] = <uint16_t>score
    r.past_count += 1


cdef double rarity(const Rung* r, unsigned int score, double* confidence) noexcept nogil:
    """p of a score: the larger of its ranks among past scores and among maxima of blocks; the newest are left out.

    One in `ANOMALIES_EVERY` of the past may be an anomaly itself: so many of those that are as high do not count.
    """
    cdef uint64_t stop = r.past_count - NEIGHBOURS if r.past_count > NEIGHBOURS else 0
    cdef uint64_t i = r.past_count - PAST if r.past_count > PAST else 0
    cdef unsigned int above = 0, count = 0, blocks = 0, blocks_above = 0, allowed
    cdef bint high = False, whole = False
    cdef double p, q
    while i < stop:
        if i % NEIGHBOURS == 0:
            high = False
            whole = True
        count += 1
        if r.past[i % PAST] >= score:
            above += 1
            high = True
        if whole and i % NEIGHBOURS == NEIGHBOURS - 1:
            blocks += 1
            blocks_above += high
        i += 1
    confidence[0] = <double>(count - above) / count if count else 0.0
    allowed = count // ANOMALIES_EVERY
    p = (1.0 + (above - allowed if above > allowed else 0)) / (1 + count)
    q = (1.0 + (blocks_above - allowed if blocks_above > allowed else 0)) / (1 + blocks)
    return p if p > q else q


cdef bint mended(Rung* r) noexcept:
    """Whether a stored rung is one that could be; what follows from the rest is computed again."""
    cdef uint64_t pushed = r.usual_count
    cdef int i
    if (
        r.sets > SETS or r.items > ITEMS or r.odds > ODDS or r.judged > WARM + 1 or r.learned == 0 and r.sets
        or r.total > 1 << 30 or r.alarm_share > 1 << 24
    ):
        return False
    for i in range(<int>r.odds):
        if (
            not 0 <= r.odd_fast[i] <= 2 * FAST_ENOUGH or not 0 <= r.odd_slow[i] <= 2 * SLOW_ENOUGH or r.odd_seen[i] > WARM
        ):
            return False
    for i in range(<int>r.items, ITEMS):
        if r.item_hash[i] or r.item_count[i]:
            return False
    for i in range(<int>r.sets):
        if r.set_count[i] > r.total:
            return False
    for i in range(<int>r.items):
        if r.item_count[i] > r.total or (r.item_hash[i] == 0) != (r.item_count[i] == 0):
            return False
    r.usual_count = 0
    memset(r.ordered, 0, sizeof(r.ordered))
    for i in range(<int>(pushed if pushed < USUAL else USUAL)):
        push_usual(r, r.usual[i])
    r.usual_count = pushed
    return True
