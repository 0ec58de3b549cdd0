"""`driftlock verify`: what it believes, what it refuses, and that no file of any kind surprises it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click.testing
import httpx
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftlock.engine.era import versions
from driftlock.engine.evidence_bundle import FILE_BYTES_MAX, Link, Material, content_of, digest_of, pack, unpack
from driftlock.engine.ports import Checkpoint
from server.cli import main
from server.signing import Signer
from server.verification import Result, verify
from tests.engine.bundles import all_materials

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
FIRST = Link(1, b"", 1_700_000_000_000_000_000)
HOSTILE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def materials() -> dict[str, Material]:
    return asyncio.run(all_materials())


def sealed(material: Material, link: Link = FIRST, signer: Signer = SIGNER) -> bytes:
    content = content_of(material, link)
    return pack(content, signer.public_key, signer.sign(content))


def run(*arguments: str | Path) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["verify", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["lines", "zstd", "numbers", "traces", "silence"])
def test_evidence_of_every_kind_reproduces(materials: dict[str, Material], tmp_path: Path, kind: str) -> None:
    file = tmp_path / "one.evidence"
    file.write_bytes(sealed(materials[kind]))
    done = run(file, "--key", SIGNER.public_key.hex())
    assert done.exit_code == 0, done.output
    *lines, last = done.output.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"ok   {name}" for name in ("file", "signature", "key", "finding", "versions", "verdict")
    ]
    assert last.startswith("reproduced")


def test_another_process_on_another_day_says_the_same(materials: dict[str, Material], tmp_path: Path) -> None:
    """Another seed of hashes, another folder, another time zone, no environment of ours: nothing of it has a say."""
    (tmp_path / "one.evidence").write_bytes(sealed(materials["numbers"]))
    environment = {"PYTHONHASHSEED": "4294967295", "TZ": "Asia/Kathmandu", "PATH": os.environ["PATH"], "LC_ALL": "C"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent.parent)
    command = [sys.executable, "-c", "from server.cli import main; main()", "verify", "one.evidence", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["result"] == "reproduced"
    assert document["finding"] == json.loads(materials["numbers"].finding)


def test_every_changed_byte_is_noticed(materials: dict[str, Material]) -> None:
    whole = sealed(materials["silence"])
    assert verify(whole, pinned=[]).result is Result.REPRODUCED
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        done = verify(bytes(changed), pinned=[])
        # A schema of the future says so of itself before anything can be checked: it is not believed either.
        assert done.result in (Result.FORGED, Result.NOT_COMPARABLE), place
        assert any(check.ok is not True for check in done.checks), place


@HOSTILE
@given(data=st.data())
def test_parts_of_other_bundles_are_noticed(materials: dict[str, Material], data: st.DataObject) -> None:
    """What is swapped between two bundles of one signer, and signed by nobody, is never believed."""
    one, other = data.draw(st.permutations(["lines", "zstd", "silence", "numbers"]))[:2]
    first, second = unpack(sealed(materials[one])), unpack(sealed(materials[other], Link(2, bytes(32), 1)))
    swapped = data.draw(
        st.sampled_from(
            [
                pack(first.content, first.public_key, second.signature),
                pack(second.content, first.public_key, first.signature),
                pack(first.content, STRANGER.public_key, first.signature),
            ]
        )
    )
    assert verify(swapped, pinned=[]).result is Result.FORGED


def test_a_stranger_is_told_from_the_signer(materials: dict[str, Material], tmp_path: Path) -> None:
    file, pem = tmp_path / "one.evidence", tmp_path / "key.pem"
    file.write_bytes(sealed(materials["silence"], signer=STRANGER))
    public = SIGNER._private.public_key()
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    done = run(file, "--key", pem)
    assert done.exit_code == 1
    assert "FAIL key" in done.output
    assert "FORGED" in done.output
    unpinned = run(file)
    assert unpinned.exit_code == 0
    assert f"?    key: anybody may have made {STRANGER.public_key.hex()}" in unpinned.output
    assert run(file, "--key", pem, "--key", STRANGER.public_key.hex()).exit_code == 0


def test_what_is_signed_and_does_not_follow_differs(materials: dict[str, Material], tmp_path: Path) -> None:
    material = materials["lines"]
    better = material.finding.replace(b'"p_value":', b'"p_value":0.00001,"p_value":', 1)
    louder = json.loads(material.finding) | {"surprise": 99.0}
    said = json.dumps(louder, sort_keys=True, separators=(",", ":")).encode()
    file = tmp_path / "one.evidence"
    for finding, told in ((better, "FAIL finding: it is not in canonical form"), (said, "FAIL verdict: its rows give another")):
        file.write_bytes(sealed(replace(material, finding=finding)))
        done = run(file)
        assert done.exit_code == 1
        assert told in done.output


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b"1e999"])
def test_a_finding_that_no_server_writes_is_answered(materials: dict[str, Material], value: bytes) -> None:
    finding = re.sub(rb'"p_value":[0-9.e-]+', b'"p_value":' + value, materials["lines"].finding)
    assert finding != materials["lines"].finding
    done = verify(sealed(replace(materials["lines"], finding=finding)), pinned=[])
    assert (done.result, [check.ok for check in done.checks if check.name == "finding"]) == (Result.FORGED, [False])


def test_another_version_of_a_library_is_not_comparable(materials: dict[str, Material], tmp_path: Path) -> None:
    here = versions()["zstd"]
    material = replace(materials["zstd"], versions=versions() | {"zstd": "1.0.0"})
    file = tmp_path / "one.evidence"
    file.write_bytes(sealed(material))
    done = run(file)
    assert done.exit_code == 3
    assert f"not comparable: zstd 1.0.0 judged, {here} is here; made by driftlock 0.0.1" in done.output
    assert "ok   signature" in done.output
    # Our own coder does not care which zstd is here.
    file.write_bytes(sealed(replace(materials["lines"], versions=versions() | {"zstd": "1.0.0"})))
    assert run(file).exit_code == 0
    file.write_bytes(sealed(replace(materials["lines"], versions=versions() | {"statistical": "0"})))
    assert run(file).exit_code == 3


def chained(material: Material, folder: Path, numbers: int) -> list[Path]:
    previous, paths = b"", []
    for number in range(1, numbers + 1):
        link = Link(number, previous, number)
        paths.append(folder / f"{number}.evidence")
        paths[-1].write_bytes(sealed(material, link))
        previous = digest_of(content_of(material, link))
    return paths


def test_a_chain_is_followed_and_breaks_are_named(materials: dict[str, Material], tmp_path: Path) -> None:
    material = materials["silence"]
    paths = chained(material, tmp_path, 4)
    whole = run(paths[2], "--chain", tmp_path)
    assert whole.exit_code == 0, whole.output
    assert "ok   chain: number 3, its predecessor is there; 4 files from 1 to 4, 0 missing between them" in whole.output
    stranger = sealed(material, unpack(paths[3].read_bytes()).link, STRANGER)
    mine = paths[3].read_bytes()
    paths[3].write_bytes(stranger)
    assert run(paths[2], "--chain", tmp_path).exit_code == 0  # whose it is was not asked
    told = run(paths[2], "--chain", tmp_path, "--key", SIGNER.public_key.hex())
    assert told.exit_code == 1
    assert "4.evidence was signed by another key" in told.output
    paths[3].write_bytes(mine)
    paths[1].unlink()
    gap = run(paths[2], "--chain", tmp_path)
    assert gap.exit_code == 0
    assert "number 3, its predecessor is not there; 3 files from 1 to 4, 1 missing between them" in gap.output
    paths[1].write_bytes(sealed(material, Link(2, bytes(32), 2)))
    broken = run(paths[2], "--chain", tmp_path)
    assert broken.exit_code == 1
    assert "FAIL chain: number" in broken.output
    (tmp_path / "twin.evidence").write_bytes(sealed(material, Link(3, bytes(32), 9)))
    paths[1].unlink()
    twice = run(paths[3], "--chain", tmp_path)
    assert twice.exit_code == 1
    assert "both have the number 3" in twice.output
    (tmp_path / "twin.evidence").write_bytes(b"nothing")
    assert "twin.evidence is no evidence" in run(paths[3], "--chain", tmp_path).output
    others = replace(material, tenant_id=material.stream_id)
    (tmp_path / "twin.evidence").write_bytes(sealed(others, Link(3, bytes(32), 9)))
    assert run(paths[3], "--chain", tmp_path).exit_code == 0


def test_wrong_usage_is_told_in_one_line(tmp_path: Path, materials: dict[str, Material]) -> None:
    file = tmp_path / "one.evidence"
    file.write_bytes(sealed(materials["silence"]))
    (tmp_path / "rsa.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for arguments, told in (
        (("nowhere",), "does not exist"),
        ((file, "--key", "nowhere"), "neither 64 hexadecimal digits nor a file"),
        ((file, "--key", tmp_path / "rsa.pem"), "no PEM public key"),
        ((file, "--endpoint", "http://127.0.0.1:1"), "no keys from http://127.0.0.1:1"),
        ((file, "--endpoint", "nonsense"), "no keys from nonsense"),
        ((file, "--chain", tmp_path / "none"), "does not exist"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert told in done.output
        assert "Traceback" not in done.output


def test_the_keys_of_a_server_pin_the_signer(
    materials: dict[str, Material], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "one.evidence"
    file.write_bytes(sealed(materials["silence"]))

    def serving(*keys: bytes) -> Callable[..., httpx.Response]:
        def get(url: str, **_: object) -> httpx.Response:
            assert url == "http://host:8080/v1/evidence-keys"
            body = {"keys": [{"public_key": key.hex()} for key in keys]}
            return httpx.Response(200, json=body, request=httpx.Request("GET", url))

        return get

    monkeypatch.setattr(httpx, "get", serving(STRANGER.public_key, SIGNER.public_key))
    assert run(file, "--endpoint", "http://host:8080/").exit_code == 0
    monkeypatch.setattr(httpx, "get", serving(STRANGER.public_key))
    assert run(file, "--endpoint", "http://host:8080").exit_code == 1
    monkeypatch.setattr(httpx, "get", serving())
    assert run(file, "--endpoint", "http://host:8080").exit_code == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 100, b"driftlock evidence 1\n", b"driftlock evidence 1\n\xff\xff\xff\xff", bytes(FILE_BYTES_MAX + 1)],
    ids=["empty", "zeros", "magic", "garbage", "large"],
)
def test_files_of_anything_are_refused_in_words(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "one.evidence"
    file.write_bytes(data)
    done = run(file)
    assert done.exit_code == 1
    assert "FAIL file" in done.output
    assert isinstance(done.exception, SystemExit)


@HOSTILE
@given(data=st.data())
def test_a_signed_file_may_hold_anything_and_is_answered(materials: dict[str, Material], data: st.DataObject) -> None:
    """Whoever has a key can sign what they like: states and rows that were changed inside are never a crash."""
    material = materials[data.draw(st.sampled_from(["lines", "silence", "numbers", "zstd"]))]
    assert material.base is not None

    def changed(packed: bytes) -> bytes:
        raw = bytearray(zstandard.decompress(packed))
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        return zstandard.compress(bytes(raw))

    if data.draw(st.booleans()):
        hostile = replace(material, base=Checkpoint(material.base.seq, changed(material.base.state)))
    else:
        *rows, last = material.rows
        hostile = replace(material, rows=(*rows, replace(last, body=changed(last.body))))
    done = verify(sealed(hostile), pinned=[])
    assert done.result in (Result.REPRODUCED, Result.DIFFERS, Result.NOT_COMPARABLE)
