"""What people may do in a tenant, in the terms of what keys may do."""

from collections.abc import Mapping
from types import MappingProxyType

from driftlock.accounts.keys import Role, Scope

SCOPES: Mapping[Role, frozenset[Scope]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({Scope.READ}),
        Role.MEMBER: frozenset({Scope.READ, Scope.INGEST}),
        Role.OWNER: frozenset(Scope),
    }
)
"""What a role stands for where a key would need a scope."""


def least_role(scope: Scope) -> Role:
    """The lowest role that has a scope.

    >>> least_role(Scope.READ), least_role(Scope.ADMIN)
    (<Role.VIEWER: 'viewer'>, <Role.OWNER: 'owner'>)
    """
    return next(role for role in Role if scope in SCOPES[role])
