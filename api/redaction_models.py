"""Bodies about redaction rules."""

from pydantic import Field

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef


class RedactionRule(Body):
    """One rule: where it looks, what for, and what stands in its place."""

    name: str = Field(description="Of 1 to 32 characters a-z, 0-9, `_` and `-`; `[name]` stands where something was found.")
    where: str = Field(
        default="text",
        description="`text`: the whole record. `attribute:NAME`: values of that attribute; NAME may end in `*`.",
    )
    kind: str | None = Field(
        default=None,
        description="A built-in kind: `email`, `ip`, `credit_card`, `jwt`, `bearer`, `aws_key` or `url_password`.",
    )
    mask: str | None = Field(
        default=None,
        description="Or a mask, such as `order-{digits}`. Without kind and mask the whole value of the attribute is meant.",
    )
    action: str = Field(
        default="replace",
        description="`replace`: by `[name]`. `hash`: by `[name:...]`, equal for equal values. `drop`: the attribute goes.",
    )


class RedactionChange(Body):
    """All rules, in place of those before."""

    rules: list[RedactionRule] = Field(description="At most 32. Every rule looks at a record as it came.")


class Redaction(Body):
    """The rules of the account or of a stream."""

    stream: StreamRef | None = Field(description="Whose rules these are; null = the account's, which hold in all its streams.")
    rules: tuple[RedactionRule, ...]
    inherited: tuple[RedactionRule, ...] = Field(description="Rules of the account that hold besides; empty for the account's.")
    position: int | None = Field(description="Place in the journal from which on they hold; null where there never were any.")
    changed_at: Timestamp | None
    effect: str = Field(description="For which records they hold, in a sentence.")


class RedactionTest(Body):
    """Lines to be redacted; nothing of them is stored."""

    lines: list[str] = Field(description="At most 200, each one the text of a record: `INFO login user=bob`.")
    rules: list[RedactionRule] | None = Field(default=None, description="Rules to try; without them those in force are used.")
    stream: str | None = Field(default=None, description="Id or slug of a stream whose rules are used besides the account's.")


class RedactedLine(Body):
    """One line as it would be kept."""

    text: str
    changed: bool


class RuleFinds(Body):
    """A rule, and what it found."""

    name: str
    found: int = Field(description="Places that are as this rule says; finds of several rules that overlap are one place.")


class RedactionTested(Body):
    """The lines as they would be kept, in their order."""

    lines: tuple[RedactedLine, ...]
    changed: int = Field(description="Lines in which something was found.")
    rules: tuple[RuleFinds, ...] = Field(description="The rules that were tried, in their order, with what each found.")
