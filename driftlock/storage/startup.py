"""The one error of a start that must not go on."""

from driftlock.errors import Internal


class StartupRefused(Internal):
    """Storage can not be used as it is set up; the text is one line that says what to change.

    Raised while starting, migrating or checking, never while serving, so it reaches the operator and not a client.
    """
