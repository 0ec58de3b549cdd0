"""What other kernels may use of `cbad_cy.keyset`, and the layout of its state."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Rung:
    # What is usual at one age: sets of templates with counts, and of each template how many keys have it. Counts are in
    # 1/1024 key. No padding: the bytes of a rung are its stored form.
    uint64_t set_hash[64]
    uint64_t set_items[64][2]   # which of the items below are in the set
    uint64_t odd_hash[16]       # sets that were odd lately
    uint64_t past_count         # scores ever pushed
    uint64_t usual_count        # code lengths ever pushed
    uint32_t set_count[64]
    uint32_t item_hash[128]     # 0 = free
    uint32_t item_count[128]
    int32_t odd_fast[16]        # evidence that they have become common, in 1/1024 bit
    int32_t odd_slow[16]
    uint32_t odd_seen[16]       # of them not learned yet
    uint32_t total
    uint32_t learned
    uint32_t judged             # keys, at most WARM_KEYS + 1
    uint32_t sets
    uint32_t items              # slots in use, free ones between them included
    uint32_t odds
    uint32_t alarm_share        # of the keys lately, in 2^-24
    uint32_t unused
    uint16_t past[512]          # ring of scores of keys that did not alarm
    uint16_t usual[128]         # ring of code lengths of keys that were learned
    uint16_t ordered[128]       # the same in order


cdef struct Entry:
    # One open key. `block` heads its list of template ids.
    uint64_t hash
    uint64_t first_ns
    uint64_t last_ns
    uint64_t first_event
    uint64_t last_event
    uint64_t set_hash
    uint64_t before_hash        # of the templates it had at the rung before
    uint32_t block
    uint32_t last_block
    uint32_t events
    uint16_t templates
    uint16_t before             # how many of them it had at the rung before
    uint16_t worst              # highest score so far, 1/64 bit
    uint8_t flags
    uint8_t key_size            # of the whole key, 255 = as much or more
    uint32_t unused
    unsigned char key[40]


cdef struct Block:
    uint32_t id[7]
    uint32_t next               # 0 = none


cdef struct Detail:
    uint32_t id
    uint16_t bits
    uint16_t present


cdef struct Found:
    # One judged key, copied while the GIL is released.
    Entry entry
    uint64_t age_ns
    uint64_t at_event           # number of the event at which it was judged
    uint64_t at_ns
    double p_value
    double confidence
    uint16_t score
    uint16_t code
    uint16_t usual
    uint8_t decided
    uint8_t alarmed
    uint8_t final
    uint8_t details
    Detail detail[8]


cdef class Keyset:
    cdef Rung* rungs
    cdef Entry* entries         # a ring: key number n is at n & (room - 1)
    cdef Block* blocks          # block 0 is never used
    cdef uint32_t* table        # open addressing: ring place + 1, 0 = empty
    cdef Found* found
    cdef uint32_t* gone         # upper halves of hashes of evicted keys, 8 a bucket, newest first, 0 = none
    cdef uint32_t* text_id      # 8 texts a bucket
    cdef uint32_t* text_seen
    cdef uint8_t* text_size
    cdef unsigned char* text
    cdef uint64_t head          # number of the oldest open key
    cdef uint64_t tail          # number of the next one
    cdef uint64_t crossing[16]  # of each rung: the number of the key that reaches it next
    cdef uint64_t delays[16]    # first occurrences after a key's first event, by the first rung that is not before them
    cdef uint64_t latest_ns
    cdef uint64_t born_ns
    cdef uint64_t due_ns        # when the next key reaches a rung
    cdef uint64_t events
    cdef uint64_t at_event      # number + 1 of the event at hand, 0: there is none
    cdef uint64_t evicted_ever
    cdef uint64_t cut_ever
    cdef uint64_t late_ever
    cdef uint64_t alarms_ever
    cdef uint64_t closed_ever
    cdef double threshold
    cdef uint32_t room
    cdef uint32_t gone_mask
    cdef uint32_t blocks_room
    cdef uint32_t blocks_used   # highest block ever used, free ones included
    cdef uint32_t free_block
    cdef uint32_t found_room
    cdef uint32_t found_count
    cdef int start              # the first rung that decides
    cdef int end                # the last rung at which anything comes for the first time
    cdef bint watch
    cdef readonly int keys_max
    cdef readonly size_t bytes_max

    cdef int advance(self, uint64_t now_ns) noexcept nogil
    cdef int cross(self, uint64_t number, int rung) noexcept nogil
    cdef list told(self, int outcome)
    cdef int judge(self, Entry* e, int rung, uint64_t age_ns, bint final) noexcept nogil
    cdef int report(
        self, const Entry* e, const Rung* r, const uint32_t* ids, int count, uint64_t age_ns, Found* found
    ) noexcept nogil
