"""What accounts are called: their people call theirs as they like, and the operator's name of each is one of its own.

Were a name refused because another account has it, everybody could try out who is a customer. So a name that is taken already
is stored with the account's own id behind it, which is not shown to its people: `Acme #0190f3b2c1d07c3a9f5e6b7a8c9d0e1f`.
"""

from uuid import UUID

from driftlock.errors import Conflict, InvalidArgument
from driftlock.storage.tenants import LOCAL, NAME_BYTES_MAX, check_name

ACCOUNT_NAME_BYTES_MAX = NAME_BYTES_MAX - 2 - 32
"""Longest name that people may give: there is room for an id behind it."""


def check_account_name(name: str) -> None:
    """Raises `InvalidArgument` for what can not be an account's name, `Conflict` for the one that is the data folder's."""
    check_name(name)
    if len(name.encode()) > ACCOUNT_NAME_BYTES_MAX:
        raise InvalidArgument(f"an account's name has 1 to {ACCOUNT_NAME_BYTES_MAX} bytes, all printable", pointer="/name")
    if name == LOCAL:
        raise Conflict(f"the name {LOCAL!r} belongs to the account of the data folder: choose another", pointer="/name")


def distinct_name(name: str, tenant_id: UUID) -> str:
    """The name as it is stored where another account has it.

    >>> distinct_name("Acme", UUID(int=1))
    'Acme #00000000000000000000000000000001'
    """
    return f"{name} #{tenant_id.hex}"


def shown_name(stored: str, tenant_id: UUID) -> str:
    """The name as its people gave it.

    >>> shown_name("Acme #00000000000000000000000000000001", UUID(int=1))
    'Acme'
    """
    return stored.removesuffix(f" #{tenant_id.hex}") or stored
