"""The decoder of OTLP requests as it reads from the specification: upb and plain Python, slow. The oracle of the native one."""
