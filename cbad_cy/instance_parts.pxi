"""Of instances.pyx: everything that is known as bytes, and back. Little-endian, whatever the machine is."""

cdef object HEAD = struct.Struct("<IIQB5I5H3H")
cdef object ONE = struct.Struct("<QQ4I2I24H24H24H5I5I5H5iHH6B")
cdef object FORM = struct.Struct("<Q4I")
cdef object SEEN_LATELY = struct.Struct("<QII")


cdef bytes packed(Instances it):
    """See `Instances.parts`."""
    cdef Instance* one
    cdef Template* t
    cdef Recent* r
    cdef Episodes* e
    cdef int i, k
    counts = [it.episodes[i].count if it.episodes != NULL else 0 for i in range(ALL + 1)]
    out = [HEAD.pack(
        it.window, it.templates_max, it.clock, it.has_costs, it.learned, it.alone_sum, it.alone_squares,
        it.episodes_seen, it.hand, *counts, it.recent_count, it.forms.count, it.names.count)]
    for i in range(ALL + 1):
        e = &it.episodes[i] if it.episodes != NULL else NULL
        out.append(little(array.array("i", [e.ring[(e.head + k) % e.room] for k in range(counts[i])])))
    for i in range(it.recent_count):
        r = &it.recent[(it.recent_head + RECENT - it.recent_count + i) % RECENT]
        out.append(SEEN_LATELY.pack(r.instance, r.cost, r.variety))
    for i in range(it.forms.count):
        t = &it.templates[i]
        out.append(FORM.pack(it.forms.keys[i], t.line_sum, t.line_squares, t.run_sum, t.run_squares))
    for i in range(it.names.count):
        one = it.block(i)
        out.append(ONE.pack(
            it.names.keys[i], one.seen, *[one.costs[k] for k in range(WINDOWS + 1)], one.kept_line_total, one.kept_run_total,
            *[one.kept[k] for k in range(KEPT)], *[one.kept_lines[k] for k in range(KEPT)],
            *[one.kept_runs[k] for k in range(KEPT)], *[one.usual_costs[k] for k in range(USUAL)],
            *[one.usual_variety[k] for k in range(USUAL)], *[one.usual_alone[k] for k in range(USUAL)],
            *[one.largest[k] for k in range(ALL + 1)], one.fill, one.open_lines, one.open_windows, one.kept_count,
            one.usual_count, one.rare, one.was_rare, one.left_out))
        out.append(little(array.array("H", [it.ring(one)[(one.head + k) % it.horizon] for k in range(one.fill)])))
    return b"".join(out)


cdef int require(bint sound) except -1:
    if not sound:
        raise ValueError("these parts are damaged; hand over what parts() gave")
    return 0


cdef int unpack(Instances it, bytes parts) except -1:
    """Fill fresh `it` with what `packed` gave; ValueError for anything else, whatever it would do."""
    cdef int i, k, names
    cdef Py_ssize_t at = HEAD.size
    require(len(parts) >= at)
    window, templates_max, it.clock, it.has_costs, *rest = HEAD.unpack_from(parts)
    it.learned, it.alone_sum, it.alone_squares, it.episodes_seen, it.hand, *counts = rest
    if window != it.window or templates_max != it.templates_max or counts[7] > it.instances_max:
        raise ValueError("these parts belong to instances of other limits; make them with the limits they had")
    names = counts[7]
    require(max(counts[:4]) <= SPREADS and counts[4] <= EPISODES and counts[5] <= RECENT)
    require(counts[6] <= it.templates_max and 0 <= it.hand <= counts[6] and it.learned <= LEARNED)
    sizes = 4 * sum(counts[:5]) + SEEN_LATELY.size * counts[5] + FORM.size * counts[6]
    require(len(parts) >= at + sizes)
    if any(counts[:5]):
        it.episodes = new_episodes()
        if it.episodes == NULL:
            raise MemoryError("no room for the instances of a stream")
    for i in range(ALL + 1):
        for value in struct.unpack_from(f"<{counts[i]}i", parts, at):
            push(&it.episodes[i], value)
        at += 4 * counts[i]
    for i in range(counts[5]):
        instance, cost, variety = SEEN_LATELY.unpack_from(parts, at)
        it.remember(instance, cost, variety)
        at += SEEN_LATELY.size
    at = unpack_forms(it, parts, at, counts[6])
    for i in range(names):
        require(len(parts) >= at + ONE.size)
        at = unpack_one(it, parts, at)
    require(len(parts) == at)
    return 0


