"""`make bench-quality`: what the detector finds and how often it errs, beside reference detectors, on public data."""
