"""The REST API: parse, one call, respond. No detection, no SQL."""