cdef Py_ssize_t unpack_forms(Instances it, bytes parts, Py_ssize_t at, int forms) except -1:
    cdef Template* t
    cdef int i
    for i in range(forms):
        key, *sums = FORM.unpack_from(parts, at)
        require(key == 0 if i == 0 else place_of(&it.forms, key) < 0)
        if it.form(key) != i:
            raise MemoryError("no room for the instances of a stream")
        t = &it.templates[i]
        t.line_sum, t.line_squares, t.run_sum, t.run_squares = sums
        at += FORM.size
    return at


cdef Py_ssize_t unpack_one(Instances it, bytes parts, Py_ssize_t at) except -1:
    """One instance and its ring."""
    cdef Instance* one
    cdef int i, place
    fields = ONE.unpack_from(parts, at)
    at += ONE.size
    require(fields[0] != 0 and place_of(&it.names, fields[0]) < 0 and fields[1] <= it.clock)
    place = it.known(fields[0])
    if place < 0:
        raise MemoryError("no room for the instances of a stream")
    one = it.block(place)
    one.seen = fields[1]
    for i in range(WINDOWS + 1):
        one.costs[i] = fields[2 + i]
    one.kept_line_total, one.kept_run_total = fields[6:8]
    for i in range(KEPT):
        one.kept[i], one.kept_lines[i], one.kept_runs[i] = fields[8 + i], fields[32 + i], fields[56 + i]
    for i in range(USUAL):
        one.usual_costs[i], one.usual_variety[i], one.usual_alone[i] = fields[80 + i], fields[85 + i], fields[90 + i]
    for i in range(ALL + 1):
        one.largest[i] = fields[95 + i]
    fill, one.open_lines, one.open_windows, one.kept_count, one.usual_count, one.rare, one.was_rare, one.left_out = fields[100:]
    require(fill <= it.horizon and one.open_lines < it.window and one.open_windows < WINDOWS and one.kept_count <= KEPT)
    require(one.usual_count <= USUAL and one.kept_line_total < <uint32_t>(KEPT_WINDOWS * it.window))
    require(len(parts) >= at + 2 * fill)
    for entry in struct.unpack_from(f"<{fill}H", parts, at):
        require(entry >> 1 < it.forms.count)
        it.ring(one)[one.fill] = entry
        one.fill += 1
        it.count_in(entry)
    return at + 2 * fill


cdef bytes little(numbers):
    """The bytes of a column, least significant first."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


cdef void exchange(Instances one, Instances other):
    """Swap everything that two of the same limits know."""
    cdef Directory directory
    one.clock, other.clock = other.clock, one.clock
    one.has_costs, other.has_costs = other.has_costs, one.has_costs
    one.current = other.current = 0
    one.full_until = other.full_until = 0
    directory = one.names
    one.names = other.names
    other.names = directory
    directory = one.forms
    one.forms = other.forms
    other.forms = directory
    one.blocks, other.blocks = other.blocks, one.blocks
    one.block_room, other.block_room = other.block_room, one.block_room
    one.templates, other.templates = other.templates, one.templates
    one.line_counts, other.line_counts = other.line_counts, one.line_counts
    one.run_counts, other.run_counts = other.run_counts, one.run_counts
    one.touched, other.touched = other.touched, one.touched
    one.template_room, other.template_room = other.template_room, one.template_room
    one.hand, other.hand = other.hand, one.hand
    one.line_total, other.line_total = other.line_total, one.line_total
    one.run_total, other.run_total = other.run_total, one.run_total
    one.learned, other.learned = other.learned, one.learned
    one.alone_sum, other.alone_sum = other.alone_sum, one.alone_sum
    one.alone_squares, other.alone_squares = other.alone_squares, one.alone_squares
    one.episodes, other.episodes = other.episodes, one.episodes
    one.episodes_seen, other.episodes_seen = other.episodes_seen, one.episodes_seen
    one.recent = other.recent
    one.recent_count = other.recent_count
    one.recent_head = other.recent_head
