"""Who has changed something: what the audit log says of it."""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class ActorKind(StrEnum):
    """What kind of credential acted."""

    KEY = "key"
    USER = "user"
    LOCAL = "local"  # a caller without a key on the machine itself
    COMMAND = "command"  # the operator's command line
    SYSTEM = "system"  # the server by itself, such as the automatic tuning


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `id` is that of the key or the user ("" for the others), `name` how people know it.

    `request_id` and `network` (of the client, /24 or /64) say where it came from; "" where it is nobody's request.
    `claim` is that of a request with an Idempotency-Key, which its change marks as done (`driftlock.storage.audit.note`).
    """

    kind: ActorKind
    id: str = ""
    name: str = ""
    request_id: str = ""
    network: str = ""
    claim: UUID | None = field(default=None, compare=False, repr=False)


SYSTEM = Actor(ActorKind.SYSTEM, name="driftlock")
