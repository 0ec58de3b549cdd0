"""Between the doors of a gateway and Kafka: nothing goes into a topic before it is known to be the one that is meant."""

import asyncio
from collections.abc import Callable
from typing import Never

from structlog.typing import FilteringBoundLogger

from collector.kafka.producer import KafkaIntake
from collector.kafka.topics import NoBroker, TopicRefused
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import Unavailable
from driftlock.storage.startup import StartupRefused

RETRY_AFTER_MS = 1000
PAUSE_S = 0.5


class TopicGate:
    """Implements `driftlock.engine.ports.Intake`: refuses, retryably, until a broker was there to say what the topic is.

    A gateway that starts before its brokers is therefore there and not ready, as one whose brokers go away is.
    """

    def __init__(self, intake: KafkaIntake, ensure: Callable[[], object], log: FilteringBoundLogger) -> None:
        """`ensure` makes the topic or finds it; it blocks. Of the `TopicRefused` that it raises, `NoBroker` is tried again."""
        self._intake, self._ensure, self._log = intake, ensure, log
        self._known = False

    async def look(self) -> bool:
        """Ask once; whether a broker has answered. Raises `StartupRefused` for a topic that can not be used."""
        try:
            await asyncio.to_thread(self._ensure)
        except NoBroker:
            return False
        except TopicRefused as error:
            raise StartupRefused(str(error)) from None
        self._known = True
        return True

    async def watch(self) -> Never:
        """Ask until a broker has answered, then nothing more; never returns. Raises `StartupRefused`."""
        if not self._known:
            self._log.warning("no Kafka broker is there: records are refused, retryably, until one answers")
            while not await self.look():  # noqa: ASYNC110  # brokers tell nobody that they are there
                await asyncio.sleep(PAUSE_S)
            self._log.warning("Kafka answers; the topic is there")
        await asyncio.Event().wait()
        raise AssertionError("unreachable: nobody sets it")

    @property
    def up(self) -> bool:
        """Whether a broker is there, as far as is known."""
        return self._known and self._intake.up

    async def ping(self) -> None:
        """Raise `Unavailable` while nothing is taken."""
        self._admit()
        await self._intake.ping()

    async def submit(self, submission: Submission) -> Receipt:
        """See `KafkaIntake`."""
        self._admit()
        return await self._intake.submit(submission)

    def _admit(self) -> None:
        if not self._known:
            raise Unavailable("no Kafka broker is there; retry", retry_after_ms=RETRY_AFTER_MS)
