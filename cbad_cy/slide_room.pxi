"""Of slide.pyx: memory for what windows are ranked by, and for the dear parts of lines."""


cdef int reserve_ranks(Content content, Sample compressions, Sample entropies, int windows, int apart) except -1:
    """Room for so many windows, of which so many share no line."""
    if (
        content.calm_lengths.reserve(windows) != 0 or content.calm_accents.reserve(windows) != 0
        or content.restless_lengths.reserve(windows) != 0 or content.restless_accents.reserve(windows) != 0
        or content.ratios.reserve(apart) != 0 or content.dear_ratios.reserve(apart) != 0
        or compressions.reserve(apart) != 0 or entropies.reserve(apart) != 0
    ):
        raise MemoryError("no room for the past of a stream")
    return 0


cdef bint ranks_failed(Content content) noexcept nogil:
    """Whether memory was short when a window was to be remembered."""
    return (
        content.calm_lengths.values.failed or content.calm_accents.values.failed
        or content.restless_lengths.values.failed or content.restless_accents.values.failed
    )


cdef Marks* marks_of(parts) except NULL:
    """Marks with what `Slide.window_costs` tells of a line; there is some."""
    cdef Marks* marks
    cdef int k
    if len(parts) > MARKS_KEPT:
        raise ValueError(f"{len(parts)} parts of one line are more than {MARKS_KEPT}; the window is damaged")
    marks = <Marks*>malloc(marks_size(<int>len(parts)))
    if marks == NULL:
        raise MemoryError("no room for the window of a stream")
    marks.count = 0
    try:
        for k in range(len(parts)):
            marks.part[k].start, marks.part[k].stop, marks.part[k].slot, marks.part[k].bits = parts[k]
            marks.count += 1
    except BaseException:
        free(marks)
        raise
    return marks
