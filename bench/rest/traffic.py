"""Requests of machines: detect from many clients, the same with an Idempotency-Key, an export, the feed from its beginning."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

from bench.ingest.processes import cpu_s
from bench.rest.client import Client, Timed, repeated
from tests.e2e.harness import Server, shop_log

EVENTS = 100
CLIENTS = (1, 8, 32)
LINES, ODD_AT = 6_000, 5_000
READ_TIMEOUT_S = 60.0


async def detect_rows(target: Server, key: str, seconds: float) -> list[dict[str, object]]:
    """So many clients at once, each with a stream of its own and one request at a time."""
    return [await _detect_row(target, key, clients, seconds) for clients in CLIENTS]


async def _detect_row(target: Server, key: str, clients: int, seconds: float) -> dict[str, object]:
    if target.process is None:
        raise RuntimeError("the server was not started")
    lines = shop_log(LINES, ODD_AT)
    parts = [lines[at : at + EVENTS] for at in range(0, LINES, EVENTS)]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Client(target.http_port, {"X-Api-Key": key})) for _ in range(clients)]
        for number, client in enumerate(opened):  # streams exist, and have a past
            for part in parts[:5]:
                (await client.post("/v1/detect", _body(number, part))).json()
        ends = time.monotonic() + seconds
        began, cpu = time.perf_counter(), cpu_s(target.process.pid)
        timed = await asyncio.gather(*(_until(client, number, parts, ends) for number, client in enumerate(opened)))
        all_of_them = Timed(
            tuple(ms for one in timed for ms in one.ms),
            time.perf_counter() - began,
            tuple(status for one in timed for status in one.statuses),
        )
        cpu = cpu_s(target.process.pid) - cpu
    return {
        "part": "detect",
        "what": f"{clients} clients" if clients > 1 else "1 client",
        "requests/s": all_of_them.per_s,
        "events/s": round(EVENTS * all_of_them.per_s),
        "p50 ms": all_of_them.quantile(0.5),
        "p99 ms": all_of_them.quantile(0.99),
        "server CPU ms": 1000 * cpu / len(all_of_them.ms),
        "not 200": all_of_them.failures,
    }


async def _until(client: Client, number: int, parts: list[list[str]], ends: float) -> Timed:
    """One request after the other, through the log and from its beginning again."""
    taken: list[float] = []
    statuses: list[int] = []
    requests = [client.encoded("POST", "/v1/detect", json.dumps(_body(number, part)).encode()) for part in parts]
    while time.monotonic() < ends:
        one = await repeated(client, requests[len(taken) % len(requests)], 1)
        taken += one.ms
        statuses += one.statuses
    return Timed(tuple(taken), max(1e-9, sum(taken) / 1000), tuple(statuses))


def _body(number: int, lines: list[str]) -> dict[str, object]:
    return {"stream_id": f"bench-{number}", "events": lines}


async def keyed_rows(port: int, key: str, times: int) -> list[dict[str, object]]:
    """The same events without a key and with a fresh one, turn by turn; and again with a key that is known."""
    body = json.dumps(_body(0, shop_log(EVENTS, EVENTS))).encode()
    taken: dict[str, list[float]] = {"without": [], "with a fresh key": [], "again with this key": []}
    async with Client(port, {"X-Api-Key": key}) as client:
        for number in range(times):
            headers = {"Idempotency-Key": f"bench-{number}"}
            keyed = client.encoded("POST", "/v1/detect", body, headers)
            plain = client.encoded("POST", "/v1/detect", body)
            for name, request in zip(taken, (plain, keyed, keyed), strict=True):
                one = await repeated(client, request, 1)
                if one.failures:
                    raise RuntimeError(f"detect {name}: {one.statuses}")
                taken[name] += one.ms
    return [
        {"part": "keyed", "what": name, "p50 ms": timed.quantile(0.5), "p99 ms": timed.quantile(0.99)}
        for name, timed in ((name, Timed(tuple(ms), sum(ms) / 1000)) for name, ms in taken.items())
    ]


async def export_row(port: int, key: str) -> dict[str, object]:
    """An export of 10,000 findings."""
    async with Client(port, {"X-Api-Key": key}) as client:
        began = time.perf_counter()
        answer = await client.post("/v1/anomalies/export", {"format": "jsonl"})
        seconds = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"export: {answer.body[:300]!r}")
    return _streamed("export, JSON lines", answer.body.count(b"\n"), len(answer.body), seconds)


async def replay_row(port: int, key: str) -> dict[str, object]:
    """The feed from its oldest event to its newest, as a client reads it that was away for long."""
    events, size = 0, 0
    async with asyncio.timeout(READ_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            began = seconds = time.perf_counter()
            head = f"GET /v1/events/live?after=0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Api-Key: {key}\r\n\r\n"
            writer.write(head.encode())
            if b" 200 " not in await reader.readline():
                raise RuntimeError("the feed does not answer")
            while True:
                try:
                    line = await asyncio.wait_for(reader.readline(), 2.0)  # nothing comes after the newest but heartbeats
                except TimeoutError:
                    break
                size += len(line)
                if line.startswith(b"event: anomaly"):
                    events, seconds = events + 1, time.perf_counter()
        finally:
            writer.close()
    return _streamed("live feed from its beginning", events, size, seconds - began)


def _streamed(what: str, rows: int, size: int, seconds: float) -> dict[str, object]:
    return {
        "part": "streamed",
        "what": what,
        "rows": rows,
        "MiB": size / 2**20,
        "seconds": seconds,
        "rows/s": round(rows / seconds),
    }
