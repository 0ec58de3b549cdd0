"""A server that breaks one promise on purpose, to see that the checkers notice: python -m tests.chaos.ablated WHAT serve."""

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import replace

from driftlock.engine.ports import Receipt, Submission
from driftlock.storage.journal import Journal
from driftlock.storage.shard import Shard
from server import ownership
from server.cli import main
from tests.chaos.cluster import Cluster

FUNCTIONS = """
select p.oid::regprocedure::text as name, pg_get_functiondef(p.oid) as text
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'driftlock' and p.prokind = 'f' and pg_get_functiondef(p.oid) ~ 'epoch'
"""


def ack_before_commit() -> None:
    """Say OK as soon as a request is queued."""
    submit = Journal.submit
    running: set[asyncio.Task[Receipt]] = set()

    async def hasty(self: Journal, submission: Submission) -> Receipt:
        if submission.request_hash is None:  # a request of ours about a stream, which needs its answer
            return await submit(self, submission)
        task = asyncio.create_task(submit(self, submission))
        running.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.add_done_callback(running.discard)
        await asyncio.sleep(0)
        return Receipt(seq=0, records=submission.records)

    Journal.submit = hasty  # type: ignore[method-assign]


def no_dedup() -> None:
    """Forget what was journaled already."""
    submit = Journal.submit

    async def forgetful(self: Journal, submission: Submission) -> Receipt:
        return await submit(self, replace(submission, request_hash=None))

    Journal.submit = forgetful  # type: ignore[method-assign]


def no_fence() -> None:
    """Do not look who owns the journal; what the database asks is taken out by `drop_fence`."""

    async def blind(*_: object) -> None:
        return

    Shard.verify = blind  # type: ignore[method-assign]
    ownership.check_not_replaced = blind


ABLATIONS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "no-dedup": no_dedup,
    "no-fence": no_fence,
}


def drop_fence(cluster: Cluster) -> int:
    """Let the database take anything from an owner of the past; the number of functions that ask no more."""
    changed = 0
    for row in cluster.query(FUNCTIONS):
        text = re.sub(r"\b\w+\.epoch <> p_epoch\b", "false", row["text"])
        text = re.sub(r"\b\w+\.epoch = p_epoch\b", "true", text)
        if text != row["text"]:
            cluster.query(text)
            changed += 1
    return changed


if __name__ == "__main__":
    ABLATIONS[sys.argv[1]]()
    main(args=sys.argv[2:], prog_name="driftlock")
