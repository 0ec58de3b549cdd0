"""Rules of routing as values: conditions on attributes, templates of names, and lists of attributes to read names from.

All texts that are compared and filled in are names as `driftlock.engine.canonical.label` leaves them (at most 256 bytes),
and patterns know only `*`: whatever a sender writes, a rule costs time linear in what is compared, without regular expressions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from collector.routing import conventions
from driftlock.engine.event import Signal

Read = Callable[[str], str]
"""The name in an attribute, "" for one that is not there or has none."""

ANY_SIGNAL = frozenset(Signal)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text in which `*` stands for any characters, also none.

    >>> Pattern("web-*").matches("web-3"), Pattern("web").matches("web-3"), Pattern("*a*b").matches("xaxb")
    (True, False, True)
    """

    text: str

    def matches(self, value: str) -> bool:
        """Whether `value`, as a whole, is of this pattern. The leftmost place of each part is as good as any other."""
        head, *parts = self.text.split("*")
        if not parts:
            return value == head
        tail = parts.pop()
        if len(value) < len(head) + len(tail) or not value.startswith(head) or not value.endswith(tail):
            return False
        position, end = len(head), len(value) - len(tail)
        for part in parts:
            found = value.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class Template:
    """Text with attributes in it: `pieces` are a literal and the attribute after it ("" = none), one after another."""

    pieces: tuple[tuple[str, str], ...] = ()

    def fill(self, read: Read) -> str | None:
        """The text; None when one of its attributes is missing."""
        out: list[str] = []
        for literal, attribute in self.pieces:
            out.append(literal)
            if attribute:
                value = read(attribute)
                if not value:
                    return None
                out.append(value)
        return "".join(out)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It holds when the signal is one of `signals`, every condition is met, and its templates can be filled.

    `present`: the attribute's name and the patterns of which its value matches one; `absent`: attributes that must be missing.
    What it does not set (None) stays as it is without rules. `stream` is a whole identity, as `driftlock.stream_id` is.
    """

    name: str
    signals: frozenset[Signal] = ANY_SIGNAL
    present: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()
    absent: tuple[str, ...] = ()
    stream: Template | None = None
    service: Template | None = None
    namespace: Template | None = None
    environment: Template | None = None
    instance: Template | None = None

    def holds(self, signal: Signal, read: Read) -> bool:
        """Whether signal and conditions are met; templates are another matter."""
        return (
            signal in self.signals
            and not any(map(read, self.absent))
            and all(
                (value := read(name)) and any(pattern.matches(value) for pattern in patterns) for name, patterns in self.present
            )
        )


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """Everything that routing depends on; the defaults are the conventions.

    Lists hold the attributes that a part is read from, of which the first that is there counts; see the conventions for what
    a fallback is. Of `rules` the first that holds decides.
    """

    services: tuple[str, ...] = conventions.SERVICES
    service_fallbacks: tuple[str, ...] = conventions.SERVICE_FALLBACKS
    namespaces: tuple[str, ...] = conventions.NAMESPACES
    namespace_fallbacks: tuple[str, ...] = conventions.NAMESPACE_FALLBACKS
    environments: tuple[str, ...] = conventions.ENVIRONMENTS
    instances: tuple[str, ...] = conventions.INSTANCES
    rules: tuple[Rule, ...] = ()
