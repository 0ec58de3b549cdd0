"""The lines of a stream as columns, for kernels that look at them without the GIL."""

from libc.stdint cimport uint64_t

from cbad_cy.model cimport MARKS_KEPT, Mark

cdef enum:
    LINES_KEPT_MIN = 256
    FLAGGED = 1
    NOVEL = 2


cdef struct Marks:
    # The dearest parts of one line, as the coder saw them when it came.
    int count
    Mark part[MARKS_KEPT]


cdef struct Held:
    unsigned char* text          # lines, each followed by a newline
    unsigned int* starts         # one more than lines
    unsigned int* slot_starts    # one more than lines
    uint64_t* slots
    uint64_t* templates
    uint64_t* instances          # 0 = none
    unsigned int* costs          # code length when the line came, 1/1024 bit; LZ: only while somebody watches
    unsigned int* words          # of which for the template and its tokens
    unsigned char* flags         # FLAGGED: it was in a flagged window; NOVEL: its template was new when it came
    Marks** marks                # NULL: nothing dear in it
    size_t text_room
    size_t slot_room
    int room
    int count
    int taken                    # of which so many have been taken
    int told                     # of which so many have been told to whoever watches


# make room, and give back what is far too much; 0, or -1 when memory is short
cdef int held_reserve(Held* h, size_t text_room, size_t slot_room, int room) noexcept nogil
cdef void held_free(Held* h) noexcept nogil
# forget the first lines; all that are held have been taken
cdef void held_drop(Held* h, int first) noexcept nogil
# put a line behind the others; there is room
cdef void held_add(
    Held* h, const unsigned char* line, size_t size, const uint64_t* slots, int slot_count, uint64_t instance
) noexcept nogil
