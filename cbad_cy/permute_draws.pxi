# Of permute.pyx: what a window costs without the rest, and windows drawn by chance.


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The output function of SplitMix64, a bijection."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint32_t number(Random* r) noexcept nogil:
    """32 random bits: the high half of an output, then its low half."""
    cdef uint64_t output
    if r.spared:
        r.spared = False
        return r.spare
    r.state += <uint64_t>0x9E3779B97F4A7C15
    output = mixed(r.state)
    r.spare = <uint32_t>output
    r.spared = True
    return <uint32_t>(output >> 32)


cdef inline uint32_t below(Random* r, uint32_t bound) noexcept nogil:
    """A uniform integer in [0, bound), bound >= 1."""
    cdef uint64_t product = <uint64_t>number(r) * bound
    cdef uint32_t least
    if <uint32_t>product < bound:
        least = <uint32_t>(-bound) % bound  # 2**32 mod bound: that many low halves are one too many
        while <uint32_t>product < least:
            product = <uint64_t>number(r) * bound
    return <uint32_t>(product >> 32)


cdef void watch(Pool* p) noexcept nogil:
    """Link each group to the form that it watches, and to no other."""
    cdef uint32_t form, id, watched, at = 0
    cdef Form* t
    for form in range(<uint32_t>p.form_count):
        p.forms[form].end = 0
    for id in range(1, p.grouped + 1):
        p.forms[p.groups[id].watch].end += p.groups[id].forms > 0
    for form in range(<uint32_t>p.form_count):
        t = &p.forms[form]
        watched = t.end
        t.begin = t.end = at
        at += watched
    for id in range(1, p.grouped + 1):
        if p.groups[id].forms:
            t = &p.forms[p.groups[id].watch]
            p.links[t.end] = id
            t.end += 1


cdef inline bint others_gone(const Pool* p, const Group* g) noexcept nogil:
    """Are all members of a group, but for the watched one, drawn altogether?"""
    cdef uint32_t i
    for i in range(g.begin, g.end):
        if p.forms[p.members[i]].held != p.forms[p.members[i]].lines:
            return False
    return True


cdef uint64_t statistic(Pool* p, uint32_t distinct, uint64_t first) noexcept nogil:
    """Bits of the counted window given the rest; forgets the counts."""
    cdef uint64_t bits = first * distinct
    cdef uint32_t gone = 0, i, e
    cdef bint whole
    cdef Form* t
    for i in range(distinct):
        t = &p.forms[p.drawn[i]]
        bits += t.each * t.held
        p.gone[gone] = p.drawn[i]
        whole = t.held == t.lines
        gone += whole
        t.held *= whole  # forms that are not drawn altogether need their count no more
    for i in range(gone):
        t = &p.forms[p.gone[i]]
        bits += t.alone
        for e in range(t.begin, t.end):
            if others_gone(p, &p.groups[p.links[e]]):
                bits += p.groups[p.links[e]].cost
    for i in range(gone):
        p.forms[p.gone[i]].held = 0
    return bits


cdef uint64_t observe(Pool* p, uint64_t first) noexcept nogil:
    """The statistic of the lines that stand first."""
    cdef uint32_t i, form, distinct = 0
    for i in range(<uint32_t>p.window):
        form = p.lines[i]
        p.drawn[distinct] = form
        distinct += p.forms[form].held == 0
        p.forms[form].held += 1
    return statistic(p, distinct, first)


cdef uint64_t draw(Pool* p, Random* r, uint64_t first) noexcept nogil:
    """The statistic of a uniformly random window: the first steps of a Fisher-Yates shuffle, whatever order the lines have."""
    cdef Random local = r[0]  # registers, not memory: this loop is the whole test
    cdef Form* forms = p.forms
    cdef uint32_t* lines = p.lines
    cdef uint32_t* drawn = p.drawn
    cdef uint32_t i, j, form, distinct = 0, remaining = <uint32_t>p.line_count
    for i in range(<uint32_t>p.window):
        j = i + below(&local, remaining)
        remaining -= 1
        form = lines[j]
        lines[j] = lines[i]
        lines[i] = form
        drawn[distinct] = form
        distinct += forms[form].held == 0
        forms[form].held += 1
    r[0] = local
    return statistic(p, distinct, first)


cdef uint32_t exchange(
    Pool* p, uint64_t first, uint64_t seed, uint32_t draws_max, uint32_t exceedances_max, uint64_t* observed, uint32_t* reached
) noexcept nogil:
    """Draw until enough draws reach the observed statistic, or to the end; -> draws."""
    cdef Random r
    cdef uint32_t draws = 0
    r.state, r.spare, r.spared = seed, 0, False
    observed[0] = observe(p, first)
    reached[0] = 0
    while draws < draws_max and reached[0] < exceedances_max:
        draws += 1
        reached[0] += draw(p, &r, first) >= observed[0]
    return draws


cdef void fill(
    Pool* p, const unsigned int* window_counts, const unsigned int* rest_counts, uint64_t line_cost
) noexcept nogil:
    """Lay out the lines, the window first, each side by form."""
    cdef uint32_t form, i, lines
    cdef Py_ssize_t w = 0, r = p.window
    for form in range(<uint32_t>p.form_count):
        for i in range(window_counts[form]):
            p.lines[w] = form
            w += 1
        for i in range(rest_counts[form]):
            p.lines[r] = form
            r += 1
        lines = window_counts[form] + rest_counts[form]
        p.forms[form].lines = lines
        p.forms[form].each = line_cost * <uint64_t>(p.line_count - lines) // <uint64_t>p.line_count
