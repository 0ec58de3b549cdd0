# cython: autotestdict=False
"""Code lengths by general-purpose compressors, and byte entropy: how many bytes a text costs, alone and given a past.

A codec is one row of `CODECS`: its facts, and the C functions behind it. `Codec` holds the reused contexts of one worker
thread; `Prepared` holds a past in the form that the compressor wants, once, for all threads. Sizes depend on the library
version, so whoever stores a size stores `Codec.name`, `.level` and `.version` with it.

What is counted, and how far back a text can refer:

- `statistical`: the bits of masked lines under `cbad_cy.codelength`, learned from line to line, in whole bytes and one more, so
  an empty text has size 1. The whole past counts, as far as 96 KiB of counts hold it. Sizes are the same on every machine.
- `zstd`: frames without magic number, checksum, content size and dictionary id (zstd compression format, RFC 8878, "Frame
  Header"). What remains is constant overhead: 2 bytes of frame header and 3 bytes for each block of at most 128 KiB, so an
  empty text has size 5. The whole past counts.
- `lz4`: one block, without the frame around it (LZ4 block format), so an empty text has size 1. The newest 64 KiB of a past
  count; a past of fewer than 8 bytes counts as none.
- `gzip`: the deflate stream (RFC 1951) at zlib's default memory level, without gzip's 18 bytes of header and checksum, so an
  empty text has size 2. The newest 32 KiB of a past count (zlib itself stays 262 bytes away from the far end).
"""

from types import MappingProxyType
from typing import Final, NamedTuple

cimport cython
from cpython cimport array
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc

import array

include "codec_gzip.pxi"
include "codec_lz4.pxi"
include "codec_statistical.pxi"
include "codec_zstd.pxi"
include "entropy.pxi"

WINDOW_BYTES_MAX: Final = 16 << 20
"""Largest text whose size is asked for, bytes."""

DICTIONARY_BYTES_MAX: Final = 16 << 20
"""Largest dictionary that is prepared, bytes."""


class CodecRow(NamedTuple):
    """Facts of one codec: level used unless another is asked for, allowed levels, look-back (None: no limit), version."""

    level: int
    level_min: int
    level_max: int
    look_back_bytes_max: int | None
    version: str


CODECS: Final = MappingProxyType({
    "statistical": CodecRow(level=1, level_min=1, level_max=1, look_back_bytes_max=None, version="1"),
    # A dictionary prepared at level 1 takes 113 KB of memory, at level 3 474 KB; what they find is the same.
    "zstd": CodecRow(level=1, level_min=1, level_max=19, look_back_bytes_max=None, version=ZSTD_versionString().decode()),
    # One level: liblz4's slower compressor (lz4hc) takes 256 KB for each past; who wants smaller sizes takes zstd or gzip.
    "lz4": CodecRow(
        level=1, level_min=1, level_max=1, look_back_bytes_max=LZ4_LOOK_BACK_BYTES, version=LZ4_versionString().decode()),
    # Level 9 tells alien lines from usual ones as well as 6 does (AUC within .003 on six log systems), in 1.5 times the time.
    "gzip": CodecRow(
        level=6, level_min=1, level_max=9, look_back_bytes_max=GZIP_LOOK_BACK_BYTES, version=zlibVersion().decode()),
})
"""Codec name -> its row."""


cdef Kernel kernel_of(str name) except *:
    cdef Kernel k
    if name == "zstd":
        k.open_context = zstd_open
        k.close_context = zstd_close
        k.prepare = zstd_prepare
        k.release = zstd_release
        k.attach = zstd_attach
        k.bound = zstd_bound
        k.compress = zstd_compress
        return k
    if name == "lz4":
        k.open_context = lz4_open
        k.close_context = lz4_close
        k.prepare = lz4_prepare
        k.release = lz4_release
        k.attach = lz4_attach
        k.bound = lz4_bound
        k.compress = lz4_compress
        return k
    if name == "gzip":
        k.open_context = gzip_open
        k.close_context = gzip_close
        k.prepare = gzip_prepare
        k.release = gzip_release
        k.attach = gzip_attach
        k.bound = gzip_bound
        k.compress = gzip_compress
        return k
    if name == "statistical":
        k.open_context = statistical_open
        k.close_context = statistical_close
        k.prepare = statistical_prepare
        k.release = statistical_release
        k.attach = statistical_attach
        k.bound = statistical_bound
        k.compress = statistical_compress
        return k
    raise ValueError(f"there is no codec {name!r}; choose one of {', '.join(CODECS)}")


