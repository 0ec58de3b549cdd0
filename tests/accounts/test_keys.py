"""API keys: recognisable, checkable without a database, never stored."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.accounts.keys import (
    KEY_CHARS_MAX,
    RANDOMNESS_BYTES,
    SECRET_BYTES,
    KeyKind,
    KeyRecord,
    Scope,
    digest,
    matches,
    mint,
    parse,
)

randomness = st.binary(min_size=RANDOMNESS_BYTES, max_size=RANDOMNESS_BYTES)


@given(st.sampled_from(KeyKind), randomness)
def test_a_minted_key_is_well_formed_and_names_its_id(kind: KeyKind, raw: bytes) -> None:
    minted = mint(kind, raw)
    assert parse(minted.text) == minted.key_id
    assert minted.text.startswith(f"dl_{kind}_{minted.key_id}_")
    assert len(minted.key_id) == 16
    assert len(minted.text) <= KEY_CHARS_MAX
    assert minted.digest == digest(minted.text)


@given(randomness, randomness)
def test_different_randomness_gives_different_keys(one: bytes, other: bytes) -> None:
    assert (mint(KeyKind.LIVE, one).text == mint(KeyKind.LIVE, other).text) == (one == other)


@given(randomness, st.data())
def test_any_changed_character_is_noticed_without_a_lookup(raw: bytes, data: st.DataObject) -> None:
    text = mint(KeyKind.LIVE, raw).text
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[index]))
    assert parse(text[:index] + other + text[index + 1 :]) is None


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert parse(text) is None


def test_a_key_with_a_tail_is_no_key() -> None:
    text = mint(KeyKind.LIVE, bytes(RANDOMNESS_BYTES)).text
    for wrong in (f"{text}\n", f" {text}", text.upper(), text + "0" * KEY_CHARS_MAX, "x" * (1 << 20)):
        assert parse(wrong) is None


@pytest.mark.parametrize("size", [0, RANDOMNESS_BYTES - 1, RANDOMNESS_BYTES + 1])
def test_a_key_needs_its_randomness(size: int) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        mint(KeyKind.LIVE, bytes(size))


def test_a_secret_has_at_least_128_bits() -> None:
    assert SECRET_BYTES * 8 >= 128


def test_secrets_do_not_show() -> None:
    minted = mint(KeyKind.LIVE, bytes(range(RANDOMNESS_BYTES)))
    secret = minted.text.split("_")[3]
    record = KeyRecord(minted.key_id, UUID(int=1), minted.digest, frozenset(Scope))
    assert secret not in repr(minted) + repr(record)
    assert repr(minted.digest) not in repr(minted) + repr(record)


def test_only_the_very_key_matches() -> None:
    minted, other = mint(KeyKind.LIVE, bytes(30)), mint(KeyKind.LIVE, bytes(29) + b"\x01")
    record = KeyRecord(minted.key_id, UUID(int=1), minted.digest, frozenset(Scope))
    assert other.key_id == minted.key_id
    assert matches(record, minted.text)
    assert not matches(record, other.text)
    assert not matches(record, "\ud800")
