from uuid import UUID

import pytest

from collector.kafka.partitions import partition_of
from driftlock.engine.event import Signal, StreamKey, trace_stream_key

CHECKOUT = StreamKey(Signal.LOGS, "checkout", "shop", "prod")
SIZES = StreamKey(Signal.METRICS, "größe", "", "")


# Where streams lie already: a value that changes here moves them away from their pasts.
@pytest.mark.parametrize(
    ("tenant", "key", "partitions", "spread", "partition"),
    [
        (UUID(int=7), CHECKOUT, 16, 1, 6),
        (UUID(int=7), CHECKOUT, 16, 4, 7),
        (UUID(int=7), SIZES, 16, 4, 7),
        (UUID(int=8), SIZES, 1, 1, 0),
        (UUID(int=8), SIZES, 4096, 4096, 272),
        (UUID("6f1c1a52-4f0e-4d67-9c53-0d2f6a8e7b11"), trace_stream_key("prod"), 12, 1, 5),
        (UUID("6f1c1a52-4f0e-4d67-9c53-0d2f6a8e7b11"), trace_stream_key("prod"), 12, 12, 7),
    ],
)
def test_golden_values(tenant: UUID, key: StreamKey, partitions: int, spread: int, partition: int) -> None:
    assert partition_of(tenant, key, partitions, spread) == partition


def test_streams_of_a_tenant_share_a_partition_unless_they_are_spread() -> None:
    keys = [CHECKOUT, SIZES, trace_stream_key("prod"), *(StreamKey(Signal.LOGS, f"s{number}") for number in range(50))]
    assert len({partition_of(UUID(int=1), key, 16) for key in keys}) == 1
    assert len({partition_of(UUID(int=1), key, 16, 4) for key in keys}) == 4


@pytest.mark.parametrize("spread", [0, 17])
def test_a_spread_that_can_not_be(spread: int) -> None:
    with pytest.raises(ValueError, match="from 1 to the number of partitions"):
        partition_of(UUID(int=1), CHECKOUT, 16, spread)
