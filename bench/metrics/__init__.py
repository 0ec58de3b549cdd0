"""Quality of metric series' anomalies on public labelled series and on injected changes, beside reference detectors."""
