"""The load that `make bench-kafka` puts into a topic, and what it calculates."""

from collections import Counter

import pytest

from bench.kafka import beyond
from bench.kafka.load import LINE_BYTES, PARTITIONS, STREAMS_A_TENANT, TENANTS_A_PARTITION, Lines, messages, tenants
from collector.kafka.message import decode
from collector.kafka.partitions import partition_of

LINES = Lines(20)
REQUESTS = PARTITIONS * TENANTS_A_PARTITION * STREAMS_A_TENANT


def test_tenants_lie_in_all_partitions_alike() -> None:
    assert Counter(tenant.partition for tenant in tenants()) == dict.fromkeys(range(PARTITIONS), TENANTS_A_PARTITION)


def test_messages_hold_the_records_that_were_asked_for() -> None:
    found = [decode(it.value, it.headers) for _, it in messages(20 * REQUESTS, LINES)]
    assert sum(it.records for it in found) == 20 * REQUESTS
    assert len({(it.tenant_id, it.batches[0].key) for it in found}) == REQUESTS
    assert len({it.request_hash for it in found}) == REQUESTS


def test_messages_are_in_the_partition_of_their_tenant() -> None:
    for partition, it in messages(20 * REQUESTS, LINES):
        assert partition == partition_of(decode(it.value, it.headers).tenant_id, it.stream, PARTITIONS)


def test_records_are_as_long_as_the_benchmark_says() -> None:
    assert set(LINES.batch(0, 0).lengths) == {len("INFO ") + LINE_BYTES}


def test_nonsense_comes_at_the_same_records_whatever_the_size_of_requests() -> None:
    small, large = Lines(10).batch(640, 0), Lines(1000).batch(6, 0)
    assert list(large.lines())[400:410] == list(small.lines())


def test_the_load_is_the_same_in_every_process() -> None:
    assert messages(40, LINES) == messages(40, Lines(20))


@pytest.mark.parametrize(("database_us", "bound"), [(0.5, "workers"), (40.0, "database")])
def test_what_is_calculated_names_what_it_is_bound_by(database_us: float, bound: str) -> None:
    rows = beyond.rows({"worker us": 5.0, "database us": database_us, "broker us": 0.1})
    assert rows[0]["records/s"] == {"workers": 200_000, "database": 100_000}[bound]
    assert {row["bound by"] for row in rows} == {bound}
