"""What the window kernel uses of `cbad_cy.instances` without the GIL."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Directory:
    # Places of 64-bit keys: `keys[place]`, and an open-addressed index of place + 1 (0 = empty), at most half full.
    uint64_t* keys
    uint16_t* cells
    uint32_t mask
    int room     # keys allocated
    int count


cdef struct Episodes:
    # The last numbers, at most `room`, as they came and in order.
    int32_t* ring
    int32_t* ordered
    int room
    int head
    int count


cdef struct Deviation:
    # How an instance's newest lines stand out. Lower p = rarer; `surprise` is unbounded, higher = stranger.
    double p_value
    double confidence
    double surprise
    double distance     # 0: as usual, 1: nothing as usual
    double observed     # lines of `template`; NOVEL: bits of all lines, or without costs lines that no other has
    double expected
    uint64_t template   # responsible, 0: none
    uint64_t instance
    int question        # 0 NOVEL, 1 MIX, 2 FROZEN


cdef struct Template:
    uint32_t lines      # in the newest lines of all instances
    uint32_t runs       # of neighbouring equal lines of one instance
    uint32_t line_sum   # over episodes that were learned
    uint32_t line_squares
    uint32_t run_sum
    uint32_t run_squares


cdef struct Instance:
    uint64_t seen                # the clock when its last line came
    uint32_t costs[4]            # of the last three windows and the open one
    uint32_t kept_line_total
    uint32_t kept_run_total
    uint32_t usual_costs[5]      # of its last episodes
    uint32_t usual_variety[5]
    int32_t largest[5]           # of the open episode: one for each answer, and the whole
    uint16_t kept[24]            # templates of older lines, by a part of their hash
    uint16_t kept_lines[24]
    uint16_t kept_runs[24]
    uint16_t usual_alone[5]
    uint16_t fill
    uint16_t head
    uint16_t open_lines
    uint8_t open_windows         # of the open episode
    uint8_t kept_count
    uint8_t usual_count
    uint8_t rare                 # has the open episode had a rare window?
    uint8_t was_rare             # had the one before?
    uint8_t left_out             # episodes in a row that others are not compared with


cdef struct Mixed:
    # The templates that stand out most, by lines and by runs: number, 1/1024 bit, and how many were expected.
    int alone_number
    int line_number
    int run_number
    uint32_t alone      # lines of templates that no other has and that it did not have before
    int32_t alone_bits
    int32_t line_bits
    int32_t run_bits
    double alone_expected
    double line_expected
    double run_expected


cdef struct Recent:
    uint64_t instance
    uint32_t cost
    uint32_t variety


cdef class Instances:
    cdef readonly int window
    cdef readonly int instances_max
    cdef readonly int templates_max
    cdef Deviation last
    cdef uint64_t clock              # lines taken
    cdef bint has_costs              # has a line ever cost anything?
    cdef int horizon                 # lines of an instance that are looked at
    cdef size_t stride
    cdef Directory names             # of instances
    cdef char* blocks                # an Instance and its ring for each
    cdef int block_room
    cdef uint64_t full_until         # until this clock nobody makes room
    cdef int current                 # who had the line before
    cdef Directory forms             # templates; number 0 is all that found no room
    cdef Template* templates
    cdef uint16_t* line_counts       # scratch, one for each template: of the window at hand
    cdef uint16_t* run_counts
    cdef uint16_t* touched
    cdef int template_room
    cdef int touched_count
    cdef int hand                    # where the search for an unused template goes on
    cdef uint32_t line_total         # over all templates
    cdef uint32_t run_total
    cdef uint32_t learned            # episodes in the sums of templates
    cdef uint32_t alone_sum
    cdef uint32_t alone_squares
    cdef Episodes* episodes          # one for each answer, and the whole; NULL until the first
    cdef uint32_t episodes_seen
    cdef Recent recent[15]
    cdef int recent_count
    cdef int recent_head

    # 0; 1 when this instance's window is complete and `last` says how it stands out; -1 when memory is short.
    # Lines of no instance (0) are not taken, nor those of one for which there is no room. `cost` in 1/1024 bit.
    cdef int take(self, uint64_t instance, uint64_t template, unsigned int cost) noexcept nogil

    cdef void drop(self) noexcept
    cdef Instance* block(self, int place) noexcept nogil
    cdef uint16_t* ring(self, Instance* one) noexcept nogil
    cdef int known(self, uint64_t instance) noexcept nogil
    cdef void leave(self, int place) noexcept nogil
    cdef void sweep(self) noexcept nogil
    cdef int form(self, uint64_t template) noexcept nogil
    cdef int more_templates(self) noexcept nogil
    cdef void count_in(self, int entry) noexcept nogil
    cdef int out(self, Instance* one) noexcept nogil
    cdef void older(self, Instance* one) noexcept nogil
    cdef uint16_t part_of(self, int number) noexcept nogil
    cdef void halve(self, Instance* one) noexcept nogil
    cdef int judge(self, Instance* one, uint64_t instance) noexcept nogil
    cdef void clear_counts(self) noexcept nogil
    cdef void remember(self, uint64_t instance, uint32_t cost, uint32_t variety) noexcept nogil
    cdef void end_episode(self, Instance* one, uint32_t cost, uint32_t variety, uint32_t alone) noexcept nogil
    cdef void learn(self, uint32_t alone) noexcept nogil
    cdef object verdict(self, Py_ssize_t line)
