# cython: autotestdict=False
"""Questions about whole columns of numbers that are asked of every batch.

Each is answered in less time than it takes to give up the interpreter's lock and get it back from other threads.
"""

from cpython cimport array

import array


def ascending(const unsigned long long[::1] times):
    """Whether a column of numbers never steps back; True for an empty one.

    >>> from array import array
    >>> ascending(array("Q", [1, 1, 2])), ascending(array("Q", [2, 1]))
    (True, False)
    """
    cdef Py_ssize_t i, n = times.shape[0]
    cdef bint found = True
    for i in range(1, n):
        if times[i] < times[i - 1]:
            found = False
            break
    return bool(found)


def largest(const unsigned int[::1] lengths):
    """The largest of a column of numbers; 0 for an empty one.

    >>> from array import array
    >>> largest(array("I", [3, 5, 4]))
    5
    """
    cdef Py_ssize_t i
    cdef unsigned int found = 0
    for i in range(lengths.shape[0]):
        if lengths[i] > found:
            found = lengths[i]
    return found


def looked_up(const unsigned long long[::1] entries, const unsigned int[::1] numbers):
    """The entry of each number, as a column. Raises IndexError for a number that has none.

    >>> from array import array
    >>> looked_up(array("Q", [0, 70]), array("I", [1, 0, 1]))
    array('Q', [70, 0, 70])
    """
    cdef Py_ssize_t i, count = numbers.shape[0], known = entries.shape[0]
    cdef array.array found = array.clone(array.array("Q"), count, False)
    cdef unsigned long long* out = found.data.as_ulonglongs
    for i in range(count):
        if numbers[i] >= known:
            raise IndexError("a number is beyond the entries")
        out[i] = entries[numbers[i]]
    return found
