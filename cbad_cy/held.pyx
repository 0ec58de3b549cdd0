# cython: autotestdict=False
"""The lines that a stream holds on to, oldest first, as columns: those of the window, and behind them those to come.

Everything here is C and works without the GIL; `cbad_cy.slide` owns the lines and checks what is handed over.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from cbad_cy.model cimport MARKS_KEPT, Mark, template_of


cdef enum:
    SPARE = 8                    # one part in so many of what is held stays free for what comes
    EXCESS_BYTES_MIN = 2048      # less is not worth moving the lines for


cdef size_t bytes_of(size_t text_room, size_t slot_room, int room, int number_room) noexcept nogil:
    """Of a block with so much room."""
    return (
        (slot_room + number_room) * sizeof(uint64_t)
        + room * (sizeof(uint64_t) + sizeof(void*) + sizeof(unsigned int) + 1)
        + (2 * (<size_t>room + 1) + number_room) * sizeof(unsigned int)
        + text_room + 1
    )


cdef void lay_out(Held* h, void* block, size_t text_room, size_t slot_room, int room, int number_room) noexcept nogil:
    """Where the columns are in a block that holds `bytes_of` them, the widest first."""
    h.block = block
    h.slots = <uint64_t*>block
    h.templates = h.slots + slot_room + h.past
    h.instances = h.slots + slot_room + number_room
    h.marks = <Marks**>(h.instances + room)
    h.starts = <unsigned int*>(h.marks + room)
    h.slot_starts = h.starts + room + 1
    h.words = h.slot_starts + room + 1
    h.costs = h.words + room + h.past
    h.flags = <unsigned char*>(h.words + room + number_room)
    h.text = h.flags + room
    h.text_room = text_room
    h.slot_room = slot_room
    h.room = room
    h.number_room = number_room


cdef int moved(Held* h, size_t text_room, size_t slot_room, int room, int number_room) noexcept nogil:
    """Move what is held into a block with so much room; -> 0, or -1 when memory is short, and all is as it was."""
    cdef Held fresh = h[0]
    cdef void* block = malloc(bytes_of(text_room, slot_room, room, number_room))
    if block == NULL:
        return -1
    lay_out(&fresh, block, text_room, slot_room, room, number_room)
    fresh.starts[0] = fresh.slot_starts[0] = 0
    if h.block != NULL:
        memcpy(fresh.text, h.text, h.starts[h.count])
        memcpy(fresh.slots, h.slots, h.slot_starts[h.count] * sizeof(uint64_t))
        memcpy(fresh.templates - h.past, h.templates - h.past, (h.past + h.count) * sizeof(uint64_t))
        memcpy(fresh.costs - h.past, h.costs - h.past, (h.past + h.count) * sizeof(unsigned int))
        memcpy(fresh.instances, h.instances, h.count * sizeof(uint64_t))
        memcpy(fresh.marks, h.marks, h.count * sizeof(void*))
        memcpy(fresh.starts, h.starts, (h.count + 1) * sizeof(unsigned int))
        memcpy(fresh.slot_starts, h.slot_starts, (h.count + 1) * sizeof(unsigned int))
        memcpy(fresh.words, h.words, h.count * sizeof(unsigned int))
        memcpy(fresh.flags, h.flags, h.count)
    free(h.block)
    h[0] = fresh
    return 0


cdef int held_fit(Held* h, size_t text_room, size_t slot_room, int room) noexcept nogil:
    """Room for so many bytes, slots and lines altogether, and what is far too much given back.

    -> 0, or -1 when memory is short. Half as much again as is needed may stay, so that small batches move nothing.
    """
    cdef size_t needed = bytes_of(text_room, slot_room, room, h.past + room)
    if h.block == NULL or text_room > h.text_room or slot_room > h.slot_room or room > h.room or h.past + room > h.number_room:
        return moved(
            h, text_room + text_room // SPARE, slot_room + slot_room // SPARE, room + room // SPARE,
            h.past + room + room // SPARE)
    if bytes_of(h.text_room, h.slot_room, h.room, h.number_room) > needed + needed // 2 + EXCESS_BYTES_MIN:
        moved(h, text_room, slot_room, room, h.past + room)  # too much memory is no failure
    return 0


cdef void held_free(Held* h) noexcept nogil:
    cdef int i
    for i in range(h.count):
        free(h.marks[i])
    free(h.block)


cdef void held_drop(Held* h, int first) noexcept nogil:
    """Drop the first lines but keep their templates and costs; all that are held have been taken."""
    cdef int kept = h.count - first, i
    cdef unsigned int base = h.starts[first], slot_base = h.slot_starts[first]
    if first == 0:
        return
    for i in range(first):
        free(h.marks[i])
    memmove(h.text, h.text + base, h.starts[h.count] - base)
    memmove(h.slots, h.slots + slot_base, (h.slot_starts[h.count] - slot_base) * sizeof(uint64_t))
    memmove(h.instances, h.instances + first, kept * sizeof(uint64_t))
    memmove(h.words, h.words + first, kept * sizeof(unsigned int))
    memmove(h.flags, h.flags + first, kept)
    memmove(h.marks, h.marks + first, kept * sizeof(void*))
    for i in range(kept + 1):
        h.starts[i] = h.starts[first + i] - base
        h.slot_starts[i] = h.slot_starts[first + i] - slot_base
    h.templates += first
    h.costs += first
    h.past += first
    h.told -= first
    h.settled = max(0, h.settled - first)
    h.count = h.taken = kept


cdef size_t marks_size(int count) noexcept nogil:
    """So many bytes take marks."""
    return sizeof(Marks) - (MARKS_KEPT - count) * sizeof(Mark)


cdef void held_settle(Held* h) noexcept nogil:
    """Give back the memory that marks do not take: a line has two of them rather than `MARKS_KEPT`."""
    cdef void* smaller
    while h.settled < h.count:
        if h.marks[h.settled] != NULL:
            smaller = realloc(h.marks[h.settled], marks_size(h.marks[h.settled].count))
            if smaller != NULL:
                h.marks[h.settled] = <Marks*>smaller
        h.settled += 1


cdef void held_forget(Held* h) noexcept nogil:
    """Forget templates and costs of what was dropped."""
    h.told = h.taken
    if h.past == 0:
        return
    memmove(h.templates - h.past, h.templates, h.count * sizeof(uint64_t))
    memmove(h.costs - h.past, h.costs, h.count * sizeof(unsigned int))
    h.templates -= h.past
    h.costs -= h.past
    h.past = 0


cdef void held_add(
    Held* h, const unsigned char* line, size_t size, const uint64_t* slots, int slot_count, uint64_t instance
) noexcept nogil:
    """Put a line behind the others; there is room."""
    cdef int i = h.count
    cdef size_t at = h.starts[i], slots_at = h.slot_starts[i]
    if size:
        memcpy(h.text + at, line, size)
    h.text[at + size] = 10
    if slot_count:
        memcpy(h.slots + slots_at, slots, slot_count * sizeof(uint64_t))
    h.templates[i] = template_of(h.text + at, size)
    h.instances[i] = instance
    h.costs[i] = h.words[i] = 0
    h.flags[i] = 0
    h.marks[i] = NULL
    h.count = i + 1
    h.starts[i + 1] = <unsigned int>(at + size + 1)
    h.slot_starts[i + 1] = <unsigned int>(slots_at + slot_count)
