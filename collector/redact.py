"""The redaction seam: text passes here once, at decoding, before the journal, the scoring or a log line can see it.

A redactor gets the canonical text of a whole record (so that rules may look at `key=value`), the names of metric series
and the names of instances. Names of services, namespaces and environments are identity and pass unchanged.
Values are cut to their limits first: a rule sees bounded text.
"""

from typing import Protocol


class Redactor(Protocol):
    """Takes from a text what must not be kept."""

    def redact(self, text: str) -> str:
        """The text without its secrets. Pure: equal texts give equal results, or the past would stop explaining the present."""
        ...


class NoRedaction:
    """Keeps everything: the default where no rule is set."""

    def redact(self, text: str) -> str:
        """Return `text`."""
        return text
