"""Of the class in keyset.pyx: open keys in the order of their first events, found by hash, with lists of their templates."""


cdef int ids_of(Keyset self, const Entry* e, uint32_t* ids) noexcept nogil:
    """The templates of a key in the order in which they came first; -> how many."""
    cdef uint32_t b = e.block
    cdef int i
    for i in range(e.templates):
        if i and i % BLOCK_IDS == 0:
            b = self.blocks[b].next
        ids[i] = self.blocks[b].id[i % BLOCK_IDS]
    return e.templates


cdef size_t used(Keyset self) noexcept nogil:
    return self.room * (sizeof(Entry) + 2 * sizeof(uint32_t)) + self.blocks_room * sizeof(Block)


cdef int grow_entries(Keyset self) noexcept nogil:
    """Double the ring; -> 0, 1 when a bound forbids it, -1 when memory is short."""
    cdef uint32_t room = 2 * self.room if self.room else ENTRIES_START
    cdef Entry* larger
    cdef uint32_t* table
    cdef uint64_t n
    if used(self) + (room - self.room) * (sizeof(Entry) + 2 * sizeof(uint32_t)) > self.bytes_max:
        return 1
    larger = <Entry*>calloc(room, sizeof(Entry))
    table = <uint32_t*>calloc(2 * room, sizeof(uint32_t))
    if larger == NULL or table == NULL:
        free(larger)
        free(table)
        return -1
    for n in range(self.head, self.tail):
        larger[n & (room - 1)] = self.entries[n & (self.room - 1)]
    free(self.entries)
    free(self.table)
    self.entries = larger
    self.table = table
    self.room = room
    for n in range(self.head, self.tail):
        enter(self, n)
    return 0


cdef uint32_t new_block(Keyset self) noexcept nogil:
    """A block for more templates; 0 when a bound forbids it or memory is short."""
    cdef uint32_t b = self.free_block, room
    cdef Block* larger
    if b:
        self.free_block = self.blocks[b].next
    else:
        if self.blocks_used + 1 >= self.blocks_room:
            room = 2 * self.blocks_room if self.blocks_room else ENTRIES_START
            if used(self) + (room - self.blocks_room) * sizeof(Block) > self.bytes_max:
                return 0
            larger = <Block*>realloc(self.blocks, room * sizeof(Block))
            if larger == NULL:
                return 0
            self.blocks = larger
            self.blocks_room = room
        self.blocks_used += 1
        b = self.blocks_used
    memset(&self.blocks[b], 0, sizeof(Block))
    return b


cdef int place_of(Keyset self, uint64_t hash) noexcept nogil:
    """Where in the ring a key is; -1: nowhere."""
    cdef uint32_t mask = 2 * self.room - 1, i = <uint32_t>(hash >> 20) & mask
    while self.table[i]:
        if self.entries[self.table[i] - 1].hash == hash:
            return <int>(self.table[i] - 1)
        i = (i + 1) & mask
    return -1


cdef void enter(Keyset self, uint64_t number) noexcept nogil:
    cdef uint32_t mask = 2 * self.room - 1, place = <uint32_t>(number & (self.room - 1))
    cdef uint32_t i = <uint32_t>(self.entries[place].hash >> 20) & mask
    while self.table[i]:
        i = (i + 1) & mask
    self.table[i] = place + 1


cdef void leave(Keyset self, uint64_t number) noexcept nogil:
    """Take a key out of the table; those that stand behind it because of it move up."""
    cdef uint32_t mask = 2 * self.room - 1, place = <uint32_t>(number & (self.room - 1)), k, home
    cdef uint32_t i = <uint32_t>(self.entries[place].hash >> 20) & mask
    while self.table[i] != place + 1:
        i = (i + 1) & mask
    k = i
    while True:
        k = (k + 1) & mask
        if self.table[k] == 0:
            break
        home = <uint32_t>(self.entries[self.table[k] - 1].hash >> 20) & mask
        if ((k - home) & mask) >= ((k - i) & mask):
            self.table[i] = self.table[k]
            i = k
    self.table[i] = 0


