"""Bodies about signed evidence of findings, and the keys that sign it."""

from typing import Literal

from pydantic import Field

from api.body import Body
from api.evidence_models import Timestamp


class EvidenceRef(Body):
    """Whether there is signed evidence of a finding, and where."""

    state: Literal["ready", "waiting", "skipped", "expired", "none", "off"] = Field(
        description="`ready`: it can be had. `waiting`: it is being made. `skipped`: too many at once; it is made when it is "
        "asked for soon. `expired`: it is not there any more. `none`: it was never to be had. `off`: this server signs none."
    )
    reason: str = Field(description="Why it is not there, empty where there is nothing to say.")
    number: int | None = Field(description="Its number in the chain of your evidence, from 1 on.")
    digest: str | None = Field(description="SHA-256 of its content in hexadecimal digits: the next one of the chain names it.")
    key_id: str | None = Field(description="The key that signed it, as in GET /v1/evidence-keys.")
    bytes: int = Field(description="Size of the file.")
    made_at: Timestamp | None = Field(description="When it was signed.")
    href: str | None = Field(description="Path of the file.")


class EvidenceKey(Body):
    """A public key that has signed evidence."""

    key_id: str = Field(description="First 16 hexadecimal digits of the SHA-256 of the key.")
    algorithm: Literal["Ed25519"]
    public_key: str = Field(description="32 bytes in hexadecimal digits, for `driftlock verify --key`.")
    since: Timestamp = Field(description="When it signed first.")


class EvidenceKeys(Body):
    """Every key that has signed evidence on this server, the newest first. Keys that were replaced stay in it."""

    keys: tuple[EvidenceKey, ...]
