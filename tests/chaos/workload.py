"""What chaos clients say: a service's normal lines, and now and then a burst of odd ones, each record with an id of its own."""

import random
from string import ascii_lowercase

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

IDS = rb"\bid=([a-z]+\d+-\d+);"
"""Where a record's id stands in its text."""
ODD_FROM, ODD_EVERY, ODD_RECORDS = 500, 400, 30
"""The first odd record of a client, then so many records from burst to burst, of so many records each."""
ENOUGH_RECORDS = 1_000
"""So many records of each client have findings among them."""
PROFILE = {"baseline_size": 100, "window_size": 20, "hop_size": 10, "permutations_max": 199}
"""Small windows, so that a short run has findings to compare."""


def line(source: random.Random, *, odd: bool) -> str:
    """One line of a service."""
    if odd:
        return " ".join("".join(source.choices(ascii_lowercase, k=9)) for _ in range(8))
    kind = source.random()
    if kind < 0.6:
        path, user = source.choice(["/api/cart", "/api/items", "/login"]), source.choice(["ann", "bob", "cid"])
        return f"INFO request GET {path} user={user} status=200 took={source.randrange(3, 90)}ms"
    if kind < 0.85:
        return f"INFO cache hit key=item:{source.randrange(10_000)} size={source.randrange(100, 9_000)}"
    if kind < 0.97:
        return f"DEBUG pool connections={source.randrange(1, 20)} idle={source.randrange(10)}"
    return f"WARN slow query took={source.randrange(500, 3_000)}ms table=orders"


def is_odd(number: int) -> bool:
    """Is the record of that number, from 1 on, one of a burst?"""
    return number >= ODD_FROM and (number - ODD_FROM) % ODD_EVERY < ODD_RECORDS


def request(client: str, first: int, records: int, *, service: str, time_ns: int, seed: int = 0) -> bytes:
    """An export request with the records first..first+records-1 of a client, a microsecond apart."""
    source = random.Random(f"{seed} {client} {first}")
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scope = group.scope_logs.add()
    for place, number in enumerate(range(first, first + records)):
        record = scope.log_records.add(time_unix_nano=time_ns + place * 1_000, severity_number=9)
        record.body.string_value = f"{line(source, odd=is_odd(number))} id={client}-{number};"
    return message.SerializeToString()
