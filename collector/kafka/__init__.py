"""Kafka: submissions as messages of one topic, there and back. Nothing here is needed where no Kafka is."""
