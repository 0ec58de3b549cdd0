import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from collector.kafka import link as link_module
from collector.kafka.message import decode
from collector.kafka.partitions import partition_of
from collector.kafka.producer import KafkaIntake, ProducerLimits
from driftlock.engine.ports import Receipt, Submission
from driftlock.errors import InvalidArgument, Unavailable
from tests.collector.kafka.submissions import TENANT, logs
from tests.kafka.broker import Broker

TOPIC, PARTITIONS = "records", 4
SOON_S = 15.0


@dataclass
class Counted:
    """A `ProducerWatch`."""

    delivered_messages: int = 0
    reasons: list[str] = field(default_factory=list)
    replacements: int = 0

    def delivered(self, messages: int) -> None:
        self.delivered_messages += messages

    def failed(self, reason: str, messages: int) -> None:
        self.reasons += [reason] * messages

    def replaced(self) -> None:
        self.replacements += 1


@asynccontextmanager
async def opened(broker: Broker, watch: Counted | None = None, **limits: int) -> AsyncIterator[KafkaIntake]:
    intake = KafkaIntake(
        broker.connection,
        topic=TOPIC,
        partitions=PARTITIONS,
        spread=1,
        client_id="test",
        watch=watch or Counted(),
        limits=ProducerLimits(**{"delivery_timeout_ms": 3000, **limits}),
    )
    async with intake:
        yield intake


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic(TOPIC, PARTITIONS)
    return broker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