cdef void bury(Keyset self, uint64_t hash) noexcept nogil:
    """Remember that a key was evicted: what comes of it later is a rest, and no interaction of its own."""
    cdef uint32_t* bucket = &self.gone[((hash >> 1) & self.gone_mask) * GONE_WAYS]
    memmove(&bucket[1], &bucket[0], (GONE_WAYS - 1) * sizeof(uint32_t))
    bucket[0] = <uint32_t>(hash >> 32) if hash >> 32 else 1


cdef bint is_gone(Keyset self, uint64_t hash) noexcept nogil:
    cdef const uint32_t* bucket = &self.gone[((hash >> 1) & self.gone_mask) * GONE_WAYS]
    cdef uint32_t mark = <uint32_t>(hash >> 32) if hash >> 32 else 1
    cdef int i
    for i in range(GONE_WAYS):
        if bucket[i] == mark:
            return True
    return False


cdef int open_key(Keyset self, uint64_t hash, const unsigned char* key, size_t key_size, uint64_t event) noexcept nogil:
    """Open a key, closing the oldest for want of room; -> its place, -1 when memory is short."""
    cdef Entry* e
    cdef int outcome
    if self.tail - self.head >= <uint64_t>self.keys_max:
        if close_oldest(self, True, True) != 0:
            return -1
    elif self.tail - self.head == self.room:
        outcome = grow_entries(self)
        if outcome < 0 or (outcome > 0 and close_oldest(self, True, True) != 0):
            return -1
    e = &self.entries[self.tail & (self.room - 1)]
    memset(e, 0, sizeof(Entry))
    e.hash = hash
    e.first_ns = e.last_ns = self.latest_ns
    e.first_event = e.last_event = event
    e.key_size = <uint8_t>(key_size if key_size < 255 else 255)
    memcpy(e.key, key, key_size if key_size < KEY_KEPT else KEY_KEPT)
    enter(self, self.tail)
    self.tail += 1
    if self.born_ns == 0:
        self.born_ns = self.latest_ns
    if self.latest_ns + age_of(0) < self.due_ns:
        self.due_ns = self.latest_ns + age_of(0)
    return <int>((self.tail - 1) & (self.room - 1))


cdef int close_oldest(Keyset self, bint judged, bint evicted) noexcept nogil:
    """Close the oldest key; `judged`: by the last rung that it reached, `evicted`: for want of room.

    -> 0, or -1 when memory is short.
    """
    cdef Entry* e = &self.entries[self.head & (self.room - 1)]
    cdef int i, rung = -1
    if evicted:
        self.evicted_ever += 1
        bury(self, e.hash)
    else:
        self.closed_ever += 1
    if judged:
        for i in range(RUNGS):
            if self.crossing[i] > self.head and i <= self.end + 1:
                rung = i
        if rung >= self.start and self.judge(e, rung, age_of(rung), True) != 0:
            return -1
    leave(self, self.head)
    if e.block:
        self.blocks[e.last_block].next = self.free_block
        self.free_block = e.block
    self.head += 1
    for i in range(RUNGS):
        if self.crossing[i] < self.head:
            self.crossing[i] = self.head
    return 0


cdef int close_settled(Keyset self) noexcept nogil:
    """Close keys so old that nothing ever came so late, once the stream was watched for long enough to say so."""
    cdef uint64_t age
    if self.end < 0 or self.end + SETTLED_RUNGS >= RUNGS:
        return 0
    age = age_of(self.end + SETTLED_RUNGS)
    if self.latest_ns - self.born_ns < 4 * age:
        return 0
    while self.head < self.tail and self.latest_ns - self.entries[self.head & (self.room - 1)].first_ns > age:
        if close_oldest(self, False, False) != 0:
            return -1
    return 0


cdef void measure(Keyset self) noexcept nogil:
    """Which rungs matter, from how long after a key's first event templates come for the first time."""
    cdef uint64_t total = 0, sum = 0
    cdef int i
    for i in range(RUNGS):
        total += self.delays[i]
    if total > DELAYS:
        total = 0
        for i in range(RUNGS):
            self.delays[i] >>= 1
            total += self.delays[i]
    self.start = 0
    self.end = -1
    for i in range(RUNGS):
        if 2 * sum < total:
            self.start = i
        sum += self.delays[i]
        if self.delays[i]:
            self.end = i


