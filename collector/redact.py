"""The redaction seam: text passes here once, at decoding, before the journal, the scoring or a log line can see it.

A redactor gets the canonical texts of whole records (so that rules may look at `key=value`), the names of metric series, of
instances and of operations. Names of services, namespaces and environments are identity and pass unchanged: they decide which
stream, and so which rules, hold. Values are cut to their limits first: a rule sees bounded text.
`driftlock.engine.redaction` has what rules are made of.
"""

from array import array
from typing import NamedTuple, Protocol
from uuid import UUID

from driftlock.engine.event import StreamKey


class Lines(Protocol):
    """Lines one after another, the bytes of each, how many of them were changed, and how many of these were cut."""

    @property
    def text(self) -> bytes: ...  # noqa: D102
    @property
    def lengths(self) -> "array[int]": ...  # noqa: D102
    @property
    def records(self) -> int: ...  # noqa: D102
    @property
    def cut(self) -> int: ...  # noqa: D102


class Redactor(Protocol):
    """Takes from texts what must not be kept. Pure: equal texts give equal results, so that the past explains the present."""

    def columns(self, text: bytes, lengths: "array[int]") -> Lines:
        """Records of UTF-8 that stand one after another in `text`, of so many bytes each, as they may be kept."""
        ...

    def text(self, text: str) -> str:
        """One text as it may be kept."""
        ...


class StreamRules(Protocol):
    """The rules of one tenant at one moment."""

    def of(self, stream: StreamKey) -> Redactor | None:
        """What records of a stream are redacted with; None where no rule is set for it."""
        ...


class Redaction(Protocol):
    """The rules of all tenants."""

    async def rules(self, tenant_id: UUID) -> StreamRules | None:
        """Those in force now, at most some seconds old; None where a tenant has none. Raises `Unavailable`."""
        ...


class NoRedaction:
    """Keeps everything, of whatever tenant and stream."""

    def of(self, stream: StreamKey) -> None:
        """No redactor."""

    async def rules(self, tenant_id: UUID) -> None:
        """No rules."""


class Texts(NamedTuple):
    """Plain `Lines`."""

    text: bytes
    lengths: "array[int]"
    records: int = 0
    cut: int = 0
