"""Inputs of the tests of spans: a small shop of three services, whose payment becomes slow and then fails."""

import json
import random
from typing import Any

FIRST_S = 1_700_000_000
PACE_S = 0.5


def span(trace: int, number: int, parent: int, start_s: float, service: str, name: str, **more: Any) -> dict[str, Any]:
    """A span; ids are made of the numbers."""
    ids = {"trace": f"{trace + 1:032x}", "span": f"{(trace + 1) * 16 + number:016x}"}
    above = {"parent": f"{(trace + 1) * 16 + parent:016x}"} if parent else {}
    return {"time": round(FIRST_S + start_s, 6), **ids, **above, "service": service, "name": name, **more}


def trace(number: int, source: random.Random, *, slow: bool = False, failing: bool = False) -> list[dict[str, Any]]:
    """One purchase: gateway -> cart, gateway -> payment."""
    at, item = number * PACE_S, source.randrange(10**6)
    cart_us, pay_us = source.randrange(2000, 4000), source.randrange(8000, 12_000) + (900_000 if slow else 0)
    status = "error card declined by provider" if failing else "ok"
    whole_us = 3000 + cart_us + pay_us
    pay_s = at + 0.002 + cart_us / 1e6
    return [
        span(number, 1, 0, at, "gateway", "POST /buy", kind="server", status="ok", dur_us=whole_us, attributes={"item": item}),
        span(number, 2, 1, at + 0.001, "gateway", "GET", kind="client", dur_us=cart_us + 500),
        span(
            number,
            3,
            2,
            at + 0.0012,
            "cart",
            f"GET /cart/{item}",
            kind="server",
            status="ok",
            dur_us=cart_us,
            instance="cart-1",
        ),
        span(number, 4, 1, pay_s, "gateway", "POST", kind="client", dur_us=pay_us + 600, status=status.split()[0]),
        span(
            number, 5, 4, pay_s + 0.0003, "payment", "POST /pay", kind="server", dur_us=pay_us, status=status, instance="pay-1"
        ),
    ]


def spans(count: int, *, odd_from: int = 1 << 30, seed: int = 3) -> list[dict[str, Any]]:
    """So many purchases by the ends of their spans; from the `odd_from`th on payment is slow and fails."""
    source = random.Random(seed)
    found = [it for number in range(count) for it in trace(number, source, slow=number >= odd_from, failing=number >= odd_from)]
    return sorted(found, key=lambda it: it["time"] + it["dur_us"] / 1e6)


def lines(found: list[dict[str, Any]]) -> list[bytes]:
    """As the command reads them."""
    return [json.dumps(it).encode() + b"\n" for it in found]
