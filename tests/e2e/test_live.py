"""The live feed of a real server: clients that leave and come again while findings and people's words come in miss nothing."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy, wait_for

pytestmark = pytest.mark.e2e
FIRST_S = 1_700_000_000


def read(server: Server, after: int, most: int, stop: threading.Event) -> Iterator[tuple[int, str, dict[str, object]]]:
    """At most `most` events of one connection, told as (id, event, data)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    try:
        connection.request("GET", "/v1/events/live", headers={"Last-Event-ID": str(after)})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        number, name, count = 0, "", 0
        while count < most and not stop.is_set() and (line := response.readline()):
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "id":
                number = int(value)
            elif field == "event":
                name = value
            elif field == "data" and name not in ("ready", "reset"):
                yield number, name, json.loads(value)
                count += 1
    finally:
        connection.close()


def follow(server: Server, most: int, stop: threading.Event, seen: list[tuple[int, str, dict[str, object]]]) -> None:
    """Read on and on over new connections, whatever breaks them off."""
    while not stop.is_set():
        try:
            for event in read(server, seen[-1][0] if seen else 0, most, stop):
                seen.append(event)
        except (OSError, ValueError, http.client.HTTPException, AssertionError):  # it is not there, or it stops
            time.sleep(0.05)


def test_reconnects_under_load_and_over_restarts_lose_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.start()
    stop = threading.Event()
    clients: list[list[tuple[int, str, dict[str, object]]]] = [[], []]
    threads = [
        threading.Thread(target=follow, args=(server, most, stop, seen)) for most, seen in zip((2, 9), clients, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        for service in range(3):
            lines = stormy(shop_log(2_400, 30_000, seed=service), 2_200, 2_300)
            began_s = FIRST_S + 10_000 * service
            events = [{"time": began_s + number, "text": text} for number, text in enumerate(lines)]
            for first in range(0, len(lines), 800):
                body = {"stream_id": f"shop-{service}", "events": events[first : first + 800], "historical": True}
                httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30).raise_for_status()
            for incident in server.get("/v1/incidents")["incidents"]:
                path = f"{server.rest}/v1/incidents/{incident['id']}"
                httpx.patch(path, json={"status": "acknowledged"}, timeout=10).raise_for_status()
            if service == 0:
                server.kill()
                server.start()
            elif service == 1:
                assert server.signal(15) == 0  # open connections do not hold it up
                server.start()
        end_s, anomalies = time.monotonic() + 60, set[str]()
        cursor: str | None = None
        while cursor is not None or not anomalies:
            assert time.monotonic() < end_s, "nothing was found"
            page = server.get("/v1/anomalies", limit="200", **({} if cursor is None else {"cursor": cursor}))
            anomalies |= {row["id"] for row in page["anomalies"]}
            cursor = page["next_cursor"]
        assert len(anomalies) > 5

        def told(seen: list[tuple[int, str, dict[str, object]]]) -> set[object]:
            return {data["anomaly"]["id"] for _, name, data in list(seen) if name == "anomaly"}  # type: ignore[index]

        wait_for("the clients to have it all", lambda: all(told(seen) >= anomalies for seen in clients))
    finally:
        stop.set()
        server.close()  # ends the connections that wait
        for thread in threads:
            thread.join(20)
    for seen in clients:
        numbers = [number for number, _, _ in seen]
        assert numbers == list(range(1, len(numbers) + 1))  # none lost, none twice, in their order
        assert {"incident.opened", "incident.acknowledged"} <= {name for _, name, _ in seen}
