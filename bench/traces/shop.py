"""The made-up shop whose traffic `synthetic` draws: what each operation does, how often each is asked for, and at what cost."""

from collections.abc import Mapping
from typing import NamedTuple

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5  # kinds of spans, as OTLP numbers them


class Step(NamedTuple):
    """One call that an operation makes: its share of the operation's runs, the mean of its repeats, all at once or in turn."""

    callee: str
    share: float = 1.0
    repeats: float = 1.0
    parallel: bool = False
    drifts: bool = False  # the share moves with the minute, as a cache's hits do


class Operation(NamedTuple):
    """What an operation does: median of its self time in ms, spread (sigma of the log), error rate, calls in order."""

    self_ms: float
    spread: float
    error_rate: float
    steps: tuple[Step, ...] = ()


SHOP: Mapping[str, Operation] = {
    "gateway/GET home": Operation(
        3, 0.4, 1e-4, (Step("accounts/session", 0.6), Step("recommend/for user", 0.9), Step("catalog/list"))
    ),
    "gateway/GET product": Operation(
        2,
        0.4,
        1e-4,
        (Step("accounts/session", 0.5), Step("catalog/get"), Step("stock/level", 0.97), Step("recommend/similar", 0.8)),
    ),
    "gateway/GET search": Operation(2, 0.4, 2e-4, (Step("search/query"), Step("catalog/get", 1.0, 4.0, True))),
    "gateway/POST cart": Operation(2, 0.4, 3e-4, (Step("accounts/session"), Step("cart/add"))),
    "gateway/POST login": Operation(4, 0.5, 8e-3, (Step("accounts/login"), Step("cart/merge", 0.3))),
    "gateway/GET orders": Operation(2, 0.4, 3e-4, (Step("accounts/session"), Step("orders/history"))),
    "gateway/POST checkout": Operation(3, 0.4, 2e-3, (Step("accounts/session"), Step("checkout/place"))),
    "stock/nightly sync": Operation(40, 0.8, 1e-2, (Step("db/UPDATE levels", 1.0, 6.0), Step("queue>analytics/ingest", 0.5))),
    "accounts/session": Operation(
        0.8, 0.5, 1e-4, (Step("cache/GET session"), Step("db/SELECT session", 0.08, 1.0, False, True))
    ),
    "accounts/login": Operation(30, 0.3, 5e-3, (Step("db/SELECT user"), Step("db/UPDATE session", 0.95))),
    "accounts/profile": Operation(1, 0.5, 1e-4, (Step("db/SELECT user"),)),
    "catalog/list": Operation(2, 0.5, 1e-4, (Step("cache/GET list"), Step("db/SELECT products", 0.15, 1.0, False, True))),
    "catalog/get": Operation(
        1.2,
        0.6,
        2e-4,
        (Step("cache/GET product"), Step("db/SELECT product", 0.25, 1.0, False, True), Step("internal>catalog/render")),
    ),
    "catalog/render": Operation(0.4, 0.6, 0.0),
    "search/query": Operation(8, 0.8, 5e-4, (Step("internal>search/parse"), Step("db/SEARCH index", 1.0, 2.0, True))),
    "search/parse": Operation(0.3, 0.4, 0.0),
    "recommend/for user": Operation(
        5, 0.7, 1e-3, (Step("accounts/profile", 0.3), Step("db/SELECT ratings"), Step("catalog/get", 0.9, 3.0, True))
    ),
    "recommend/similar": Operation(4, 0.7, 1e-3, (Step("cache/GET similar"), Step("catalog/get", 0.3, 2.0, True, True))),
    "stock/level": Operation(1, 0.5, 2e-4, (Step("cache/GET level"), Step("db/SELECT level", 0.2, 1.0, False, True))),
    "stock/reserve": Operation(2, 0.5, 1e-3, (Step("db/UPDATE levels", 1.0, 2.0),)),
    "cart/add": Operation(1.5, 0.5, 3e-4, (Step("catalog/get"), Step("db/INSERT item"), Step("queue>analytics/ingest", 0.5))),
    "cart/get": Operation(1, 0.5, 2e-4, (Step("db/SELECT items"),)),
    "cart/merge": Operation(1, 0.5, 2e-4, (Step("db/SELECT items"), Step("db/INSERT item", 0.5, 2.0))),
    "checkout/place": Operation(
        6,
        0.5,
        1e-3,
        (
            Step("cart/get"),
            Step("catalog/get", 1.0, 3.0),
            Step("stock/reserve"),
            Step("shipping/quote", 0.9),
            Step("payment/charge"),
            Step("queue>orders/record"),
        ),
    ),
    "shipping/quote": Operation(7, 0.9, 2e-3, (Step("internal>shipping/pack"),)),
    "shipping/pack": Operation(2, 0.8, 0.0),
    "payment/charge": Operation(
        25, 0.6, 8e-3, (Step("payment/fraud", 0.7), Step("db/INSERT payment"), Step("internal>payment/sign"))
    ),
    "payment/fraud": Operation(15, 0.7, 2e-3, (Step("db/SELECT history"),)),
    "payment/sign": Operation(1, 0.3, 0.0),
    "orders/record": Operation(
        4, 0.6, 1e-3, (Step("db/INSERT order"), Step("queue>mail/send"), Step("queue>analytics/ingest"))
    ),
    "orders/history": Operation(3, 0.6, 5e-4, (Step("db/SELECT orders"), Step("shipping/track", 0.4, 2.0))),
    "shipping/track": Operation(9, 0.9, 5e-3),
    "mail/send": Operation(60, 0.9, 6e-3, (Step("internal>mail/template"),)),
    "mail/template": Operation(2, 0.5, 0.0),
    "analytics/ingest": Operation(1.5, 0.7, 1e-3, (Step("db/INSERT event"),)),
}
ROOTS: Mapping[str, float] = {  # share of all traces
    "gateway/GET home": 0.34,
    "gateway/GET product": 0.30,
    "gateway/GET search": 0.15,
    "gateway/POST cart": 0.08,
    "gateway/POST login": 0.06,
    "gateway/GET orders": 0.045,
    "gateway/POST checkout": 0.024,
    "stock/nightly sync": 0.001,
}
INSTANCES: Mapping[str, int] = {"catalog": 20, "gateway": 4, "recommend": 4, "accounts": 3, "search": 3}
INSTANCES_USUAL = 2
STORE_MS: Mapping[str, tuple[float, float]] = {"db": (2.0, 0.8), "cache": (0.3, 0.4)}
NETWORK_MS, NETWORK_SPREAD = 0.4, 0.5
QUEUE_MS, QUEUE_SPREAD = 30.0, 1.2
TAIL_SHARE, TAIL_INDEX = 0.01, 1.5  # one self time in a hundred is Pareto from three times its median
PASS_ON = 0.7  # share of a callee's errors that become the caller's
