"""Receivers: bytes on the wire -> submissions for the engine. No SQL."""
