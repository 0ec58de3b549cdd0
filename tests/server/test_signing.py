"""The key that signs evidence: where it comes from, who can read it, and what is refused."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from driftlock.storage.startup import StartupRefused
from server.settings import Settings, parse_settings
from server.signing import Signer, is_signed, key_id_of, open_signer, read_public

URL = "postgresql://somebody@db/driftlock"


def settings_of(folder: Path, **variables: str) -> Settings:
    return parse_settings({"DRIFTLOCK_DATA_DIR": str(folder), **variables})


def opened(settings: Settings) -> Signer:
    signer = open_signer(settings)
    assert signer is not None
    return signer


def private_pem(key: Ed25519PrivateKey | ed448.Ed448PrivateKey, locked: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked or NoEncryption())


def test_the_key_of_the_data_folder_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    first = opened(settings_of(tmp_path))
    file = tmp_path / "evidence-key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert opened(settings_of(tmp_path)).public_key == first.public_key
    file.unlink()
    assert opened(settings_of(tmp_path)).public_key != first.public_key


def test_a_key_of_the_operators_own_is_used_and_none_is_made(tmp_path: Path) -> None:
    key, file = Ed25519PrivateKey.generate(), tmp_path / "own.pem"
    file.write_bytes(private_pem(key))
    signer = opened(settings_of(tmp_path / "data", DRIFTLOCK_EVIDENCE_KEY_FILE=str(file), DATABASE_URL=URL))
    assert signer.public_key == key.public_key().public_bytes_raw()
    assert not (tmp_path / "data").exists()


def test_with_another_database_nothing_is_signed_without_a_key(tmp_path: Path) -> None:
    assert open_signer(settings_of(tmp_path, DATABASE_URL=URL)) is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_ed25519_key_stops_the_start_in_words(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    settings = settings_of(tmp_path, DRIFTLOCK_EVIDENCE_KEY_FILE=str(file))
    with pytest.raises(StartupRefused, match="can not be read"):
        open_signer(settings)
    locked = private_pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    for content, told in (
        (b"", "no unencrypted PEM"),
        (locked, "no unencrypted PEM"),
        (private_pem(ed448.Ed448PrivateKey.generate()), "not an Ed25519 one"),
    ):
        file.write_bytes(content)
        with pytest.raises(StartupRefused, match=told) as refused:
            open_signer(settings)
        assert "openssl genpkey" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_signature_is_of_one_content_and_one_key() -> None:
    # Key and message as in RFC 8032, section 7.1, test 1, but for our own prefix: the key's derivation is the standard's.
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    signer = Signer(key)
    assert signer.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = signer.sign(b"content")
    assert signer.sign(b"content") == signature
    assert is_signed(b"content", signer.public_key, signature)
    assert not is_signed(b"contents", signer.public_key, signature)
    assert not is_signed(b"content", bytes(32), signature)
    assert not is_signed(b"content", b"short", signature)
    assert repr(signer) == "Signer()"
    assert len(signer.key_id) == 16
    assert signer.key_id == key_id_of(signer.public_key)


def test_public_keys_are_named_by_digits_or_by_file(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key()
    file = tmp_path / "public.pem"
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert read_public(str(file)) == read_public(key.public_bytes_raw().hex()) == key.public_bytes_raw()
    file.write_bytes(
        ed448.Ed448PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ValueError, match="not an Ed25519 one"):
        read_public(str(file))
    with pytest.raises(ValueError, match="neither 64 hexadecimal digits nor a file"):
        read_public("f" * 63 + "g")
