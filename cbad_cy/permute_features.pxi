# Of permute.pyx: what the forms of lines have in common: words, runs of three, and groups that the same forms hold.


cdef inline bint in_word(unsigned char c) noexcept nogil:
    return c >= 0x80 or c == c"_" or c"0" <= c <= c"9" or c"a" <= (c | 0x20) <= c"z"


cdef inline Py_ssize_t word_end(const unsigned char* s, Py_ssize_t at, Py_ssize_t stop) noexcept nogil:
    """Where the word that starts at `at` < stop ends."""
    cdef bint kind = in_word(s[at])
    at += 1
    while at < stop and in_word(s[at]) == kind:
        at += 1
    return at


cdef Py_ssize_t word_count(const unsigned char* s, const unsigned int* lengths, Py_ssize_t forms) noexcept nogil:
    cdef Py_ssize_t form, at = 0, stop = 0, words = 0
    for form in range(forms):
        stop += lengths[form]
        while at < stop:
            at = word_end(s, at, stop)
            words += 1
    return words


cdef inline uint32_t new_feature(Pool* p, uint64_t key, uint64_t cost, Py_ssize_t start, Py_ssize_t size) noexcept nogil:
    cdef Feature* f
    p.found += 1
    f = &p.features[p.found]
    f.key, f.cost, f.start, f.size = key, cost, <uint32_t>start, <uint32_t>size
    f.lines = f.forms = f.stamp = f.group = 0
    return p.found


cdef uint32_t word_id(Pool* p, const unsigned char* s, Py_ssize_t start, Py_ssize_t size, uint64_t byte_cost) noexcept nogil:
    """The id of the word s[start:start + size], a new one when it has none yet."""
    cdef uint64_t key = p.salt + <uint64_t>size, at
    cdef Py_ssize_t i
    cdef Feature* f
    for i in range(start, start + size):
        key = (key ^ s[i]) * <uint64_t>0x9E3779B97F4A7C15
    key = mixed(key)
    at = key & p.mask
    while p.words[at]:
        f = &p.features[p.words[at]]
        if f.key == key and f.size == size and memcmp(s + f.start, s + start, size) == 0:
            return p.words[at]
        at = (at + 1) & p.mask
    p.words[at] = new_feature(p, key, byte_cost * <uint64_t>size, start, size)
    return p.words[at]


cdef uint32_t run_id(Pool* p, uint32_t left, uint32_t middle, uint32_t right, uint64_t cost) noexcept nogil:
    """The id of three adjacent words, a new one when they have none yet."""
    cdef uint64_t key = <uint64_t>left << 32 | middle
    cdef uint64_t at = mixed(key + right * <uint64_t>0x9E3779B97F4A7C15) & p.mask
    cdef Feature* f
    while p.runs[at]:
        f = &p.features[p.runs[at]]
        if f.key == key and f.start == right:
            return p.runs[at]
        at = (at + 1) & p.mask
    p.runs[at] = new_feature(p, key, cost, right, 0)
    return p.runs[at]


cdef inline void link(Pool* p, uint32_t id, uint32_t form) noexcept nogil:
    """Note that a form holds a feature, once."""
    cdef Feature* f = &p.features[id]
    if f.stamp == form + 1:
        return
    f.stamp = form + 1
    f.forms += 1
    f.lines += p.forms[form].lines
    p.links[p.linked] = id
    p.linked += 1


cdef void read_forms(
    Pool* p, const unsigned char* s, const unsigned int* lengths, const Costs* costs
) noexcept nogil:
    """Find the words of all forms and their runs of three."""
    cdef Py_ssize_t at = 0, stop = 0, end
    cdef uint32_t form, left, middle, right
    for form in range(<uint32_t>p.form_count):
        p.forms[form].begin = p.linked
        stop += lengths[form]
        left = middle = LINE_END
        while at < stop:
            end = word_end(s, at, stop)
            right = word_id(p, s, at, end - at, costs.byte)
            link(p, right, form)
            if middle:
                link(p, run_id(p, left, middle, right, costs.order), form)
            left, middle = middle, right
            at = end
        if middle:
            link(p, run_id(p, left, middle, LINE_END, costs.order), form)
        p.forms[form].end = p.linked


cdef void keep_rare(Pool* p) noexcept nogil:
    """Drop features that no draw can make new, and hand what one form alone holds to that form."""
    cdef uint32_t form, i, begin, kept = 0
    cdef Feature* f
    for form in range(<uint32_t>p.form_count):
        begin = p.forms[form].begin
        p.forms[form].begin = kept
        for i in range(begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            if f.lines > p.window:
                continue
            if f.forms == 1:
                p.forms[form].alone += f.cost
                continue
            p.links[kept] = p.links[i]
            kept += 1
        p.forms[form].end = kept


cdef void group_features(Pool* p) noexcept nogil:
    """Partition what is left by the forms that hold it: each form splits the groups so far into what it holds and the rest."""
    cdef uint32_t form, i
    cdef Feature* f
    cdef Split* split
    p.splits[0].form = 0
    for form in range(<uint32_t>p.form_count):
        for i in range(p.forms[form].begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            split = &p.splits[f.group]
            if split.form != form + 1:
                p.grouped += 1
                split.form, split.part = form + 1, p.grouped
                p.splits[p.grouped].form = 0
            f.group = split.part


cdef void link_groups(Pool* p) noexcept nogil:
    """Put groups in the place of features."""
    cdef uint32_t form, i, begin, kept = 0
    cdef Feature* f
    cdef Group* g
    memset(p.groups, 0, (p.grouped + 1) * sizeof(Group))
    memset(p.splits, 0, (p.grouped + 1) * sizeof(Split))
    for form in range(<uint32_t>p.form_count):
        begin = p.forms[form].begin
        p.forms[form].begin = kept
        for i in range(begin, p.forms[form].end):
            f = &p.features[p.links[i]]
            g = &p.groups[f.group]
            g.cost += f.cost
            f.cost = 0  # its other forms meet it again
            if p.splits[f.group].form != form + 1:
                p.splits[f.group].form = form + 1
                g.forms += 1
                p.links[kept] = f.group
                kept += 1
        p.forms[form].end = kept


cdef void list_members(Pool* p) noexcept nogil:
    """List the forms of each group, the watched one last and beyond the end."""
    cdef uint32_t form, i, id, at = 0
    cdef Group* g
    for id in range(1, p.grouped + 1):
        p.groups[id].begin = p.groups[id].end = at
        at += p.groups[id].forms
    for form in range(<uint32_t>p.form_count):
        for i in range(p.forms[form].begin, p.forms[form].end):
            g = &p.groups[p.links[i]]
            p.members[g.end] = form
            g.end += 1
    for id in range(1, p.grouped + 1):
        g = &p.groups[id]
        if g.forms == 0:
            continue  # split up altogether
        at = g.begin
        for i in range(g.begin, g.end):
            if p.forms[p.members[i]].lines > p.forms[p.members[at]].lines:
                at = i
        g.end -= 1
        g.watch = p.members[at]
        p.members[at] = p.members[g.end]
