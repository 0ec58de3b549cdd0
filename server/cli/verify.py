"""`driftlock verify`: whether evidence is what its signer signed, and whether it reproduces its finding, without a server."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
import httpx

from server.signing import key_id_of, read_public
from server.terminal import visible
from server.verification import Result, Verification, read_bounded, verify

EXIT_CODES = {Result.REPRODUCED: 0, Result.FORGED: 1, Result.DIFFERS: 1, Result.NOT_COMPARABLE: 3}
MARKS = {True: "ok  ", False: "FAIL", None: "?   "}
TIMEOUT_S = 30.0
KEYS_MAX = 1000
WORDS = {
    Result.REPRODUCED: "reproduced: the verdict follows from what was signed",
    Result.FORGED: "FORGED OR DAMAGED: this is not what was signed",
    Result.DIFFERS: "DIFFERS: the verdict does not follow from what was signed",
    Result.NOT_COMPARABLE: "not comparable: other versions judged than those here",
}


@click.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", "keys", multiple=True, metavar="FILE|HEX", help="A public key that may have signed it; can be repeated.")
@click.option("--endpoint", metavar="URL", help="A server whose keys may have signed it (asked for GET /v1/evidence-keys).")
@click.option(
    "--chain",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of *.evidence files: they have to be one chain with this one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_command(file: Path, keys: tuple[str, ...], endpoint: str | None, chain: Path | None, as_json: bool) -> None:
    """Check the evidence in FILE, and judge its rows again; nothing is sent anywhere.

    Exit codes: 0 reproduced, 1 differs, forged or damaged, 2 wrong usage, 3 not comparable (judged by other versions).
    """
    pinned = _pinned(keys, endpoint)
    try:
        done = verify(read_bounded(file), pinned=pinned, chain=chain)
    except OSError as error:
        raise click.UsageError(f"{visible(str(error.filename or file))} can not be read: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(_document(done), sort_keys=True))
    else:
        for check in done.checks:
            click.echo(f"{MARKS[check.ok]} {check.name}: {visible(check.detail)}")
        click.echo(WORDS[done.result])
    sys.exit(EXIT_CODES[done.result])


def _document(done: Verification) -> dict[str, object]:
    sealed = done.sealed
    return {
        "result": done.result.value,
        "checks": [asdict(check) for check in done.checks],
        "evidence": None
        if sealed is None
        else {
            "number": sealed.link.number,
            "previous": sealed.link.previous.hex() or None,
            "digest": sealed.digest.hex(),
            "made_unix_nano": sealed.link.made_ns,
            "key_id": key_id_of(sealed.public_key),
            "public_key": sealed.public_key.hex(),
            "tenant_id": str(sealed.material.tenant_id),
            "stream_id": str(sealed.material.stream_id),
            "seed": str(sealed.material.seed),
            "versions": dict(sealed.material.versions),
            "driftlock_version": sealed.material.driftlock_version,
        },
        "finding_id": None if sealed is None else str(sealed.material.finding_id),
        "finding": None if done.finding is None else json.loads(done.finding.to_json()),
    }


def _pinned(keys: tuple[str, ...], endpoint: str | None) -> list[bytes]:
    pinned = []
    for text in keys:
        try:
            pinned.append(read_public(text))
        except ValueError as error:
            raise click.UsageError(f"--key: {visible(str(error))}") from None
    if endpoint is not None:
        pinned += _keys_of(endpoint)
    return pinned


def _keys_of(endpoint: str) -> list[bytes]:
    try:
        # trust_env off: no proxy may come between and give keys of its own.
        response = httpx.get(f"{endpoint.rstrip('/')}/v1/evidence-keys", timeout=TIMEOUT_S, trust_env=False)
        response.raise_for_status()
        found = [bytes.fromhex(key["public_key"]) for key in response.json()["keys"][:KEYS_MAX]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise click.UsageError(f"--endpoint: no keys from {visible(endpoint)}: {visible(str(error))}") from None
    except (ValueError, KeyError, TypeError):
        raise click.UsageError(f"--endpoint: {visible(endpoint)} is not a Driftlock server") from None
    if not found:
        raise click.UsageError(f"--endpoint: {visible(endpoint)} has signed no evidence")
    return found
