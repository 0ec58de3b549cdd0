# cython: autotestdict=False
"""Questions about whole columns of numbers that are asked of every batch."""


def ascending(const unsigned long long[::1] times):
    """Whether a column of numbers never steps back; True for an empty one.

    >>> from array import array
    >>> ascending(array("Q", [1, 1, 2])), ascending(array("Q", [2, 1]))
    (True, False)
    """
    cdef Py_ssize_t i, n = times.shape[0]
    cdef bint found = True
    with nogil:
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
