"""Driftlock: compression-based anomaly detection for OpenTelemetry streams.

Rooms, lowest first: `errors` (vocabulary), `engine` and `accounts` (pure), `storage` (all SQL), `delivery` (the outside).
"""

__version__ = "0.1.0"
