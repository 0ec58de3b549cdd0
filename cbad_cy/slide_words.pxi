"""Of slide.pyx: what is told of a window."""

QUESTIONS: Final = ("novelty", "more", "less", "order", "repetition", "instance")
"""What a window can be flagged for."""

SHARES: Final = MappingProxyType({"novelty": 0.5, "pattern": 0.25, "instance": 0.25})
"""Each question's share of the false-alarm rate; "pattern" is what `cbad_cy.mix` asks."""

class Said(NamedTuple):
    """What one question said of a window: p-value of its own (0..1], effect 0..1, bits of surprise, share of the past below."""

    question: str
    p_value: float
    distance: float
    surprise: float
    confidence: float


class Suspect(NamedTuple):
    """Whom the winning question names: a template (0 = none), an instance (0 = none), how often it was `observed` in the last
    `horizon` lines and how often `expected`."""

    template: int
    instance: int
    observed: float
    expected: float
    horizon: int


class Window(NamedTuple):
    """One evaluated window. `number` counts windows, `end` is the count of lines up to its last one, included.

    Sizes in bytes: masked text `size`, compressed alone `plain` and given the past `given`; `bits` is what it was ranked by.
    `distance` (0 = as explainable as usual, 1 = nothing is explained) compares with the `usual` value of given/plain;
    `p_value` (0..1], lower = rarer; `confidence`: share of past windows that were less surprising; `entropy` in bits per byte.
    These and `surprise` are those of the winning `question`; `said` is what each one said.
    """

    number: int
    end: int
    size: int
    plain: int
    given: int
    bits: float
    distance: float
    usual: float
    p_value: float
    confidence: float
    entropy: float
    flagged: bool
    question: str
    surprise: float
    said: tuple
    suspect: Suspect
