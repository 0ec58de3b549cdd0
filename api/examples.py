"""Examples of requests, by the operation that they are of: shown in the OpenAPI document, and sent by a test.

What stands in a path is not shown, so the test names what is there; only a token in a body has to be the reader's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One request and the status that it is answered with; `headers` are sent with it."""

    name: str
    summary: str
    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def rendered(self) -> dict[str, Any]:
        """An example object of OpenAPI."""
        return {"summary": self.summary, "value": dict(self.body)}


INVITATION_TOKEN = "dl_invite_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_ff842627"  # noqa: S105  # 160 bits of zero
"""Has the form of a token and is nobody's."""
_CARD = {"name": "card", "kind": "credit_card"}
_SESSION = {"name": "session", "where": "attribute:session.*", "action": "hash"}

EXAMPLES: Mapping[str, tuple[Example, ...]] = MappingProxyType(
    {
        "detect": (
            Example("lines", "Lines of text, in the stream `default`", 200, {"events": ["disk is 91 % full"]}),
            Example(
                "events",
                "Events with their times, of a stream of their own",
                200,
                {
                    "stream_id": "checkout",
                    "events": [
                        {"text": "payment accepted", "time": "2026-11-05T12:00:00Z"},
                        {"time": 1793880001.25, "level": "error", "message": "card declined"},
                    ],
                },
                headers={"Idempotency-Key": "6f1c0c1e-batch-17"},
            ),
        ),
        "demoDetect": (
            Example("baseline", "Usual lines, then one that is not", 200, {"events": ["user 1 logs in"] * 40 + ["disk full"]}),
        ),
        "giveFeedback": (
            Example(
                "preview",
                "What it would silence if it were expected, without storing it",
                200,
                {"verdict": "expected", "note": "load test", "preview": True},
            ),
            Example("confirmed", "It was worth telling", 200, {"verdict": "confirmed", "note": "gateway was down"}),
            Example("false_positive", "It was not", 200, {"verdict": "false_positive", "note": "new log format"}),
        ),
        "exportAnomalies": (
            Example(
                "csv",
                "A table of one stream since a time",
                200,
                {"format": "csv", "filters": {"since": "2026-01-01T00:00:00Z"}},
            ),
            Example("jsonl", "The newest hundred, as JSON lines", 200, {"format": "jsonl", "rows": 100}),
            Example(
                "markdown", "Those with much that is new, to be read", 200, {"format": "markdown", "filters": {"min_ncd": 0.5}}
            ),
        ),
        "changeIncident": (
            Example(
                "acknowledge", "Somebody looks after it", 200, {"status": "acknowledged", "note": "looking at the gateway"}
            ),
            Example("resolve", "It is over", 200, {"status": "resolved", "note": None}),
        ),
        "joinWaitlist": (Example("address", "An address", 202, {"email": "ann.lee@example.com"}),),
        "createStream": (
            Example("service", "The logs of a service", 201, {"service": "payments"}, {"Idempotency-Key": "payments-1"}),
            Example(
                "strict",
                "The same in one environment, judged strictly",
                201,
                {"service": "payments", "environment": "production", "profile": "strict", "display_name": "Payments (live)"},
            ),
        ),
        "changeStream": (
            Example("name", "Another name, and fewer alerts", 200, {"display_name": "Checkout", "alerts_per_day_max": 5}),
        ),
        "putRedaction": (Example("rules", "Card numbers go, and sessions become hashes", 200, {"rules": [_CARD, _SESSION]}),),
        "putStreamRedaction": (
            Example("mask", "Numbers of orders", 200, {"rules": [{"name": "order", "mask": "order-{digits}"}]}),
            Example("none", "No rules besides those of the account", 200, {"rules": []}),
        ),
        "testRedaction": (
            Example(
                "rules", "Rules that are not in force yet", 200, {"lines": ["paid with 4111 1111 1111 1111"], "rules": [_CARD]}
            ),
            Example("in_force", "Those in force", 200, {"lines": ["INFO login user=bob"]}),
        ),
        "changeStreamProfile": (
            Example("builtin", "A built-in profile", 200, {"profile": "strict"}),
            Example("custom", "Values of one's own", 200, {"ncd_threshold": 0.4, "p_value_threshold": 0.01}),
        ),
        "switchTuning": (Example("on", "Thresholds follow feedback", 200, {"automatic": True}),),
        "setStreamAnchor": (Example("threshold", "Drift begins at a distance of 0.4", 200, {"drift_ncd_threshold": 0.4}),),
        "resetStreamAnchor": (
            Example("baseline", "The baseline as it is now", 200, {}, {"Idempotency-Key": "release-42"}),
            Example(
                "events",
                "Lines of one's own",
                200,
                {"events": [f"order {n} paid in {20 + n % 7} ms" for n in range(60)], "codec": "zstd"},
            ),
        ),
        "changeBudget": (Example("budget", "Five incidents a day may alert", 200, {"alerts_per_day_max": 5}),),
        "createApiKey": (
            Example("service", "A key for a service", 201, {"name": "ingest of checkout", "scopes": ["ingest"]}),
            Example(
                "bound",
                "A key of one stream that expires",
                201,
                {"scopes": ["ingest"], "stream": "checkout", "expires_at": "2028-01-01T00:00:00Z", "requests_per_minute": 30},
                headers={"Idempotency-Key": "checkout-2028"},
            ),
        ),
        "rotateApiKey": (
            Example("hour", "The old key works for another hour", 201, {"overlap_seconds": 3600}),
            Example("now", "The old key ends at once", 201, {"overlap_seconds": 0}),
        ),
        "signUp": (Example("account", "A new account", 201, {"name": "Example Shop"}),),
        "invite": (Example("member", "Somebody who may change things", 201, {"email": "bob@example.com", "role": "member"}),),
        "acceptInvitation": (Example("token", "The token that the inviter was shown", 200, {"token": INVITATION_TOKEN}),),
        "changeMember": (Example("viewer", "From now on they may only look", 200, {"role": "viewer"}),),
        "changeAccount": (
            Example("window", "Resends are recognised for an hour", 200, {"dedup_window_seconds": 3600}),
            Example("name", "Another name", 200, {"name": "Example Shop (old)"}),
        ),
        "deleteAccount": (Example("name", "Its name says that it is meant", 204, {"name": "Example Shop (old)"}),),
    }
)
