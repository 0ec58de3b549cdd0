"""`driftlock dead-letters`: messages that workers could not journal."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from driftlock.storage.dead_letters import DEAD, DeadLetters, StoredDeadLetter
from driftlock.storage.pool import Database
from server.cli.options import load_settings
from server.cli.quarantine import run_on_database
from server.settings import Settings
from server.terminal import visible

if TYPE_CHECKING:
    from collector.kafka.resending import Resending

PAGE_ROWS = 200


@click.group("dead-letters")
def dead_letters() -> None:
    """Messages that workers could not journal, and bridges not read, kept for 30 days."""


@dead_letters.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were sent again, too.")
def dead_letters_list(*, everything: bool) -> None:
    """List them, newest first: id, state, place in Kafka, bytes, whose, when, and why."""

    async def work(database: Database) -> None:
        async for found in _pages(DeadLetters(database), None if everything else DEAD):
            click.echo(_line(found))

    run_on_database(work)


@dead_letters.command("retry")
@click.argument("ids", nargs=-1, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="All that were not sent again yet.")
def dead_letters_retry(ids: Sequence[UUID], *, everything: bool) -> None:
    """Send the messages with these IDS to their partition again; one that can not be read stays, and is told why."""
    if bool(ids) == everything:
        raise click.UsageError("name ids, or use --all")
    if importlib.util.find_spec("confluent_kafka") is None:
        raise click.ClickException("the Kafka client is not installed: pip install 'driftlock[kafka]'")
    settings = load_settings()

    async def work(database: Database) -> int:
        letters = DeadLetters(database)
        found = [it async for it in _pages(letters, DEAD)] if everything else [await _get(letters, it) for it in ids]
        resending, stayed = _resending(settings), 0
        for letter in reversed(found):
            why = await asyncio.to_thread(_send, resending, letter)
            if why is None:
                await letters.retried([letter.letter_id])
            stayed += why is not None
            click.echo(f"{letter.letter_id} " + ("sent again" if why is None else f"stays: {visible(why)}"))
        return stayed

    if stayed := run_on_database(work):
        raise click.ClickException(f"{stayed} not sent again")


async def _pages(letters: DeadLetters, state: str | None) -> AsyncIterator[StoredDeadLetter]:
    before: UUID | None = None
    while page := await letters.list(limit=PAGE_ROWS, before=before, state=state):
        for found in page:
            yield found
        before = page[-1].letter_id


async def _get(letters: DeadLetters, letter_id: UUID) -> StoredDeadLetter:
    found = await letters.get(letter_id)
    if found is None:
        raise click.ClickException(f"there is no dead letter {letter_id}; see: driftlock dead-letters list")
    return found


def _line(found: StoredDeadLetter) -> str:
    letter = found.letter
    whose = letter.tenant_id or "-"
    place = f"{visible(letter.topic)}/{letter.partition}@{letter.offset}"
    return (
        f"{found.letter_id} {found.state} {place} {found.body_bytes} bytes {whose} {found.at:%Y-%m-%dT%H:%M:%SZ}: "
        + visible(letter.reason)
    )


def _resending(settings: Settings) -> "Resending":
    from collector.kafka.resending import Resending  # an optional dependency

    if settings.kafka is None:
        raise click.ClickException("DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set: set it to the brokers of the workers")
    return Resending(settings.kafka, "driftlock-dead-letters")


def _send(resending: "Resending", found: StoredDeadLetter) -> str | None:
    letter = found.letter
    if not found.whole:
        return "it is not kept as it came"
    return resending.send(letter.topic, letter.partition, letter.key, letter.body or b"", letter.headers)
