from tests.kafka.broker import broker as broker
