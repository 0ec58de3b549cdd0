"""Gateway, workers and api processes over one topic and one database, under faults."""
