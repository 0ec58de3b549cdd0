"""`driftlock dead-letters`: messages that workers could not journal."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from driftlock.storage.dead_letters import DEAD, DeadLetters, StoredDeadLetter
from driftlock.storage.pool import Database
from driftlock.storage.spread import read_spread
from server.cli.options import load_settings
from server.cli.quarantine import run_on_database
from server.dead_letters import NOT_KEPT, resendable
from server.settings import Settings
from server.terminal import visible

if TYPE_CHECKING:
    from collector.kafka.resending import Resending

PAGE_ROWS = 200
Places = tuple[int, int]
"""How many partitions there are, and over how many of them a tenant's streams lie."""


@click.group("dead-letters")
def dead_letters() -> None:
    """Messages that workers could not journal, and bridges not read, kept for 30 days."""


@dead_letters.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were sent again, too.")
def dead_letters_list(*, everything: bool) -> None:
    """List them, newest first: id, state, place in Kafka, bytes, whose, when, why, and what keeps one from being sent again."""
    settings = load_settings()

    async def work(database: Database) -> None:
        letters, places = DeadLetters(database), await _places(database, settings)
        async for found in _pages(letters, None if everything else DEAD):
            obstacle = await _obstacle(letters, settings.kafka_topic, found, places) if found.state == DEAD else ""
            click.echo(_line(found) + obstacle)

    run_on_database(work)


@dead_letters.command("retry")
@click.argument("ids", nargs=-1, type=click.UUID)
@click.option("--all", "everything", is_flag=True, help="All that were not sent again yet.")
def dead_letters_retry(ids: Sequence[UUID], *, everything: bool) -> None:
    """Send the messages with these IDS to the partition of their stream; one that would come back stays, and is told why.

    Of one whose tenant was not there nothing is kept: it is read from Kafka again, as long as that holds it.
    """
    if bool(ids) == everything:
        raise click.UsageError("name ids, or use --all")
    if importlib.util.find_spec("confluent_kafka") is None:
        raise click.ClickException("the Kafka client is not installed: pip install 'driftlock[kafka]'")
    settings = load_settings()

    async def work(database: Database) -> int:
        letters = DeadLetters(database)
        found = [it async for it in _pages(letters, DEAD)] if everything else [await _get(letters, it) for it in ids]
        resending, places, stayed = _resending(settings), await _places(database, settings), 0
        for letter in reversed(found):
            why = _foreign(settings.kafka_topic, letter) or await _send(letters, resending, letter, places)
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


async def _places(database: Database, settings: Settings) -> Places:
    return settings.kafka_partitions, await read_spread(database) or settings.kafka_tenant_spread


def _foreign(topic: str, found: StoredDeadLetter) -> str | None:
    """Why a message that a bridge has read is not sent again: in our topic it would be none of ours."""
    if found.letter.topic == topic:
        return None
    return f"{found.letter.topic} is not DRIFTLOCK_KAFKA_TOPIC: its producer sends it again"


async def _obstacle(letters: DeadLetters, topic: str, found: StoredDeadLetter, places: Places) -> str:
    """What a line of the list ends with."""
    if (foreign := _foreign(topic, found)) is not None:
        return f" [stays: {visible(foreign)}]"
    if not found.whole:
        return f" [{NOT_KEPT}: retry looks for it in Kafka]"
    letter = found.letter
    sendable = await resendable(letters, letter.body, letter.headers, *places)
    return f" [stays: {visible(sendable)}]" if isinstance(sendable, str) else ""


async def _send(letters: DeadLetters, resending: "Resending", found: StoredDeadLetter, places: Places) -> str | None:
    """Why it was not sent again; None: the brokers have it."""
    letter = found.letter
    key, value, headers = letter.key, letter.body, letter.headers
    if not found.whole:
        read = await asyncio.to_thread(resending.read, letter.topic, letter.partition, letter.offset)
        if read is None:
            return f"{NOT_KEPT}, and Kafka does not hold it any more"
        key, value, headers = read
        if len(value or b"") != found.body_bytes:
            return f"{NOT_KEPT}, and another message is in its place by now"
    sendable = await resendable(letters, value, headers, *places)
    if isinstance(sendable, str):
        return sendable
    return await asyncio.to_thread(resending.send, letter.topic, sendable.partition, key, value or b"", headers)
