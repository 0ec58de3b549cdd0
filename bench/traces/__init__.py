"""Faults in traces: a public day of injected faults, a made-up shop, simple references, and what judging costs."""
