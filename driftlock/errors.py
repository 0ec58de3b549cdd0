"""Errors of Driftlock: one tree, each class carrying a code and never a transport status.

    DriftlockError
    ├── InvalidArgument          the request is wrong and will stay wrong
    │   ├── PayloadTooLarge      over a named limit, after decompression
    │   ├── UnsupportedEncoding  a content type or coding that we do not read
    │   └── KeyReused            an Idempotency-Key that stands for another request already
    ├── Unauthenticated          no credential, or one that proves nothing
    ├── PermissionDenied         a good credential without the needed scope
    │   ├── EmailUnverified      a person whose e-mail address nobody has verified
    │   └── SignInAgain          a person whose sign-in is too long ago for this
    ├── NotFound                 unknown here, or another tenant's: the two look alike on purpose
    │   └── EvidenceExpired      a finding whose evidence is not there (any more)
    ├── Conflict                 the state it assumes is not the state there is
    ├── PreconditionFailed       it was changed since the client read it
    ├── RateLimited              retry later
    ├── QuotaExhausted           final until the period or the plan changes
    ├── Unavailable              retry later: full, draining, or the database is away
    └── Internal                 our fault

Borders translate by table: `collector.otlp.status` to gRPC and OTLP/HTTP, `api.problems` to problem+json.
A test names the maps that a new `Code` has to fill.
"""

from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """What went wrong, in the words that clients see; stable across versions."""

    INVALID_ARGUMENT = "invalid_argument"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    EMAIL_UNVERIFIED = "email_unverified"
    SIGN_IN_AGAIN = "sign_in_again"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    EVIDENCE_EXPIRED = "evidence_expired"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    RATE_LIMITED = "rate_limit_exceeded"
    QUOTA_EXHAUSTED = "quota_exhausted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class DriftlockError(Exception):
    """Base of all errors that a client may see; `str(error)` is safe to send and says what to do."""

    code: ClassVar[Code] = Code.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        retry_after_ms: int | None = None,
        pointer: str | None = None,
        reason: str | None = None,
    ) -> None:
        """`retry_after_ms`: hint for retryable codes. `pointer`: JSON pointer to the offending field, if one is known.

        `reason`: what refused requests are counted under, a `driftlock.accounts.metering.Refusal`; None = that of the code.
        """
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.pointer = pointer
        self.reason = reason


class InvalidArgument(DriftlockError):
    """The request is malformed or out of range."""

    code = Code.INVALID_ARGUMENT


class PayloadTooLarge(InvalidArgument):
    """A limit in bytes or records was passed; the message names the limit."""

    code = Code.PAYLOAD_TOO_LARGE


class UnsupportedEncoding(InvalidArgument):
    """Content type or content coding is not one we read; the message lists those we do."""

    code = Code.UNSUPPORTED_ENCODING


class KeyReused(InvalidArgument):
    """The Idempotency-Key was given to another request before; nothing of this one was taken."""

    code = Code.IDEMPOTENCY_KEY_REUSED


class Unauthenticated(DriftlockError):
    """No usable credential. The text is the same for every reason."""

    code = Code.UNAUTHORIZED


class PermissionDenied(DriftlockError):
    """The credential is good but lacks a scope."""

    code = Code.FORBIDDEN


class EmailUnverified(PermissionDenied):
    """A person's e-mail address is not known to be theirs; the sign-in provider verifies it."""

    code = Code.EMAIL_UNVERIFIED


class SignInAgain(PermissionDenied):
    """A person has to prove once more who they are: what they ask for takes a recent sign-in."""

    code = Code.SIGN_IN_AGAIN


class OriginNotAllowed(PermissionDenied):
    """Web pages of this origin may not call the API; the text says which setting lists those that may."""

    code = Code.ORIGIN_NOT_ALLOWED


class NotFound(DriftlockError):
    """There is no such thing for this tenant."""

    code = Code.NOT_FOUND


class EvidenceExpired(NotFound):
    """There is such a finding, but no evidence of it, and there never will be; the text says why."""

    code = Code.EVIDENCE_EXPIRED


class Conflict(DriftlockError):
    """The request contradicts the present state."""

    code = Code.CONFLICT


class PreconditionFailed(DriftlockError):
    """What the client has read (its If-Match) is not what there is; nothing was changed."""

    code = Code.PRECONDITION_FAILED


class RateLimited(DriftlockError):
    """Too many requests for now."""

    code = Code.RATE_LIMITED


class QuotaExhausted(DriftlockError):
    """The plan's amount is used up; retrying does not help."""

    code = Code.QUOTA_EXHAUSTED


class Unavailable(DriftlockError):
    """Not now: overloaded, draining or without the database. Always retryable."""

    code = Code.UNAVAILABLE


class Internal(DriftlockError):
    """A bug of ours; the text never carries internals."""

    code = Code.INTERNAL
