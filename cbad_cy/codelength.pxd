"""The border of the statistical coder, for the window kernel."""

from cbad_cy.model cimport Model


cdef class Coder:
    cdef Model model
    cdef readonly size_t bytes_max
