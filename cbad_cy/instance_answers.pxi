"""Of instances.pyx: what an instance's newest lines answer to each question, and how that is told."""


cdef int gather(Instances it, Instance* one) noexcept nogil:
    """Count what the ring holds, templates in the order in which they came; -> number of runs."""
    cdef const uint16_t* ring = it.ring(one)
    cdef int i, at = one.head, number, runs = 0
    it.touched_count = 0
    for i in range(it.horizon):
        number = ring[at] >> 1
        if it.line_counts[number] == 0:
            it.touched[it.touched_count] = number
            it.touched_count += 1
        it.line_counts[number] += 1
        it.run_counts[number] += ring[at] & 1
        runs += ring[at] & 1
        at = at + 1 if at + 1 < it.horizon else 0
    return runs


cdef double excess(double seen, double expected, double total, double squares, double learned) noexcept nogil:
    """How far a count is above what was expected, bits; `total` and `squares` tell of its counts in earlier episodes."""
    cdef double dispersion = 1.0
    if seen <= expected:
        return 0.0
    if learned > 0.0:
        dispersion = (4.0 + (squares - total * total / learned)) / (4.0 + total)
    return (seen * log2_of_ratio(seen / expected) - (seen - expected) * LOG2_E) / (dispersion if dispersion > 1.0 else 1.0)


cdef int past_of(const Instance* one, uint16_t part, uint32_t* lines, uint32_t* runs) noexcept nogil:
    """About how many lines and runs of a template the instance had before; -> whether it is kept. One that is not had between
    none and as many as the least of those that are."""
    cdef int i, least = 0
    for i in range(one.kept_count):
        if one.kept[i] == part:
            lines[0] = one.kept_lines[i]
            runs[0] = one.kept_runs[i]
            return 1
        if one.kept_lines[i] < one.kept_lines[least]:
            least = i
    lines[0] = one.kept_lines[least] >> 1 if one.kept_count == KEPT else 0
    runs[0] = one.kept_runs[least] >> 1 if one.kept_count == KEPT else 0
    return 0


cdef Mixed mixed(Instances it, Instance* one, int runs) noexcept nogil:
    """The templates that stand out most, by lines and by runs, and those that no other has."""
    cdef Mixed found
    cdef bint has_past = one.kept_line_total >= <uint32_t>(KEPT_WINDOWS_MIN * it.window), kept = False
    cdef double line_share, run_share, expected
    cdef const Template* t
    cdef uint32_t line_past = 0, run_past = 0
    cdef int i, number, most = 0
    cdef int32_t bits
    memset(&found, 0, sizeof(Mixed))
    for i in range(it.touched_count):
        number = it.touched[i]
        t = &it.templates[number]
        if has_past:
            kept = past_of(one, it.part_of(number), &line_past, &run_past)
        if not kept and t.lines == it.line_counts[number]:
            found.alone += it.line_counts[number]
            if it.line_counts[number] > most:
                most = it.line_counts[number]
                found.alone_number = number
        line_share = t.lines / <double>it.line_total
        if has_past and line_past / <double>one.kept_line_total > line_share:
            line_share = line_past / <double>one.kept_line_total
        expected = it.horizon * line_share
        bits = whole(excess(it.line_counts[number], expected, t.line_sum, t.line_squares, it.learned))
        if bits > found.line_bits:
            found.line_bits = bits
            found.line_number = number
            found.line_expected = expected
        if it.run_counts[number] == 0:
            continue
        run_share = t.runs / <double>it.run_total
        if has_past and one.kept_run_total and run_past / <double>one.kept_run_total > run_share:
            run_share = run_past / <double>one.kept_run_total
        expected = runs * run_share
        bits = whole(excess(it.run_counts[number], expected, t.run_sum, t.run_squares, it.learned))
        if bits > found.run_bits:
            found.run_bits = bits
            found.run_number = number
            found.run_expected = expected
    found.alone_expected = usual_alone(it, one)
    found.alone_bits = whole(excess(found.alone, found.alone_expected, it.alone_sum, it.alone_squares, it.learned))
    return found


cdef double usual_alone(Instances it, const Instance* one) noexcept nogil:
    """How many lines that no other has are usual, for all instances and for this one before, whichever is more."""
    cdef uint32_t few[USUAL]
    cdef double all_of_them = (it.alone_sum + 0.5) / (it.learned + 1.0), own
    cdef int i
    if one.usual_count < USUAL_MIN:
        return all_of_them
    for i in range(one.usual_count):
        few[i] = one.usual_alone[i]
    own = median_of(few, one.usual_count)
    return own if own > all_of_them else all_of_them


