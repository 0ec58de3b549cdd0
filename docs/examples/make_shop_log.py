"""Writes `shop.log.gz`: an hour of a small web shop, quiet but for a minute in which its payment gateway is away.

    python docs/examples/make_shop_log.py

Seeded, so the file is always the same; the README's first example replays it.
"""

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

LINES = 6000
OUTAGE = range(5200, 5320)
START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)

NORMAL = (
    (30, "INFO  http GET /api/v1/products/{sku} 200 {ms} ms client={ip}"),
    (14, "INFO  http GET /api/v1/cart/{user} 200 {ms} ms client={ip}"),
    (9, "INFO  http POST /api/v1/cart/{user}/items 201 {ms} ms client={ip}"),
    (9, "INFO  cart item {sku} added for user {user}, {few} items now"),
    (7, "INFO  http POST /api/v1/orders 201 {ms} ms client={ip}"),
    (7, "INFO  orders order {order} placed by user {user}, total {amount} EUR"),
    (7, "INFO  payment charge {charge} authorised for order {order} in {ms} ms"),
    (6, "INFO  stock reserved {few} x {sku} for order {order}"),
    (3, "INFO  mail confirmation for order {order} queued"),
    (2, "DEBUG cache refreshed {few} product pages in {ms} ms"),
    (2, "INFO  session {uuid} opened for user {user}"),
    (2, "INFO  session {uuid} closed after {ms} s"),
    (1, "WARN  stock low: {few} x {sku} left in warehouse {few}"),
    (1, "WARN  http GET /api/v1/products/{sku} 404 {ms} ms client={ip}"),
)
FAILING = (
    (5, "ERROR payment gateway timeout after {big} ms for order {order}, attempt {attempt} of 3"),
    (
        3,
        "ERROR payment com.acme.pay.GatewayException: connection reset by peer at Gateway.charge(Gateway.java:{few})",
    ),
    (2, "WARN  payment circuit breaker open, rejecting charges for {few} s"),
    (2, "ERROR orders order {order} rolled back: payment not authorised, releasing {few} reservations"),
    (2, "ERROR http POST /api/v1/orders 502 {big} ms client={ip}"),
    (1, "WARN  queue payments backlog {big} messages, oldest {few} s"),
)


def line(rng: random.Random, forms: tuple[tuple[int, str], ...]) -> str:
    """One line of one of the forms, filled in."""
    [form] = rng.choices([text for _, text in forms], [weight for weight, _ in forms])
    return form.format(
        sku=f"SKU-{rng.randrange(10000, 99999)}",
        user=rng.randrange(1000, 9999),
        order=rng.randrange(100000, 999999),
        charge=f"ch_{rng.randrange(16**12):012x}",
        uuid=f"{rng.randrange(16**8):08x}-{rng.randrange(16**4):04x}-4{rng.randrange(16**3):03x}-a{rng.randrange(16**3):03x}"
        f"-{rng.randrange(16**12):012x}",
        ip=f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        amount=f"{rng.randrange(5, 400)}.{rng.randrange(100):02d}",
        ms=rng.randrange(2, 90),
        big=rng.randrange(5000, 30000),
        few=rng.randrange(1, 20),
        attempt=rng.randrange(1, 4),
    )


def main() -> None:
    """Write the file beside this one."""
    rng = random.Random(20260314)
    now = START
    lines = []
    for number in range(LINES):
        now += timedelta(milliseconds=rng.randrange(50, 1150))
        failing = number in OUTAGE and rng.random() < 0.35
        lines.append(f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z {line(rng, FAILING if failing else NORMAL)}\n")
    target = Path(__file__).with_name("shop.log.gz")
    target.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
