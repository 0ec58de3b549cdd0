"""Examples of requests, by the operation that they are of: shown in the OpenAPI document, and sent by a test.

The ids in paths are those of the test's account; a reader puts in their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One request and the status that it is answered with."""

    name: str
    summary: str
    status: int
    body: Mapping[str, Any] | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def rendered(self) -> dict[str, Any]:
        """An example object of OpenAPI."""
        return {"summary": self.summary, "value": dict(self.body or {})}


CHECKOUT = MappingProxyType({"stream": "checkout"})

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
        "changeStreamProfile": (
            Example("builtin", "A built-in profile", 200, {"profile": "strict"}, CHECKOUT),
            Example("custom", "Values of one's own", 200, {"ncd_threshold": 0.4, "p_value_threshold": 0.01}, CHECKOUT),
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
            Example("hour", "The old key works for another hour", 201, {"overlap_seconds": 3600}, {"id": "tojkiqxbdx2h4etd"}),
            Example("now", "The old key ends at once", 201, {"overlap_seconds": 0}, {"id": "tojkiqxbdx2h4etd"}),
        ),
    }
)
