"""Of the class in keyset.pyx: its state as bytes, and back."""

cdef bytes stored(Keyset self):
    """Everything it knows as bytes that `restore` takes: numbers, rungs in use, open keys with their templates, texts."""
    cdef uint32_t ids[TEMPLATES]
    cdef uint64_t n
    cdef int i, k
    cdef Entry e
    head = array.array("Q", [
        PARTS_VERSION, self.latest_ns, self.born_ns, self.events, self.evicted_ever, self.cut_ever, self.alarms_ever,
        self.closed_ever, self.late_ever, self.gone_mask + 1, self.tail - self.head])
    rungs = 0
    pieces = []
    for i in range(RUNGS):
        head.append(self.delays[i])
        head.append(self.crossing[i] - self.head)
        if self.rungs[i].judged or self.rungs[i].learned:
            rungs |= 1 << i
            pieces.append(PyBytes_FromStringAndSize(<char*>&self.rungs[i], sizeof(Rung)))
    head.append(rungs)
    for n in range(self.head, self.tail):
        e = self.entries[n & (self.room - 1)]
        k = ids_of(self, &e, ids)
        e.block = e.last_block = 0
        pieces.append(PyBytes_FromStringAndSize(<char*>&e, sizeof(Entry)))
        pieces.append(PyBytes_FromStringAndSize(<char*>ids, k * sizeof(uint32_t)))
    gone = array.array("I")
    for k in range(<int>((self.gone_mask + 1) * GONE_WAYS)):
        if self.gone[k]:
            gone.append(k)
            gone.append(self.gone[k])
    pieces.append(array.array("Q", [len(gone) // 2]).tobytes())
    pieces.append(gone.tobytes())
    for i in range(TEXTS):
        if self.text_id[i]:
            told = array.array("I", [i, self.text_id[i], self.text_seen[i], self.text_size[i]])
            pieces.append(told.tobytes())
            pieces.append(PyBytes_FromStringAndSize(<char*>&self.text[i * TEXT_KEPT], self.text_size[i]))
    return head.tobytes() + b"".join(pieces)


cdef int put_all_back(Keyset self, const unsigned char[::1] parts) except -1:
    """See `Keyset.restore`."""
    cdef Py_ssize_t at = 8 * (12 + 2 * RUNGS), size = parts.shape[0]
    cdef uint64_t open_keys, number, buckets, before_ns = 0
    cdef Entry e
    cdef uint32_t ids[TEMPLATES]
    cdef uint32_t told[4]
    cdef uint64_t due[RUNGS]
    cdef int i, k
    if self.latest_ns or self.events or self.tail:
        raise ValueError("this set is in use; restore into a new one")
    if size < at:
        raise ValueError(f"{size} bytes are no interactions; hand over what parts() gave")
    head = array.array("Q", bytes(parts[:at]))
    if head[0] != PARTS_VERSION:
        raise ValueError("these interactions were stored by another version; begin anew")
    self.latest_ns, self.born_ns, self.events, self.evicted_ever = head[1], head[2], head[3], head[4]
    self.cut_ever, self.alarms_ever, self.closed_ever, self.late_ever, buckets, open_keys = head[5:11]
    for i in range(RUNGS):
        self.delays[i], due[i] = head[11 + 2 * i], head[12 + 2 * i]
        if due[i] > open_keys or (i and due[i] > due[i - 1]) or self.delays[i] > DELAYS:
            raise ValueError("these interactions are damaged: their rungs do not fit together")
    if self.latest_ns > LATEST_NS or self.born_ns > self.latest_ns or head[11 + 2 * RUNGS] >> RUNGS:
        raise ValueError("these interactions are damaged: their numbers do not fit together")
    for i in range(RUNGS):
        if head[11 + 2 * RUNGS] >> i & 1:
            if size - at < <Py_ssize_t>sizeof(Rung):
                raise ValueError("these interactions are damaged: they end early")
            memcpy(&self.rungs[i], &parts[at], sizeof(Rung))
            at += sizeof(Rung)
            if not mended(&self.rungs[i]):
                raise ValueError("these interactions are damaged: a rung does not fit together")
    for number in range(open_keys):
        if size - at < <Py_ssize_t>sizeof(Entry):
            raise ValueError("these interactions are damaged: they end early")
        memcpy(&e, &parts[at], sizeof(Entry))
        at += sizeof(Entry)
        if (
            e.templates > TEMPLATES or e.before > e.templates or e.first_ns < before_ns or e.last_ns > self.latest_ns
            or e.first_ns > e.last_ns or e.block or e.last_block or not e.hash or place_of(self, e.hash) >= 0
            or size - at < <Py_ssize_t>(e.templates * sizeof(uint32_t))
        ):
            raise ValueError("these interactions are damaged: a key does not fit in")
        before_ns = e.first_ns
        for i in range(e.templates):
            memcpy(&ids[i], &parts[at + 4 * i], sizeof(uint32_t))
        at += 4 * e.templates
        put_back(self, &e, ids)
    for i in range(RUNGS):
        number = open_keys - due[i]  # how many are still to reach it
        self.crossing[i] = self.tail - number if number < self.tail - self.head else self.head
    if size - at < 8:
        raise ValueError("these interactions are damaged: they end early")
    memcpy(&number, &parts[at], 8)
    at += 8
    if number > <uint64_t>(size - at) // 8:
        raise ValueError("these interactions are damaged: they end early")
    for before_ns in range(number):
        memcpy(told, &parts[at], 8)
        at += 8
        if told[0] >= buckets * GONE_WAYS:
            raise ValueError("these interactions are damaged: an evicted key does not fit in")
        if buckets == self.gone_mask + 1:  # of another size it would be found in other places
            self.gone[told[0]] = told[1]
    while at < size:
        if size - at < 16:
            raise ValueError("these interactions are damaged: they end early")
        memcpy(told, &parts[at], 16)
        at += 16
        if told[0] >= TEXTS or told[3] > TEXT_KEPT or size - at < <Py_ssize_t>told[3] or not told[1]:
            raise ValueError("these interactions are damaged: a text does not fit in")
        i = <int>told[0]
        self.text_id[i], self.text_seen[i], self.text_size[i] = told[1], told[2], <uint8_t>told[3]
        if told[3]:
            memcpy(&self.text[i * TEXT_KEPT], &parts[at], told[3])
        at += told[3]
    self.due_ns = 0 if self.tail > self.head else NEVER
    self.born_ns = head[2]
    measure(self)
    return 0


cdef int put_back(Keyset self, const Entry* stored, const uint32_t* ids) except -1:
    """Append a stored key."""
    cdef int place = open_key(self, stored.hash, stored.key, 0, stored.first_event), i
    cdef uint32_t b
    cdef Entry* e
    if place < 0:
        raise MemoryError("no room for open keys")
    e = &self.entries[place]
    e[0] = stored[0]
    for i in range(stored.templates):
        if i % BLOCK_IDS == 0:
            b = new_block(self)
            while b == 0:
                if &self.entries[self.head & (self.room - 1)] == e:
                    raise MemoryError("no room for the templates of one key; raise bytes_max")
                close_oldest(self, True, True)
                b = new_block(self)
            if i:
                self.blocks[e.last_block].next = b
            else:
                e.block = b
            e.last_block = b
        self.blocks[e.last_block].id[i % BLOCK_IDS] = ids[i]
    return 0
