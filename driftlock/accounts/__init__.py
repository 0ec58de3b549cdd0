"""API keys and access rules: pure, no I/O; shared by the collector and the REST API."""
