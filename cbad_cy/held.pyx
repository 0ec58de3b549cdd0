# cython: autotestdict=False
"""The lines that a stream holds on to, oldest first, as columns: those of the window, and behind them those to come.

Everything here is C and works without the GIL; `cbad_cy.slide` owns the lines and checks what is handed over.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from cbad_cy.model cimport template_of


cdef int resized(void** column, size_t bytes) noexcept nogil:
    cdef void* larger = realloc(column[0], bytes)
    if larger == NULL:
        return -1
    column[0] = larger
    return 0


cdef int held_reserve(Held* h, size_t text_room, size_t slot_room, int room) noexcept nogil:
    """Make room, and give back what is far too much; -> 0, or -1 when memory is short."""
    if text_room > h.text_room or text_room < h.text_room // 4:
        if resized(<void**>&h.text, text_room + 1) != 0:
            return -1
        h.text_room = text_room
    if h.slots == NULL or slot_room > h.slot_room or slot_room < h.slot_room // 4:
        if resized(<void**>&h.slots, (slot_room + 1) * sizeof(uint64_t)) != 0:
            return -1
        h.slot_room = slot_room
    if room > h.room or room < h.room // 4:
        if (
            resized(<void**>&h.starts, (room + 1) * sizeof(unsigned int)) != 0
            or resized(<void**>&h.slot_starts, (room + 1) * sizeof(unsigned int)) != 0
            or resized(<void**>&h.templates, (room + 1) * sizeof(uint64_t)) != 0
            or resized(<void**>&h.instances, (room + 1) * sizeof(uint64_t)) != 0
            or resized(<void**>&h.costs, (room + 1) * sizeof(unsigned int)) != 0
            or resized(<void**>&h.words, (room + 1) * sizeof(unsigned int)) != 0
            or resized(<void**>&h.flags, room + 1) != 0
            or resized(<void**>&h.marks, (room + 1) * sizeof(void*)) != 0
        ):
            return -1
        h.room = room
    return 0


cdef void held_free(Held* h) noexcept nogil:
    cdef int i
    if h.marks != NULL:
        for i in range(h.count):
            free(h.marks[i])
    free(h.text)
    free(h.starts)
    free(h.slot_starts)
    free(h.slots)
    free(h.templates)
    free(h.instances)
    free(h.costs)
    free(h.words)
    free(h.flags)
    free(h.marks)


cdef void held_drop(Held* h, int first) noexcept nogil:
    """Forget the first lines; all that are held have been taken."""
    cdef int kept = h.count - first, i
    cdef unsigned int base = h.starts[first], slot_base = h.slot_starts[first]
    if first == 0:
        return
    for i in range(first):
        free(h.marks[i])
    memmove(h.text, h.text + base, h.starts[h.count] - base)
    memmove(h.slots, h.slots + slot_base, (h.slot_starts[h.count] - slot_base) * sizeof(uint64_t))
    memmove(h.templates, h.templates + first, kept * sizeof(uint64_t))
    memmove(h.instances, h.instances + first, kept * sizeof(uint64_t))
    memmove(h.costs, h.costs + first, kept * sizeof(unsigned int))
    memmove(h.words, h.words + first, kept * sizeof(unsigned int))
    memmove(h.flags, h.flags + first, kept)
    memmove(h.marks, h.marks + first, kept * sizeof(void*))
    for i in range(kept + 1):
        h.starts[i] = h.starts[first + i] - base
        h.slot_starts[i] = h.slot_starts[first + i] - slot_base
    h.count = h.taken = h.told = kept


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
