"""Fuzzing of the OTLP decoder: mutated requests go to it and to its oracle, and both must say the same.

`cases` says what a file of the fuzzer means and how two decoders differ on it, `seeds` are the requests to begin with,
`mutator` changes them along the protocol's own messages, `python -m tests.fuzz` runs the fuzzer or replays a file.
"""
