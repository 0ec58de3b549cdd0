"""The detector: pure folds from journal records to findings and incidents. No clock, no environment, no I/O."""
