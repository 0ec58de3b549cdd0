"""The C library's allocator, told how this process uses memory.

Each request is some hundred kilobytes that live for milliseconds. By default glibc asks the kernel for every block of that size
and gives it back at once, and the kernel fills it with zeros each time: that took a third of what receiving costs.
"""

import ctypes

# mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024  # the most that glibc takes on a 64-bit machine
TRIM_THRESHOLD_BYTES = 256 * 1024 * 1024
ARENAS_MAX = 2


def keep_freed_memory() -> bool:
    """Let freed blocks be used again instead of going back to the kernel; False where the C library is not glibc.

    To be called before the first thread is started. At most `TRIM_THRESHOLD_BYTES` are kept that nothing uses.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return False
    options = ((_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES), (_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES), (_ARENA_MAX, ARENAS_MAX))
    done = [library.mallopt(option, value) for option, value in options]
    return all(result == 1 for result in done)
