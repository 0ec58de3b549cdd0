"""A flood of names: a million services that are each seen once.

Once through decoding, routing and resolution of streams alone, in this process; once through port 4317 into a fresh server,
until all records are scored. First as many as a tenant may have streams, then the rest, which all go to the stream `_overflow`.
Shown: rows of streams; memory when a tenth of the rest is in, what it grows by after that, at most, and at the end; names a
second. `python -m bench.names [--names N]`.
"""

import argparse
import asyncio
import os
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.replay import Server, server
from bench.report import report
from collector.otlp.decode import Decoder
from collector.otlp.limits import OtlpLimits
from collector.redact import NoRedaction
from collector.routing import ResourceRouter
from driftlock.engine.event import Signal
from driftlock.storage.datafolder import APP_ROLE, running
from driftlock.storage.embedded import EmbeddedPostgres
from driftlock.storage.journal import JournalLimits
from driftlock.storage.migrate import migrate
from driftlock.storage.pool import Database
from driftlock.storage.stream_ids import StreamIds
from driftlock.storage.tenants import STREAMS_MAX_DEFAULT, Tenants

NAMES = 1_000_000
NAMES_A_REQUEST = 4000
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
GROWTH_MIB_MAX = 64
T0_NS = 1_780_000_000_000_000_000
COUNTS = """
select (select count(*) from driftlock.streams) as streams, (select count(*) from driftlock.streams where overflow) as shared,
       (select sum(records)::bigint from driftlock.meter) as metered
"""


def requests(numbers: range) -> Iterator[bytes]:
    """One record of each of so many services, in requests of `NAMES_A_REQUEST`."""
    for first in range(numbers.start, numbers.stop, NAMES_A_REQUEST):
        request = ExportLogsServiceRequest()
        for number in range(first, min(first + NAMES_A_REQUEST, numbers.stop)):
            group = request.resource_logs.add()
            group.resource.attributes.add(key="service.name").value.string_value = f"service-{number}-of-a-flood"
            record = group.scope_logs.add().log_records.add(time_unix_nano=T0_NS + number * 1000)
            record.body.string_value = f"order {number} placed"
        yield request.SerializeToString()


def send(running_server: Server, pid: int, numbers: range) -> list[int]:
    """Send a record of each service and wait until all are scored; the server's memory after each request."""
    sizes: list[int] = []
    with grpc.insecure_channel(f"127.0.0.1:{running_server.grpc}") as channel:
        export = channel.unary_unary(EXPORT)
        for data in requests(numbers):
            export(data, timeout=60, wait_for_ready=True)
            sizes.append(resident_bytes(pid))
    while any(stream["pending"] for stream in overflow(running_server)):
        time.sleep(0.2)
    return [*sizes, resident_bytes(pid)]


def overflow(running_server: Server) -> list[dict[str, object]]:
    """The shared stream, which comes first in the order of names."""
    listed = running_server.get("/v1/streams?limit=1")["streams"]
    return [stream for stream in listed if stream["slug"] == "_overflow"]  # type: ignore[attr-defined]


def resident_bytes(pid: int) -> int:
    """Memory of the server."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def counts(data_dir: Path) -> dict[str, int]:
    """What the database holds."""
    found = running(data_dir)
    if found is None:
        sys.exit("the server's database is not running")
    connection = await asyncpg.connect(found.owner_dsn)
    try:
        row = await connection.fetchrow(COUNTS)
        return dict(row.items()) if row else {}
    finally:
        await connection.close()


def row(way: str, names: int, found: dict[str, int], sizes: list[int], seconds: float) -> dict[str, object]:
    """One line of the report; `sizes` is the memory after each request of the rest."""
    settled = sizes[len(sizes) // 10]  # by then the caches of the first streams have gone
    return {
        "way": way,
        "names": names,
        "rows of streams": found["streams"],
        "of them shared": found["shared"],
        "RSS (MiB)": settled / 2**20,
        "growth (MiB)": (max(sizes[len(sizes) // 10 :]) - settled) / 2**20,
        "RSS at the end (MiB)": sizes[-1] / 2**20,
        "names/s": (names - STREAMS_MAX_DEFAULT) / seconds,
    }


async def resolving(names: int) -> dict[str, object]:
    """Decode, route and resolve, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedPostgres(Path(folder) / "data", token_bytes=secrets.token_bytes) as postgres:
            await migrate(postgres.owner_dsn, APP_ROLE)
            async with Database(postgres.app_dsn) as database:
                tenant = await Tenants(database).create("flood", plan="enterprise")
                streams = StreamIds(database, entries_max=JournalLimits().stream_cache_entries_max)
                decoder = Decoder(OtlpLimits(), ResourceRouter(), NoRedaction())
                sizes: list[int] = []
                began = time.monotonic()
                for first, data in enumerate(requests(range(names))):
                    decoded = decoder.decode(data, Signal.LOGS)
                    await streams.resolve(tenant.tenant_id, [part.key for part in decoded.batches])
                    if first * NAMES_A_REQUEST >= STREAMS_MAX_DEFAULT:
                        sizes.append(resident_bytes(os.getpid()))
                seconds = time.monotonic() - began
                return row("decode, route, resolve", names, await counts(Path(folder) / "data"), sizes, seconds)


def serving(names: int) -> dict[str, object]:
    """All the way into a server."""
    with server() as fresh:
        process = fresh.start()
        try:
            send(fresh, process.pid, range(STREAMS_MAX_DEFAULT))
            began = time.monotonic()
            sizes = send(fresh, process.pid, range(STREAMS_MAX_DEFAULT, names))
            seconds = time.monotonic() - began
            found = asyncio.run(counts(fresh.folder / "data"))
        finally:
            process.terminate()
            process.wait(30)
    if found["metered"] != names:
        sys.exit(f"{names} records were sent and {found['metered']} metered")
    return row("whole server", names, found, sizes, seconds)


def main() -> None:
    """Run and report; exits with 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.names", description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES, help="how many services; fewer than all are not kept")
    parser.add_argument("--resolving", action="store_true", help="without the server; not kept")
    asked = parser.parse_args()
    rows = [asyncio.run(resolving(asked.names))]
    print(rows[0], flush=True)
    if not asked.resolving:
        rows.append(serving(asked.names))
        print(rows[1], flush=True)
        if asked.names == NAMES:
            report("names", "a million services that are each seen once", rows)
    for each in rows:
        if int(str(each["rows of streams"])) > STREAMS_MAX_DEFAULT + 1 or float(str(each["growth (MiB)"])) > GROWTH_MIB_MAX:
            sys.exit(f"not bounded: {each}")


if __name__ == "__main__":
    main()
