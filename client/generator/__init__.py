"""Makes the generated part of `driftlock_client` from an OpenAPI 3.1 document. What it does not know it refuses."""
