"""Persisted schemas, compiled from `proto/driftlock/v1` at build time."""