# ---- batches -------------------------------------------------------------------------------------------------------

cdef int sizes_of(
    const Kernel* k, void* context, const unsigned char* text, const unsigned int* starts, const unsigned int* stops,
    Py_ssize_t slices, unsigned char* target, size_t room, unsigned int* sizes
) noexcept nogil:
    """Sizes of text[start:stop] under the context; -> 0, or -1 when the library refuses."""
    cdef Py_ssize_t i
    cdef size_t size
    for i in range(slices):
        size = k.compress(context, target, room, text + starts[i], stops[i] - starts[i])
        if size == FAILED:
            return -1
        sizes[i] = <unsigned int>size
    return 0


cdef Py_ssize_t longest_slice(
    Py_ssize_t text_bytes, const unsigned int[::1] starts, const unsigned int[::1] stops
) except -1:
    """Bytes of the longest slice; raises ValueError unless all slices lie in the text and respect the limit."""
    cdef Py_ssize_t i, longest = 0
    if starts.shape[0] != stops.shape[0]:
        raise ValueError(f"{starts.shape[0]} starts but {stops.shape[0]} stops; give one of each for every slice")
    for i in range(starts.shape[0]):
        if not starts[i] <= stops[i] <= text_bytes:
            raise ValueError(f"slice {i} is [{starts[i]}, {stops[i]}) of a text of {text_bytes} bytes; keep it inside")
        longest = max(longest, <Py_ssize_t>(stops[i] - starts[i]))
    check_window(longest)
    return longest


cdef int check_window(Py_ssize_t size) except -1:
    if size > WINDOW_BYTES_MAX:
        raise ValueError(f"window of {size} bytes is over WINDOW_BYTES_MAX = {WINDOW_BYTES_MAX}; split it or shorten its lines")
    return 0


cdef inline const unsigned char* address(const unsigned char[::1] data) noexcept:
    # compressors are given an address even for nothing: arithmetic on NULL is undefined
    return &data[0] if data.shape[0] else <const unsigned char*>b""


@cython.final
cdef class Prepared:
    """A past, prepared for one codec and level; immutable, usable from any thread. Made by `Codec.prepare`."""

    def __cinit__(self, str codec, int level, bytes source_bytes):
        self.kernel = kernel_of(codec)
        self.source_bytes = source_bytes
        self.codec = codec
        self.level = level
        cdef const unsigned char* source = source_bytes
        cdef size_t size = len(source_bytes)
        with nogil:
            self.dictionary = self.kernel.prepare(source, size, level)
        if self.dictionary == NULL:
            raise MemoryError(f"{codec} found no room for a dictionary of {size} bytes; prepare a shorter one")

    def __dealloc__(self):
        if self.dictionary != NULL:
            self.kernel.release(self.dictionary)

    def __reduce__(self):
        raise TypeError("a prepared dictionary can not be pickled; keep source_bytes and prepare them again")


