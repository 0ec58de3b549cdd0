"""The rules about people: which account is meant, who may go, and when two addresses are one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.accounts.access import require
from driftlock.accounts.invitations import SECRET_BYTES, invitation_digest, mint_invitation
from driftlock.accounts.keys import Principal, Role, Scope, parse
from driftlock.accounts.people import (
    EMAIL_BYTES_MAX,
    NOBODY,
    Identity,
    Membership,
    Person,
    check_email,
    check_fresh,
    check_invited,
    check_owner_left,
    check_verified,
    folded_email,
    may_remove,
    principal_of,
)
from driftlock.accounts.roles import SCOPES, least_role
from driftlock.errors import Conflict, DriftlockError, EmailUnverified, InvalidArgument, NotFound, PermissionDenied, SignInAgain

ADA = Identity("https://example.com", "ada", "ada@example.com", True, "Ada", 1000)
USER = UUID(int=9)
SINCE = datetime(2027, 1, 1, tzinfo=UTC)
ROLES = st.sampled_from(Role)


def membership(number: int, role: Role = Role.OWNER) -> Membership:
    return Membership(UUID(int=number), f"account {number}", "free", role, SINCE)


def test_the_only_account_needs_no_name() -> None:
    person = Person(USER, (membership(1, Role.MEMBER),))
    expected = Principal(UUID(int=1), SCOPES[Role.MEMBER], user_id=USER, role=Role.MEMBER, name="ada@example.com")
    assert principal_of(ADA, person, None) == principal_of(ADA, person, UUID(int=1)) == expected


def test_of_several_accounts_one_has_to_be_named() -> None:
    person = Person(USER, (membership(1), membership(2, Role.VIEWER)))
    with pytest.raises(InvalidArgument) as refused:
        principal_of(ADA, person, None)
    assert all(f"{it.tenant_id} ({it.tenant_name})" in refused.value.message for it in person.memberships)
    assert principal_of(ADA, person, UUID(int=2)).role is Role.VIEWER


@pytest.mark.parametrize("person", [NOBODY, Person(USER), Person(USER, (membership(1),))], ids=["unknown", "left", "member"])
def test_a_foreign_account_is_not_found(person: Person) -> None:
    with pytest.raises(NotFound):
        principal_of(ADA, person, UUID(int=3))


@pytest.mark.parametrize("person", [NOBODY, Person(USER)], ids=["unknown", "left"])
def test_somebody_in_no_account_is_told_how_to_get_one(person: Person) -> None:
    with pytest.raises(PermissionDenied, match="signup"):
        principal_of(ADA, person, None)


@given(ROLES, st.sampled_from(Scope), st.none() | ROLES)
def test_a_role_may_what_its_scopes_and_the_roles_below_may(role: Role, scope: Scope, least: Role | None) -> None:
    principal = principal_of(ADA, Person(USER, (membership(1, role),)), None)
    try:
        require(principal, scope, least)
        allowed = True
    except PermissionDenied:
        allowed = False
    order = list(Role)
    assert allowed == (order.index(role) >= order.index(least or least_role(scope)))
    assert not allowed or least is not None or scope in principal.scopes


@given(st.sets(st.uuids(), max_size=4), st.uuids())
def test_an_account_keeps_an_owner(owners: set[UUID], leaving: UUID) -> None:
    for each in (leaving, *owners):
        left = owners - {each}
        try:
            check_owner_left(owners, each)
            assert left or each not in owners
        except Conflict:
            assert not left
            assert each in owners


@given(st.none() | ROLES, st.booleans())
def test_owners_remove_anybody_and_others_themselves(role: Role | None, own: bool) -> None:
    principal = Principal(UUID(int=1), frozenset(), user_id=None if role is None else USER, role=role)
    other = USER if own else UUID(int=10)
    assert may_remove(principal, other) == (role is Role.OWNER or (role is not None and own))


@given(st.text(), st.text())
def test_folding_makes_no_two_mailboxes_one(left: str, right: str) -> None:
    assert folded_email(folded_email(left)) == folded_email(left)
    if folded_email(left) == folded_email(right):  # then they differ in the case of ASCII letters at most
        assert len(left) == len(right)
        assert all(a == b or (a.isascii() and b.isascii() and a.lower() == b.lower()) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    "text", ["\u212aay@example.com", "stra\u00dfe@example.com", "\ufb01@example.com", "\u0130@example.com"]
)
def test_letters_that_other_foldings_confuse_stay_apart(text: str) -> None:
    for confused in (text.lower(), text.casefold(), text.upper().lower()):
        assert confused == text or folded_email(text) != folded_email(confused)


@pytest.mark.parametrize(
    "text", ["", "ada", "@example.com", "ada@", "a b@example.com", "a@b@c", "ada@.com", "a\n@b.c", "\u200b@b.c"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="e-mail"):
        check_email(text)


def test_limits_of_an_address() -> None:
    longest = "a" * 64 + "@" + "b" * (EMAIL_BYTES_MAX - 65)
    assert check_email(longest) == longest
    assert check_email("Ada@Example.com") == "ada@example.com"
    for wrong in (longest + "b", "a" * 65 + "@b.c", "é" * 64 + "@" + "b" * (EMAIL_BYTES_MAX - 128)):
        with pytest.raises(ValueError, match=str(EMAIL_BYTES_MAX)):
            check_email(wrong)


def refusal(identity: Identity, email: str) -> type[DriftlockError] | None:
    try:
        check_invited(identity, email)
    except DriftlockError as error:
        return type(error)
    return None


def test_an_invitation_is_for_who_has_the_address_and_has_verified_it() -> None:
    assert refusal(ADA, "ada@example.com") is None
    assert refusal(Identity("i", "s", "ADA@example.com", True, "", 0), "ada@example.com") is None
    assert refusal(ADA, "eve@example.com") is PermissionDenied
    assert refusal(Identity("i", "s", "ada@example.com", False, "", 0), "ada@example.com") is EmailUnverified
    assert refusal(Identity("i", "s", "", True, "", 0), "") is EmailUnverified
    with pytest.raises(EmailUnverified):
        check_verified(Identity("i", "s", "ada@example.com", False, "", 0))


def test_a_sign_in_is_fresh_for_so_long() -> None:
    check_fresh(ADA, 1000 + 3600, 3600)
    with pytest.raises(SignInAgain, match="60 minutes"):
        check_fresh(ADA, 1001 + 3600, 3600)


@given(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), st.integers(0, 50), st.characters(codec="ascii"))
def test_a_token_of_an_invitation_is_found_again_and_a_typing_error_is_not(raw: bytes, place: int, letter: str) -> None:
    minted = mint_invitation(raw)
    assert invitation_digest(minted.text) == minted.digest
    assert minted.text not in repr(minted)
    assert parse(minted.text) is None
    changed = minted.text[:place] + letter + minted.text[place + 1 :]
    assert invitation_digest(changed) in ((minted.digest,) if changed == minted.text else (None,))


@pytest.mark.parametrize("size", [0, SECRET_BYTES - 1, SECRET_BYTES + 1])
def test_an_invitation_needs_all_its_randomness(size: int) -> None:
    with pytest.raises(ValueError, match="20 random bytes"):
        mint_invitation(bytes(size))
