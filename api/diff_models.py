"""Releases and what changed between two of them, as clients see it."""

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef
from api.reading import Reading
from driftlock.engine.releases.diff import ChangeKind


class Release(Body):
    """A value of the attribute."""

    value: str = Field(description="The value.")
    records: int = Field(description="Records that have it, of those that were read.")
    first: Timestamp = Field(description="When the first of them was received.")
    last: Timestamp = Field(description="When the newest of them was received.")


class ReleaseList(Body):
    """The values of an attribute that the journal holds, the one that was seen last first."""

    stream: StreamRef
    attribute: str = Field(description="The attribute.")
    releases: tuple[Release, ...]
    records_without: int = Field(description="Records without the attribute, of those that were read.")
    records_omitted: int = Field(description="Records of values that are not listed: only 1,000 values are told apart.")
    reading: Reading


class ReleaseSide(Body):
    """One of the two releases."""

    value: str = Field(description="The value of the attribute.")
    lines: int = Field(description="Lines that were compared, the newest.")
    forms: int = Field(description="Different lines, values aside.")
    first: Timestamp | None = Field(description="Time of the first line; null where there is none.")
    last: Timestamp | None = Field(description="Time of the last line.")


class LineChange(Body):
    """A line that one release has and the other has not, or has much more or less often."""

    kind: ChangeKind = Field(description="`new`, `gone`, or `more` or `less` frequent than before.")
    text: str = Field(description="The first such line, of the newer release where that has one.")
    count_from: int = Field(description="How many such lines the older release has.")
    count_to: int = Field(description="How many the newer one has.")
    share_from: FiniteFloat = Field(description="The same as a share of all its lines.")
    share_to: FiniteFloat = Field(description="The same as a share of all its lines.")
    p_value: FiniteFloat = Field(
        gt=0,
        le=1,
        description="How probable so large a difference is by chance, were lines independent; corrected for `tests`.",
    )
    significant: bool = Field(description="Whether `p_value` is at most 0.01.")
    spans: tuple[tuple[int, int], ...] = Field(
        description="Of a new line: the bytes of `text`, as UTF-8, that the older release does not explain, as [start, end)."
    )
    nearest: str | None = Field(description="Of a new line: the most similar line of the older release, values masked.")
    bits: FiniteFloat | None = Field(description="Of a new line: what it costs a coder that has learned the older release.")


class ChangeTotals(Body):
    """How many lines changed, also those that are not listed."""

    new: int
    gone: int
    more: int
    less: int


class ReleaseDiff(Body):
    """What a release says that the other did not."""

    stream: StreamRef
    attribute: str = Field(description="The attribute that tells the releases apart.")
    from_release: ReleaseSide = Field(description="The older one.")
    to_release: ReleaseSide = Field(description="The newer one.")
    changes: tuple[LineChange, ...] = Field(
        description="At most 50 of each kind, `new` first, then `gone`, `more` and `less`; the most significant first."
    )
    totals: ChangeTotals
    tests: int = Field(description="By so many tests the p-values are corrected.")
    unseen_share: FiniteFloat = Field(
        description="The share of the newer release's lines that are of no form that the older has."
    )
    unseen_share_expected: FiniteFloat = Field(description="The same as it would be about, were both releases alike.")
    bits_per_line: FiniteFloat | None = Field(
        description="What a line of the newer release costs on average, for a coder that has learned the older one."
    )
    bits_per_line_within: FiniteFloat | None = Field(
        description="What one of the second half of the older release costs, for a coder that has learned its first half."
    )
    reading: Reading
