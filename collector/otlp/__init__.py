"""OTLP: one pure decoder, one status map, one thin server a transport."""
