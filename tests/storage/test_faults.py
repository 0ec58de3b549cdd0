"""Every error of the database has a meaning of ours, and none of its words get out."""

import asyncpg
import pytest
from asyncpg import exceptions

from driftlock.errors import Conflict, DriftlockError, Internal, InvalidArgument, NotFound, Unavailable
from driftlock.storage.faults import is_poison, translate

SECRET = "s3cret row contents"
ALL = sorted(
    {
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, asyncpg.PostgresError) and value.sqlstate
    },
    key=lambda value: value.__name__,
)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_translated_and_keeps_its_words(kind: type[asyncpg.PostgresError]) -> None:
    translated = translate(kind(SECRET))
    assert isinstance(translated, DriftlockError)
    assert SECRET not in str(translated)
    assert isinstance(translated, Unavailable) == (translated.retry_after_ms is not None)


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("08003", Unavailable),
        ("08006", Unavailable),
        ("25006", Unavailable),
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("53100", Unavailable),
        ("53300", Unavailable),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("57P03", Unavailable),
        ("58030", Unavailable),
        ("28P01", Unavailable),
        ("3D000", Unavailable),
        ("ZD001", Conflict),
        ("ZD002", Unavailable),
        ("ZD003", Internal),
        ("ZD404", NotFound),
        ("22021", InvalidArgument),
        ("22P02", InvalidArgument),
        ("22P05", InvalidArgument),
        ("23502", Internal),
        ("23503", NotFound),
        ("23505", Conflict),
        ("23514", InvalidArgument),
        ("54000", InvalidArgument),
        ("54001", InvalidArgument),
        ("42501", Internal),
        ("42P01", Internal),
        ("XX001", Internal),
        ("0A000", Internal),
    ],
)
def test_meanings(sqlstate: str, expected: type[DriftlockError]) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": SECRET})
    assert type(translate(error)) is expected
    assert is_poison(error) == (sqlstate[:2] in {"22", "23", "54"})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, SECRET),
        ConnectionResetError(),
        TimeoutError(),
        OSError(SECRET),
        asyncpg.InterfaceError(SECRET),
        asyncpg.InternalClientError(SECRET),
        asyncpg.ConnectionDoesNotExistError(SECRET),
    ],
)
def test_a_lost_connection_is_unavailable(error: Exception) -> None:
    translated = translate(error)
    assert isinstance(translated, Unavailable)
    assert SECRET not in str(translated)
    assert not is_poison(error)


def test_what_the_driver_can_not_encode_is_poison() -> None:
    error = exceptions._base.DataError(SECRET)
    assert is_poison(error)
    assert isinstance(translate(error), InvalidArgument)


def test_our_own_errors_pass_and_foreign_ones_are_not_ours() -> None:
    own = NotFound("x")
    assert translate(own) is own
    assert translate(KeyError("x")) is None
    assert translate(ValueError("x")) is None