@cython.final
cdef class Codec:
    """A compressor as a ruler. Not thread safe: it reuses contexts, so make one for each worker thread.

    `level` None means the codec's own default. Raises ValueError for an unknown name or a level out of range.

    >>> codec = Codec("zstd")
    >>> past = codec.prepare(b"disk sda is full, please free some space; " * 3)
    >>> codec.size_given(b"disk sda is full, please free some space", past) < codec.size(b"disk sda is full, please free some space")
    True
    """

    def __cinit__(self, str name, level: int | None = None):
        self.kernel = kernel_of(name)
        row = CODECS[name]
        self.name = name
        self.level = row.level if level is None else level
        self.version = row.version
        if not row.level_min <= self.level <= row.level_max:
            raise ValueError(f"{name} has no level {level}; choose {row.level_min} to {row.level_max}")
        self.plain = self.kernel.open_context(self.level)
        self.given = self.kernel.open_context(self.level)
        if self.plain == NULL or self.given == NULL:
            raise MemoryError(f"{name} found no room for its contexts; use fewer worker threads")

    def __dealloc__(self):
        if self.plain != NULL:
            self.kernel.close_context(self.plain)
        if self.given != NULL:
            self.kernel.close_context(self.given)
        free(self.target)

    def __reduce__(self):
        raise TypeError("a codec can not be pickled; make one for each worker")

    cdef int reserve(self, Py_ssize_t size) except -1:
        """Make the target hold a frame of `size` source bytes at worst."""
        cdef size_t room = self.kernel.bound(size) + 64  # magicless frames need no more, but the bound is for usual ones
        if room > self.room:
            free(self.target)
            self.room = 0
            self.target = <unsigned char*>malloc(room)
            if self.target == NULL:
                raise MemoryError(f"no room to compress {size} bytes; use smaller windows")
            self.room = room
        return 0

    cdef int attach(self, Prepared prepared) except -1:
        if prepared.codec != self.name or prepared.level != self.level:
            raise ValueError(
                f"the dictionary was prepared for {prepared.codec} level {prepared.level}, not for {self.name} level"
                f" {self.level}; prepare source_bytes with this codec"
            )
        if self.attached is not prepared:
            self.attached = None  # a context that refused is in no known state: the next call has to attach again
            if not self.kernel.attach(self.given, prepared.dictionary):
                raise RuntimeError(f"{self.name} {self.version} refused a dictionary that it had prepared itself")
            self.attached = prepared
        return 0

    cdef int measure(
        self, const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] stops,
        Prepared prepared, plain, given
    ) except -1:
        """Fill `plain` with sizes alone and `given` with sizes beside `prepared`, where they are not None."""
        cdef Py_ssize_t slices = starts.shape[0]
        cdef Py_ssize_t longest = longest_slice(text.shape[0], starts, stops)
        cdef const unsigned char* s = address(text)
        cdef unsigned int* alone = NULL if plain is None else (<array.array>plain).data.as_uints
        cdef unsigned int* beside = NULL if given is None else (<array.array>given).data.as_uints
        cdef int outcome = 0
        if slices == 0:
            return 0
        if self.busy:
            raise RuntimeError("this codec is measuring in another thread; make one Codec for each worker thread")
        self.busy = True
        try:
            if prepared is not None:
                self.attach(prepared)
            self.reserve(longest)
            with nogil:
                if alone != NULL:
                    outcome |= sizes_of(
                        &self.kernel, self.plain, s, &starts[0], &stops[0], slices, self.target, self.room, alone)
                if beside != NULL:
                    outcome |= sizes_of(
                        &self.kernel, self.given, s, &starts[0], &stops[0], slices, self.target, self.room, beside)
        finally:
            self.busy = False
        if outcome != 0:
            raise RuntimeError(f"{self.name} {self.version} failed to compress; memory may be short")
        return 0

    def prepare(self, const unsigned char[::1] dictionary):
        """Prepare a copy of `dictionary` (at most `DICTIONARY_BYTES_MAX` bytes, ValueError beyond) for this codec and level."""
        if dictionary.shape[0] > DICTIONARY_BYTES_MAX:
            raise ValueError(
                f"dictionary of {dictionary.shape[0]} bytes is over DICTIONARY_BYTES_MAX = {DICTIONARY_BYTES_MAX}; keep its end"
            )
        return Prepared(self.name, self.level, bytes(dictionary))

    def size(self, const unsigned char[::1] data):
        """Bytes that `data` takes on its own; ValueError over `WINDOW_BYTES_MAX`."""
        check_window(data.shape[0])
        sizes = array.array("I", [0])
        self.measure(data, array.array("I", [0]), array.array("I", [data.shape[0]]), None, sizes, None)
        return sizes[0]

    def size_given(self, const unsigned char[::1] data, Prepared prepared not None):
        """Bytes that `data` takes beside the prepared past, which costs nothing itself; smaller is more expected."""
        check_window(data.shape[0])
        sizes = array.array("I", [0])
        self.measure(data, array.array("I", [0]), array.array("I", [data.shape[0]]), prepared, None, sizes)
        return sizes[0]

    def ratio_given(self, const unsigned char[::1] window, Prepared prepared not None):
        """C(W | B) / C(W): the size of `window` beside the prepared past as a share of its size alone; never 0.

        Near 0: the past explains the window. Near 1, or a little over it: nothing in the past helps. Errors as in `size_given`.

        >>> codec = Codec("gzip")
        >>> past = codec.prepare(b"disk sda is full, please free some space; " * 3)
        >>> codec.ratio_given(b"disk sda is full, please free some space", past) < 0.2
        True
        >>> codec.ratio_given(b"kernel panic - not syncing: Attempted to kill init!", past) > 0.9
        True
        """
        check_window(window.shape[0])
        plain, given = array.array("I", [0]), array.array("I", [0])
        self.measure(window, array.array("I", [0]), array.array("I", [window.shape[0]]), prepared, plain, given)
        return given[0] / plain[0]

    def ncd(self, const unsigned char[::1] past, const unsigned char[::1] window):
        """Normalized compression distance (C(BW) - min(C(B), C(W))) / max(C(B), C(W)) of `past` B and `window` W.

        Cilibrasi & Vitanyi, "Clustering by compression", 2005, definition 6. BW is the past directly followed by the window:
        nothing joins them, so a separator that the caller wants ends the past. 0: the same; 1, or a little over it: nothing
        in common. It compares texts of like size: beside a much larger past any window is near 1, where `ratio_given` still
        tells windows apart. Compressors that look back less far than the past is long see its end only (`CODECS`).
        Raises ValueError when both together are over `WINDOW_BYTES_MAX`.

        >>> codec = Codec("zstd")
        >>> text = b"disk sda is full, please free some space"
        >>> codec.ncd(text, text) < 0.4 < codec.ncd(text, b"kernel panic - not syncing: Attempted to kill init!")
        True
        """
        cdef Py_ssize_t middle = past.shape[0], end = past.shape[0] + window.shape[0]
        if end > WINDOW_BYTES_MAX:
            raise ValueError(
                f"past and window are {end} bytes together, over WINDOW_BYTES_MAX = {WINDOW_BYTES_MAX};"
                " keep the end of the past"
            )
        sizes = array.array("I", [0, 0, 0])
        self.measure(
            b"".join((past, window)), array.array("I", [0, 0, middle]), array.array("I", [end, middle, end]), None, sizes, None)
        both, one, other = sizes
        return (both - min(one, other)) / max(one, other)

    def sizes_given(
        self, const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] stops,
        Prepared prepared not None,
    ):
        """`size_given` of each slice text[start:stop], as an array("I"); the GIL is released once.

        Raises ValueError for a slice outside the text or over `WINDOW_BYTES_MAX`, or a past prepared for another codec.
        """
        sizes = array.clone(array.array("I"), starts.shape[0], zero=False)
        self.measure(text, starts, stops, prepared, None, sizes)
        return sizes

    def window_sizes(
        self, const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] stops,
        Prepared prepared not None,
    ):
        """(sizes alone, sizes given the past) of each slice text[start:stop], as two array("I"); slices may overlap.

        The GIL is released once around the whole batch. Errors as in `sizes_given`.
        """
        plain = array.clone(array.array("I"), starts.shape[0], zero=False)
        given = array.clone(array.array("I"), starts.shape[0], zero=False)
        self.measure(text, starts, stops, prepared, plain, given)
        return plain, given


