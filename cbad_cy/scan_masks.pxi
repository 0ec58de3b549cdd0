"""Of the scanner in tokenize.pyx: masks that a stream's owner adds. They are looked for first; the rules see what lies between.

A mask is a row of elements, each a literal or a run of bytes of one set, as long as possible. Where a run ends depends on where
it starts only, and later starts never lead to earlier ones; so each run is remembered, and every element looks at each byte
of a line as part of a run once, however many starts fail.
"""

cdef extern from * nogil:
    """
    static inline int lowest_bit(unsigned int x) { return __builtin_ctz(x); }
    """
    int lowest_bit(uint32_t x)

cdef enum:
    MASKS_KEPT = 16
    ELEMENTS_KEPT = 16       # of one mask
    NAME_BYTES_KEPT = 16

cdef struct Element:
    const unsigned char* text  # a literal, or NULL
    int least                  # bytes; of a literal: its length
    int most
    uint64_t members[4]        # of a run: one bit a byte value

cdef struct Mask:
    int first                # its elements
    int stop
    int value_first          # its first and its last run: the slot reaches from one to the other
    int value_last
    bint ends_within
    int mark_bytes
    unsigned char mark[NAME_BYTES_KEPT + 2]

cdef struct MaskTable:
    int count
    uint32_t begins[256]     # which masks may start with a byte: bit k is mask k
    uint32_t within[256]     # those of them that may start inside a run of word bytes
    Mask masks[MASKS_KEPT]
    Element elements[MASKS_KEPT * ELEMENTS_KEPT]

cdef struct Extent:
    const unsigned char* start  # the run that an element saw last; where it lies in the text, so that lines do not mix
    const unsigned char* end

cdef struct Match:
    int mask                 # -1: none
    int start
    int end
    int value_start
    int value_end


cdef inline bint member(const Element* e, unsigned char byte) noexcept nogil:
    return e.members[byte >> 6] >> (byte & 63) & 1


cdef inline int run_end(Scan* c, int element, int start, int n) noexcept nogil:
    """Behind the longest run of the element's bytes that begins at source[start]."""
    cdef const Element* e = &c.masks.elements[element]
    cdef Extent* seen = &c.extents[element]
    cdef const unsigned char* p = c.s + start
    if not seen.start <= p < seen.end:
        seen.start = p
        while p < c.s + n and member(e, p[0]):
            p += 1
        seen.end = p
        c.steps += p - seen.start
    return <int>(seen.end - c.s)


cdef bint matches(Scan* c, const Mask* mask, int start, int n, Match* found) noexcept nogil:
    """Does the mask match at source[start]? If so, `found` becomes where."""
    cdef const Element* e
    cdef int p = start, k, end
    for k in range(mask.first, mask.stop):
        e = &c.masks.elements[k]
        c.steps += 1
        if e.text != NULL:
            if n - p < e.least or memcmp(&c.s[p], e.text, e.least) != 0:
                return False
            c.steps += e.least
            p += e.least
        else:
            end = run_end(c, k, p, n)
            if end - p < e.least:
                return False
            if k == mask.value_first:
                found.value_start = p
            p = end if end - p <= e.most else p + e.most
            if k == mask.value_last:
                found.value_end = p
    if p < n and (
        c.s[p] & 0xC0 == 0x80  # inside a UTF-8 sequence
        or (not mask.ends_within and BYTE_CLASS[c.s[p]] & WORDBYTE and BYTE_CLASS[c.s[p - 1]] & WORDBYTE)
    ):
        return False
    found.start = start
    found.end = p
    return True


cdef Match seek(Scan* c, int i, int n) noexcept nogil:
    """The first match in source[i:n]; of masks that match at one place the first."""
    cdef const MaskTable* table = c.masks
    cdef Match found
    cdef uint32_t wanted
    cdef int begun = i
    found.start = found.end = found.value_start = found.value_end = n
    while i < n:
        wanted = table.begins[c.s[i]]
        if wanted:
            if i and BYTE_CLASS[c.s[i]] & WORDBYTE and BYTE_CLASS[c.s[i - 1]] & WORDBYTE:
                wanted = table.within[c.s[i]]
            while wanted:
                found.mask = lowest_bit(wanted)
                if matches(c, &table.masks[found.mask], i, n, &found):
                    c.steps += i - begun + 1
                    return found
                wanted &= wanted - 1
        i += 1
    c.steps += i - begun
    found.mask = -1
    return found


cdef void scan_masked(Scan* c) noexcept nogil:
    """As `scan_piece`, of c.s[:c.n], with masks: what lies between two matches is scanned by itself."""
    cdef int n = c.n, i = 0, m0
    cdef const Mask* mask
    cdef Match found
    while True:
        found = seek(c, i, n)
        if found.mask < 0:
            break
        c.n = found.start
        scan_piece(c, i)
        mask = &c.masks.masks[found.mask]
        slot(c, K_MASK, found.value_start, found.value_end)
        m0 = begin(c)
        memcpy(&c.out[m0], mask.mark, mask.mark_bytes)
        keep(c, K_MASK, m0, m0 + mask.mark_bytes, found.start, found.end)
        i = c.after = found.end
    c.n = n
    scan_piece(c, i)
