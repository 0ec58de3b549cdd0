"""Checking evidence from a file, offline: what was signed, by whom, where it stands in its chain, and whether it reproduces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import driftlock
from driftlock.engine.evidence_bundle import FILE_BYTES_MAX, BadBundle, Sealed, UnknownParts, unpack
from driftlock.engine.evidence_replay import Differs, check_sizes, other_versions, reproduce
from driftlock.engine.verdict import Finding
from server.signing import is_signed, key_id_of

CHAIN_FILES_MAX = 10_000
SUFFIX = ".evidence"


class Result(StrEnum):
    """What came of it."""

    REPRODUCED = "reproduced"
    FORGED = "forged"  # damaged, or not what its signer signed
    DIFFERS = "differs"  # signed, and its rows do not give its finding
    NOT_COMPARABLE = "not_comparable"  # signed, and judged by other versions than those here


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `ok` None = it could not be, and says nothing against the evidence."""

    name: str
    ok: bool | None
    detail: str


@dataclass(slots=True)
class Verification:
    """All checks of one file, in their order. Those after one that failed are left out."""

    checks: list[Check] = field(default_factory=list)
    sealed: Sealed | None = None
    finding: Finding | None = None
    result: Result = Result.FORGED

    def note(self, name: str, ok: bool | None, detail: str) -> bool:
        """Add a check; whether the next one may follow."""
        self.checks.append(Check(name, ok, detail))
        return ok is not False


def verify(data: bytes, *, pinned: Sequence[bytes], chain: Path | None = None) -> Verification:
    """Check a file of evidence. `pinned` are the keys that may have signed it (none: any), `chain` a folder with others.

    Whatever the bytes are, it returns: what can not be read is a check that failed.
    """
    done = Verification()
    try:
        _verify(done, data, pinned, chain)
    except MemoryError:
        done.note("verdict", False, "it takes more memory than there is")
        done.result = Result.DIFFERS
    return done


def _verify(done: Verification, data: bytes, pinned: Sequence[bytes], chain: Path | None) -> None:
    sealed = _read(done, data)
    if sealed is None or not _check_signature(done, sealed, pinned):
        return
    if not _check_finding(done, sealed):
        return
    if chain is not None and not _check_chain(done, sealed, chain, pinned):
        return
    _judge(done, sealed)


def _read(done: Verification, data: bytes) -> Sealed | None:
    try:
        sealed = unpack(data)
        check_sizes(sealed.material)
    except UnknownParts as error:
        done.result = Result.NOT_COMPARABLE
        done.note("file", None, error.message)
        return None
    except BadBundle as error:
        done.note("file", False, error.message)
        return None
    material = sealed.material
    began = "the stream's first row" if material.base is None else f"its state after row {material.base.seq}"
    done.note("file", True, f"{len(data)} bytes: {began}, {len(material.rows)} rows up to row {material.rows[-1].seq}")
    done.sealed = sealed
    return sealed


def _check_signature(done: Verification, sealed: Sealed, pinned: Sequence[bytes]) -> bool:
    key_id = key_id_of(sealed.public_key)
    if not is_signed(sealed.content, sealed.public_key, sealed.signature):
        return done.note("signature", False, f"the content is not what the key {key_id} has signed")
    done.note("signature", True, f"Ed25519 by the key {key_id} over SHA-256 {sealed.digest.hex()}")
    if not pinned:
        return done.note(
            "key", None, f"anybody may have made {sealed.public_key.hex()}: give --key or --endpoint to know whose it is"
        )
    known = sealed.public_key in pinned
    return done.note("key", known, f"{key_id} is {'one' if known else 'none'} of the {len(pinned)} keys that were given")


def _check_finding(done: Verification, sealed: Sealed) -> bool:
    try:
        finding = Finding.from_json(sealed.material.finding)
        canonical = finding.to_json()  # which a number beyond JSON has not
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return done.note("finding", False, "it can not be read")
    done.finding = finding
    if canonical != sealed.material.finding:
        return done.note("finding", False, "it is not in canonical form")
    if done.finding.stream != sealed.material.key.text:
        return done.note("finding", False, f"it is of another stream than its rows: {done.finding.stream}")
    return done.note("finding", True, f"{sealed.material.finding_id} of {done.finding.stream}: {done.finding.explanation}")


def _check_chain(done: Verification, sealed: Sealed, folder: Path, pinned: Sequence[bytes]) -> bool:
    """Whether the files of a folder that are of the same tenant are one chain, and this one has its place in it."""
    links = {sealed.link.number: (sealed.digest, sealed.link.previous)}  # and nothing else of files that may be large
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if len(paths) > CHAIN_FILES_MAX:
        return done.note("chain", False, f"{folder} holds more than {CHAIN_FILES_MAX} files (CHAIN_FILES_MAX)")
    for path in paths:
        try:
            other = unpack(read_bounded(path))
        except (BadBundle, UnknownParts) as error:
            return done.note("chain", False, f"{path.name} is no evidence: {error.message}")
        if other.material.tenant_id != sealed.material.tenant_id:
            continue
        if pinned and other.public_key not in pinned:
            return done.note("chain", False, f"{path.name} was signed by another key than those that were given")
        if not is_signed(other.content, other.public_key, other.signature):
            return done.note("chain", False, f"{path.name} is not what its key has signed")
        link = (other.digest, other.link.previous)
        if links.setdefault(other.link.number, link) != link:
            return done.note("chain", False, f"{path.name} and another file both have the number {other.link.number}")
    for number, (_, previous) in links.items():
        before = links.get(number - 1)
        if before is not None and before[0] != previous:
            return done.note("chain", False, f"number {number} does not follow number {number - 1}")
    first, last = min(links), max(links)
    missing = last - first + 1 - len(links)
    place = (
        "its predecessor is there"
        if sealed.link.number - 1 in links or sealed.link.number == 1
        else "its predecessor is not there"
    )
    text = f"number {sealed.link.number}, {place}; {len(links)} files from {first} to {last}, {missing} missing between them"
    return done.note("chain", True, text)


def _judge(done: Verification, sealed: Sealed) -> None:
    material = sealed.material
    try:
        others = other_versions(material)
        if others:
            done.result = Result.NOT_COMPARABLE
            what = ", ".join(f"{it.name} {it.old or 'none'} judged, {it.new or 'none'} is here" for it in others)
            done.note("versions", None, f"not comparable: {what}; made by driftlock {material.driftlock_version}")
            return
        done.note(
            "versions",
            True,
            f"all that judges this stream is as it was (driftlock {material.driftlock_version}, here {driftlock.__version__})",
        )
        done.result = Result.DIFFERS
        judged = reproduce(material)
    except (BadBundle, Differs) as error:
        done.result = Result.DIFFERS
        done.note("verdict", False, error.message)
        return
    except Exception as error:  # a signed file may hold anything; the native code refuses what it can not take in many ways
        done.result = Result.DIFFERS
        done.note("verdict", False, f"its rows can not be folded: {type(error).__name__}")
        return
    done.result = Result.REPRODUCED
    done.note("verdict", True, f"the rows give the same finding, byte for byte ({len(judged.finding)} bytes)")


def read_bounded(path: Path) -> bytes:
    """A file up to one byte more than evidence may have. Raises OSError."""
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)
