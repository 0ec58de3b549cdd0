"""What an explanation starts from: what each event cost, and what the decision was about."""

from collections.abc import Sequence
from dataclasses import dataclass

from cbad_cy.tokenize import Masks, slots, tokens
from driftlock.engine.explanation.spans import Token
from driftlock.engine.verdict import Question


@dataclass(frozen=True, slots=True)
class LineCost:
    """What an event cost when it came, before it was learned.

    `bits` its code length; `tokens` the dear ones of a line whose form was new, as (start, stop, bits) in the masked line
    (a codec that does not tell gives none); `slots` the dear values, as (index in `cbad_cy.tokenize.slots`, bits).
    """

    bits: float
    tokens: tuple[tuple[int, int, float], ...] = ()
    slots: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What the decision was about: the question that won and what it said.

    `subject` is the instance or interaction ("" = the whole stream), `template` the masked line responsible (b"" = none),
    which came `observed` times in `horizon` events where `expected` are usual.
    """

    question: Question = Question.NOVELTY
    subject: str = ""
    template: bytes = b""
    observed: float = 0.0
    expected: float = 0.0
    horizon: int = 0


@dataclass(frozen=True, slots=True)
class Scanner:
    """How the lines of a stream were masked: by the built-in rules, and by masks of its owner."""

    masks: Masks | None = None

    def tokens(self, line: bytes) -> Sequence[Token]:
        """See `cbad_cy.tokenize.tokens`."""
        return tokens(line, masks=self.masks)

    def slots(self, line: bytes) -> Sequence[bytes]:
        """See `cbad_cy.tokenize.slots`."""
        return slots(line, masks=self.masks)