cdef uint32_t variety_of(Instances it) noexcept nogil:
    """Entropy of the gathered lines times their number, 1/1024 bit."""
    cdef double total = it.horizon * log2_of_ratio(it.horizon)
    cdef int i, count
    for i in range(it.touched_count):
        count = it.line_counts[it.touched[i]]
        if count > 1:
            total -= count * log2_of_ratio(count)
    return <uint32_t>whole(total if total > 0.0 else 0.0)


cdef uint32_t usual(Instances it, const Instance* one, uint64_t instance, bint of_cost) noexcept nogil:
    """Cost or variety of the newest windows of others and of this instance before, whichever is less remarkable."""
    cdef uint32_t few[RECENT]
    cdef uint32_t others
    cdef int i, count = 0
    for i in range(it.recent_count):
        if it.recent[i].instance != instance:
            few[count] = it.recent[i].cost if of_cost else it.recent[i].variety
            count += 1
    if count == 0:
        return 0 if not of_cost else <uint32_t>-1
    others = median_of(few, count)
    if one.usual_count < USUAL_MIN:
        return others
    for i in range(one.usual_count):
        few[i] = one.usual_costs[i] if of_cost else one.usual_variety[i]
    i = median_of(few, one.usual_count)
    if of_cost:
        return max(others, <uint32_t>i)
    return min(others, <uint32_t>i)


cdef void weigh(Instances it, int32_t* answers) noexcept nogil:
    """The answers in spreads of the stream, the largest of them last, and how rare that is."""
    cdef const Episodes* e
    cdef int64_t spread, spreads
    cdef int i, above
    cdef double far, farthest
    answers[ALL] = 0
    it.last.question = LINES
    for i in range(ALL):
        e = &it.episodes[i]
        if e.count == 0:
            continue
        spread = max(ONE_BIT, high_of(e) - middle_of(e))
        spreads = (answers[i] - <int64_t>middle_of(e)) * ONE_BIT // spread
        if spreads > answers[ALL]:
            answers[ALL] = <int32_t>min(spreads, 0x7FFFFFFF)
            it.last.question = i
    e = &it.episodes[ALL]
    it.last.surprise = answers[ALL] / <double>ONE_BIT
    if e.count < EPISODES_NEEDED:
        return
    above = e.count - under(e, answers[ALL])
    it.last.confidence = <double>(e.count - above) / e.count
    it.last.p_value = (1 + above) / <double>(1 + e.count)
    if above == 0:
        far = answers[ALL] - <double>middle_of(e)
        farthest = max(ONE_BIT, e.ordered[e.count - 1] - middle_of(e))
        if farthest < far:
            it.last.p_value *= farthest / far


cdef void describe(
    Instances it, const int32_t* answers, const Mixed* mix, double cost, double usual_cost, double variety, double usual_variety,
) noexcept nogil:
    cdef int number = mix.line_number, i
    cdef double larger
    if it.last.question == RUNS:
        number = mix.run_number
        it.last.observed = it.run_counts[number]
        it.last.expected = mix.run_expected
    elif it.last.question == LINES:
        it.last.observed = it.line_counts[number] if mix.line_bits else 0.0
        it.last.expected = mix.line_expected
    elif it.last.question == NOVEL and not it.has_costs:
        number = mix.alone_number
        it.last.observed = mix.alone
        it.last.expected = mix.alone_expected
    elif it.last.question == NOVEL:
        it.last.observed = cost / ONE_BIT
        it.last.expected = usual_cost / ONE_BIT
    else:
        number = it.touched[0]
        for i in range(1, it.touched_count):
            if it.line_counts[it.touched[i]] > it.line_counts[number]:
                number = it.touched[i]
        it.last.observed = it.line_counts[number]
        it.last.expected = it.horizon * (it.templates[number].lines / <double>it.line_total)
    it.last.template = it.forms.keys[number] if number else 0
    if it.last.question == FROZEN:
        it.last.distance = 1.0 - variety / usual_variety if usual_variety > variety else 0.0
    else:
        larger = max(it.last.observed, it.last.expected)
        it.last.distance = (it.last.observed - it.last.expected) / larger if larger > 0.0 else 0.0
    if it.last.distance < 0.0:
        it.last.distance = 0.0
    it.last.question = Q_NOVEL if it.last.question == NOVEL else Q_FROZEN if it.last.question == FROZEN else Q_MIX
