"""The lines of a stream as columns, for kernels that look at them without the GIL."""

from libc.stdint cimport uint64_t

from cbad_cy.model cimport MARKS_KEPT, Mark

cdef enum:
    FLAGGED = 1
    NOVEL = 2


cdef struct Marks:
    # The dearest parts of one line, as the coder saw them when it came.
    int count
    Mark part[MARKS_KEPT]


cdef struct Held:
    void* block                  # the memory of all columns, in one piece
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
    int number_room              # of templates and costs
    int past                     # dropped lines whose templates and costs are kept, in front of the others: at -past..-1
    int count
    int taken                    # of which so many have been taken
    int settled                  # of which so many have marks in no more memory than they take
    int told                     # of which so many have been told to whoever watches; below 0: of the past


# room for so many bytes, slots and lines altogether, and what is far too much given back; 0, or -1 when memory is short
cdef int held_fit(Held* h, size_t text_room, size_t slot_room, int room) noexcept nogil
cdef void held_free(Held* h) noexcept nogil
# drop the first lines but keep their templates and costs; all that are held have been taken
cdef void held_drop(Held* h, int first) noexcept nogil
# so many bytes take marks
cdef size_t marks_size(int count) noexcept nogil
# the memory that marks do not take, given back
cdef void held_settle(Held* h) noexcept nogil
# forget templates and costs of what was dropped
cdef void held_forget(Held* h) noexcept nogil
# put a line behind the others; there is room
cdef void held_add(
    Held* h, const unsigned char* line, size_t size, const uint64_t* slots, int slot_count, uint64_t instance
) noexcept nogil
