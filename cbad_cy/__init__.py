"""Cython kernels: bytes -> numbers. They know nothing of streams, tenants, time or I/O."""
