"""What the way over Kafka costs: clients, a worker's stages, workers end to end, gateways, take-over, states."""
