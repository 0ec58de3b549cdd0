"""`make bench-ingest`: what it costs to receive OTLP, stage by stage, and beside other collectors."""