cdef int add(Keyset self, Entry* e, uint32_t template) noexcept nogil:
    """Give a key a template that it may not have yet; -> 0, or -1 when memory is short."""
    cdef uint32_t b = e.block
    cdef uint64_t delay
    cdef int i
    for i in range(e.templates):
        if i and i % BLOCK_IDS == 0:
            b = self.blocks[b].next
        if self.blocks[b].id[i % BLOCK_IDS] == template:
            return 0
    if e.templates == TEMPLATES:
        self.cut_ever += 1
        return 0
    if e.templates % BLOCK_IDS == 0:
        b = new_block(self)
        while b == 0:
            if &self.entries[self.head & (self.room - 1)] == e:  # alone, and nothing is left to close
                self.cut_ever += 1
                return 0
            if close_oldest(self, True, True) != 0:
                return -1
            b = new_block(self)
        if e.templates:
            self.blocks[e.last_block].next = b
        else:
            e.block = b
        e.last_block = b
    self.blocks[e.last_block].id[e.templates % BLOCK_IDS] = template
    e.templates += 1
    e.set_hash += stirred(template)
    if self.latest_ns > e.first_ns:
        delay = self.latest_ns - e.first_ns
        i = 0
        while i < RUNGS - 1 and age_of(i) < delay:
            i += 1
        self.delays[i] += 1
        measure(self)
    return 0


cdef void remember(Keyset self, uint32_t template, const unsigned char* line, size_t size) noexcept nogil:
    """Keep the text of a template; of eight that share a bucket the one that was not seen for longest makes room."""
    cdef int at = <int>((template >> 1) % (TEXTS // TEXT_WAYS)) * TEXT_WAYS, i, place = at
    for i in range(at, at + TEXT_WAYS):
        if self.text_id[i] == template:
            self.text_seen[i] = <uint32_t>self.events
            return
        if self.text_id[i] == 0:
            place = i
            break
        if self.text_seen[i] < self.text_seen[place]:
            place = i
    self.text_id[place] = template
    self.text_seen[place] = <uint32_t>self.events
    self.text_size[place] = <uint8_t>(size if size < TEXT_KEPT else TEXT_KEPT)
    memcpy(&self.text[place * TEXT_KEPT], line, self.text_size[place])


cdef int take(
    Keyset self, const unsigned char* key, size_t key_size, const unsigned char* line, size_t line_size, uint64_t event
) noexcept nogil:
    """Give an event to its key; -> 0, or -1 when memory is short."""
    cdef uint64_t hash = hash_of(key, key_size) | 1
    cdef uint32_t template = <uint32_t>(hash_of(line, line_size) >> 32) | 1
    cdef int place = place_of(self, hash)
    cdef Entry* e
    if place < 0:
        if self.evicted_ever and is_gone(self, hash):
            self.late_ever += 1
            return 0
        place = open_key(self, hash, key, key_size, event)
        if place < 0:
            return -1
    e = &self.entries[place]
    self.events += 1
    e.events += 1
    e.last_ns = self.latest_ns
    e.last_event = event
    remember(self, template, line, line_size)
    return add(self, e, template)


cdef int grow_found(Keyset self) noexcept nogil:
    cdef uint32_t room = 2 * self.found_room if self.found_room else 16
    cdef Found* larger = <Found*>realloc(self.found, room * sizeof(Found))
    if larger == NULL:
        return -1
    self.found = larger
    self.found_room = room
    return 0


cdef bytes text_of(Keyset self, uint32_t template):
    """The text of a template, as far as it is kept; nothing when it has made room."""
    cdef int at = <int>((template >> 1) % (TEXTS // TEXT_WAYS)) * TEXT_WAYS, i
    for i in range(at, at + TEXT_WAYS):
        if self.text_id[i] == template:
            return PyBytes_FromStringAndSize(<char*>&self.text[i * TEXT_KEPT], self.text_size[i])
    return b""