def entropy(const unsigned char[::1] data):
    """Shannon entropy of the byte frequencies, bits per byte: 0 for one repeated byte or nothing, 8 for uniform noise.

    Integer counts and correctly rounded operations only, so the result is the same double on every machine
    (Shannon, "A Mathematical Theory of Communication", 1948, section 6). ValueError over `WINDOW_BYTES_MAX`.

    >>> entropy(b"abab")
    1.0
    """
    check_window(data.shape[0])
    cdef const unsigned char* s = address(data)
    cdef Py_ssize_t n = data.shape[0]
    cdef double bits
    with nogil:
        bits = entropy_of(s, n)
    return bits


def entropies(const unsigned char[::1] text, const unsigned int[::1] starts, const unsigned int[::1] stops):
    """`entropy` of each slice text[start:stop], as an array("d"); the GIL is released once. Errors as in `sizes_given`."""
    longest_slice(text.shape[0], starts, stops)
    cdef Py_ssize_t i, slices = starts.shape[0]
    cdef array.array bits = array.clone(array.array("d"), slices, zero=False)
    cdef double* values = bits.data.as_doubles
    cdef const unsigned char* s = address(text)
    with nogil:
        for i in range(slices):
            values[i] = entropy_of(s + starts[i], stops[i] - starts[i])
    return bits