async def until_taken(intake: KafkaIntake, submission: Submission) -> Receipt:
    """What a sender does: again and again while it is told to."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                return await intake.submit(submission)
            except Unavailable:
                await asyncio.sleep(0.05)


def consumed(broker: Broker, partition: int, messages: int) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, partition, 0)])
    try:
        found: list[Any] = []
        while len(found) < messages:
            more = consumer.consume(messages - len(found), 5.0)
            assert more, f"{len(found)} messages of {messages}"
            found += more
        return found
    finally:
        consumer.close()


HOME = partition_of(TENANT, logs([b"x"]).batches[0].key, PARTITIONS)


async def test_what_is_acknowledged_is_in_the_partition_of_its_stream(topic: Broker) -> None:
    submission = logs([b"one", b"two"])
    watch = Counted()
    async with opened(topic, watch) as intake:
        assert await intake.submit(submission) == Receipt(seq=0, records=2)
        assert (intake.queued_messages, intake.queued_bytes) == (0, 0)
    [message] = await asyncio.to_thread(consumed, topic, HOME, 1)
    assert decode(message.value(), message.headers()).batches == submission.batches
    assert watch.delivered_messages == 1


async def test_a_large_request_is_several_messages_in_order(topic: Broker) -> None:
    source = random.Random(5)
    lines = [source.randbytes(30_000) for _ in range(100)]
    async with opened(topic) as intake:
        assert (await intake.submit(logs(lines))).records == 100
    messages = await asyncio.to_thread(consumed, topic, HOME, 4)
    assert [line for it in messages for line in decode(it.value(), it.headers()).batches[0].batch.lines()] == lines


async def test_many_requests_at_once(topic: Broker) -> None:
    watch = Counted()
    async with opened(topic, watch) as intake:
        receipts = await asyncio.gather(*(intake.submit(logs([b"%d" % number])) for number in range(300)))
    assert [receipt.records for receipt in receipts] == [1] * 300
    assert watch.delivered_messages == 300


async def test_nothing_to_send_is_a_receipt(topic: Broker) -> None:
    async with opened(topic) as intake:
        assert await intake.submit(logs([])) == Receipt(seq=0, records=0)


async def test_a_broker_that_does_not_answer_is_noticed_and_found_again(topic: Broker) -> None:
    watch = Counted()
    async with opened(topic, watch) as intake:
        await intake.submit(logs([b"before"]))
        topic.pause()
        waiting = [intake.submit(logs([b"%d" % number])) for number in range(3)]
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, Unavailable) and error.retry_after_ms for error in refused)
        assert not intake.up
        with pytest.raises(Unavailable, match="no Kafka broker is there"):
            await intake.submit(logs([b"at once"]))
        with pytest.raises(Unavailable):
            await intake.ping()
        topic.resume()
        await until(lambda: intake.up)
        assert (await intake.submit(logs([b"after"]))).records == 1
        await intake.ping()
    assert "_MSG_TIMED_OUT" in watch.reasons


async def test_a_producer_that_is_spoilt_is_replaced(topic: Broker) -> None:
    """A broker that has forgotten the producer answers with an error that is fatal to it."""
    watch = Counted()
    async with opened(topic, watch) as intake:
        await intake.submit(logs([b"before"]))
        topic.kill()
        await until(lambda: not intake.up)
        topic.start()
        with contextlib.suppress(KafkaException):  # whoever asks for a topic makes it there
            topic.create_topic(TOPIC, PARTITIONS)
        await until(lambda: intake.up)
        assert (await until_taken(intake, logs([b"after"]))).records == 1
        assert watch.replacements >= 1
        assert intake.queued_messages == 0


async def test_requests_that_wait_for_a_spoilt_producer_are_refused(topic: Broker) -> None:
    async with opened(topic, delivery_timeout_ms=60_000) as intake:
        await intake.submit(logs([b"before"]))
        topic.pause()
        waiting = asyncio.ensure_future(intake.submit(logs([b"waits"])))
        await until(lambda: intake.queued_messages == 1)
        link = intake._link
        assert link is not None
        intake._heard(link, link_module.Heard((), None, "_FATAL"))
        with pytest.raises(Unavailable, match="did not take"):
            await waiting
        assert intake._link is not link
        topic.resume()


async def test_what_is_over_the_queue_s_room_is_refused(topic: Broker) -> None:
    async with opened(topic, queue_messages_max=2) as intake:
        topic.pause()
        first = [asyncio.ensure_future(intake.submit(logs([b"%d" % number]))) for number in range(2)]
        await until(lambda: intake.queued_messages == 2)
        with pytest.raises(Unavailable, match="too much waits") as refused:
            await intake.submit(logs([b"third"]))
        assert (refused.value.reason, refused.value.retry_after_ms) == ("overloaded", 1000)
        topic.resume()
        await asyncio.gather(*first, return_exceptions=True)


async def test_the_client_s_own_room_is_no_error_of_the_request(topic: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise BufferError

    async with opened(topic) as intake:
        monkeypatch.setattr(link_module.Link, "send", full)
        with pytest.raises(Unavailable, match="too much waits"):
            await intake.submit(logs([b"x"]))


async def test_a_message_that_is_too_large_names_the_limit(topic: Broker) -> None:
    async with opened(topic, message_bytes_max=2000) as intake:
        with pytest.raises(InvalidArgument, match=r"2000 bytes \(message_bytes_max\)"):
            await intake.submit(logs([random.Random(1).randbytes(3000)]))


async def test_the_broker_s_limit_is_named_too(topic: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise KafkaException(link_module.KafkaError(link_module.KafkaError.MSG_SIZE_TOO_LARGE))

    async with opened(topic) as intake:
        monkeypatch.setattr(link_module.Link, "send", refused)
        with pytest.raises(InvalidArgument, match=r"max\.message\.bytes"):
            await intake.submit(logs([b"x"]))


async def test_leaving_waits_for_what_is_under_way_and_no_longer(topic: Broker) -> None:
    async with opened(topic, drain_timeout_ms=100, delivery_timeout_ms=60_000) as intake:
        await intake.submit(logs([b"before"]))
        topic.pause()
        waiting = asyncio.ensure_future(intake.submit(logs([b"waits"])))
        await until(lambda: intake.queued_messages == 1)
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    with pytest.raises(Unavailable, match="stopping"):
        await intake.submit(logs([b"late"]))


async def test_leaving_lets_what_is_under_way_arrive(topic: Broker) -> None:
    async with opened(topic) as intake:
        waiting = [asyncio.ensure_future(intake.submit(logs([b"%d" % number]))) for number in range(50)]
        await until(lambda: intake.queued_messages > 0)
    receipts = await asyncio.gather(*waiting)
    assert sum(receipt.records for receipt in receipts) == 50


async def test_a_caller_that_is_gone_takes_nothing_back(topic: Broker) -> None:
    watch = Counted()
    async with opened(topic, watch) as intake:
        gone = asyncio.ensure_future(intake.submit(logs([b"x"], tenant=UUID(int=9))))
        await until(lambda: intake.queued_messages == 1 or watch.delivered_messages == 1)
        gone.cancel()
        await asyncio.wait({gone})
    assert watch.delivered_messages == 1
