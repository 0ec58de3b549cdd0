"""Alert budgets of a running server: set over REST, kept through a restart, and spent by what is found."""

import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Server, shop_log, stormy, wait_for

pytestmark = pytest.mark.e2e
Make = Callable[..., Server]
FIRST_S = 1_700_000_000


def detect(server: Server, stream: str, lines: list[str]) -> None:
    """Send lines, one a second of event time."""
    events = [{"time": FIRST_S + index, "text": line} for index, line in enumerate(lines)]
    for start in range(0, len(events), 5000):
        body = {"stream_id": stream, "events": events[start : start + 5000], "historical": True}
        response = httpx.post(f"{server.rest}/v1/detect", json=body, timeout=30)
        assert response.status_code == 200, response.text


def set_budget(server: Server, alerts: int) -> dict[str, Any]:
    response = httpx.patch(f"{server.rest}/v1/budget", json={"alerts_per_day_max": alerts}, timeout=10)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_budget_survives_a_restart_and_mutes_what_is_over_it(make_server: Make) -> None:
    server = make_server()
    server.start()
    assert server.get("/v1/budget")["tenant"]["allowed"] == 100
    assert set_budget(server, 0)["changed"] is True
    assert set_budget(server, 0)["changed"] is False
    server.signal(signal.SIGTERM)
    server.start()
    assert server.get("/v1/budget")["tenant"]["allowed"] == 0
    lines = stormy(shop_log(9_000, odd_at=30_000), 7_000, 7_300)
    detect(server, "shop", lines)
    incidents = wait_for("an incident", lambda: server.get("/v1/incidents")["incidents"])
    assert {incident["alerted"] for incident in incidents} == {False}
    budget = server.get("/v1/budget")
    assert (budget["tenant"]["spent"], budget["tenant"]["muted"]) == (0, len(incidents))
    assert [(row["slug"], row["spent"], row["muted"]) for row in budget["streams"]] == [("shop", 0, len(incidents))]
    assert server.metric("driftlock_alerts_total") == 0
    assert set_budget(server, 5)["tenant"]["allowed"] == 5
    detect(server, "till", lines)
    told = wait_for("an alert", lambda: [row for row in server.get("/v1/incidents")["incidents"] if row["alerted"]])
    assert {row["streams"][0]["slug"] for row in told} == {"till"}
    assert server.get("/v1/streams/till")["alerts"]["spent"] == len(told)
    assert server.metric("driftlock_alerts_total") == len(told)
    assert server.get("/v1/streams/shop/events")["stream"]["slug"] == "shop"
