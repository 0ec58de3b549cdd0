"""What REST answers cost: requests a second, latency, the way to each page, and what the guards of every request add."""
