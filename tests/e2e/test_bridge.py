"""`driftlock bridge`: what others have put into Kafka, handed over once, by real processes over a real broker and database."""

import asyncio
import importlib.util
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector.otlp_requests import log, logs, spans
from tests.conftest import Urls
from tests.e2e.harness import START_S, environment, free_port, listens, wait_for
from tests.e2e.test_exporters import EVERYTHING, emit, grpc_exporters
from tests.e2e.test_worker import Entrance
from tests.kafka.broker import broker
from tests.kafka.workers import BATCH, FIRST_NS, Outcome, Site, WorkerProcess, site, template, tenant, tenant_id

__all__ = ["broker", "site", "template"]
pytestmark = pytest.mark.e2e
LINES, PARTITIONS = 3000, 4
STREAMS = """
select s.service, s.namespace, s.environment, t.events from driftlock.streams s
  join driftlock.stream_status t on t.stream_id = s.id where s.service <> '_traces' order by 1, 2, 3
"""


class BridgeProcess(WorkerProcess):
    """`driftlock bridge`."""

    command = "bridge"


def bridge(site: Site, urls: Urls, topic: str, *sources: dict[str, Any], **variables: str) -> BridgeProcess:
    """A bridge that was not started; all sources are of `tenant-0`."""
    told = json.dumps([{"tenant": str(tenant_id(0)), **source} for source in sources])
    output = site.home / f"bridge-{next(site.numbers)}.out"
    made = BridgeProcess(output, urls, site.broker, topic, 1, **{"DRIFTLOCK_KAFKA_SOURCES": told, **variables})
    site.made.append(made)
    return made


def put(site: Site, topic: str, values: Sequence[bytes], partition: int = 0, headers: Sequence[tuple[str, bytes]] = ()) -> None:
    producer = Producer({"bootstrap.servers": site.broker.address})
    for value in values:
        producer.produce(topic, value, None, partition, headers=list(headers))
    assert producer.flush(START_S) == 0


async def test_messages_of_each_format_become_records_of_their_streams(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    await tenant(urls, 0)
    made = {name: site.topic(1) for name in ("json", "text", "otlp")}
    orders = [
        {"kubernetes": {"labels": {"app": app}}, "at": f"2023-11-14T22:13:{at:02}Z", "msg": f"order {at}"}
        for at in range(30)
        for app in ("cart", "till")
    ]
    put(site, made["json"], [json.dumps(order).encode() for order in orders])
    put(site, made["json"], [b"{}"], headers=[("stream", b"by-header")])
    put(site, made["text"], [b"a line\n"] * 20)
    request = logs(*(log(f"order {at}", FIRST_NS + at) for at in range(10)), resource={"service.name": "shop"})
    put(site, made["otlp"], [MessageToJson(request, use_integers_for_enums=True).encode()])
    running = bridge(
        site,
        urls,
        topic,
        {
            "topic": made["json"],
            "format": "json",
            "service": "rest",
            "stream_id_field": "kubernetes.labels.app",
            "stream_id_header": "stream",
            "timestamp_field": "at",
            "message_field": "msg",
        },
        {"topic": made["text"], "format": "text", "service": "lines", "namespace": "old", "environment": "prod"},
        {"topic": made["otlp"], "format": "otlp_json", "signal": "logs"},
    )
    running.start()
    site.worker(urls, topic, 1).start(wait=False)
    outcome = Outcome(urls)
    found = await outcome.until("all is scored", scored=91, behind=0)
    assert (found["journaled"], found["metered"], found["dead"]) == (91, 91, 0)
    assert await outcome.ask(STREAMS) == [
        ("by-header", "", "", 1),
        ("cart", "", "", 30),
        ("lines", "old", "prod", 20),
        ("shop", "", "", 10),
        ("till", "", "", 30),
    ]
    wait_for("nothing to be left", lambda: lag(running, made["json"], 0) == 0)
    counted = f'driftlock_bridge_records_total{{partition="0",topic="{made["json"]}"}}'
    wait_for("its records to be counted", lambda: running.metrics().get(counted) == 61)
    assert running.stop() == 0


def lag(running: BridgeProcess, topic: str, partition: int) -> float | None:
    return running.metrics().get(f'driftlock_bridge_lag_messages{{partition="{partition}",topic="{topic}"}}')


async def test_a_bridge_that_is_killed_again_and_again_loses_and_doubles_nothing(site: Site) -> None:
    urls, topic, foreign = await site.database(), site.topic(1), site.topic(PARTITIONS)
    await tenant(urls, 0)
    source = {"topic": foreign, "format": "json", "service": "rest", "stream_id_field": "app"}
    site.worker(urls, topic, 1).start(wait=False)
    outcome, sent = Outcome(urls), 0
    for _ in range(2):
        for partition in range(PARTITIONS):
            these = [json.dumps({"app": f"app-{at % 3}", "text": f"{partition}/{sent + at}"}).encode() for at in range(LINES)]
            put(site, foreign, these, partition)
        sent += LINES
        running = bridge(site, urls, topic, source)
        running.start(wait=False)
        before = (await outcome.counts())["offsets"]
        await outcome.beyond("it to be in the middle of it", offsets=before)
        running.kill()
    bridge(site, urls, topic, source).start(wait=False)
    total = PARTITIONS * sent
    found = await outcome.until("all is scored", scored=total, behind=0)
    assert (found["journaled"], found["metered"], found["dead"]) == (total, total, 0)


async def test_spans_of_a_service_over_four_partitions_are_scored_as_through_a_gateway(site: Site, tmp_path: Path) -> None:
    found = []
    requests = [traces(number) for number in range(TRACES // BATCH)]
    for way in ("gateway", "bridge"):
        urls, topic, foreign = await site.database(), site.topic(1), site.topic(PARTITIONS)
        await tenant(urls, 0)
        worker = site.worker(urls, topic, 1)
        worker.start(wait=False)
        outcome = Outcome(urls)
        if way == "gateway":
            kafka = {"KAFKA_BOOTSTRAP_SERVERS": site.broker.address, "KAFKA_TOPIC": topic, "KAFKA_PARTITIONS": "1"}
            named = {f"DRIFTLOCK_{name}": value for name, value in kafka.items()}
            entrance = Entrance(tmp_path / way, way, DATABASE_URL=urls.app, **named)
            entrance.start()
            entrance.post(requests, "traces")
            entrance.close()
        else:
            running = bridge(site, urls, topic, {"topic": foreign, "signal": "traces"})
            running.start()
            for number, request in enumerate(requests):  # one after another, as they were sent
                put(site, foreign, [request], number % PARTITIONS)
                await outcome.until("it is journaled", metered=SPANS * BATCH * (number + 1))
        counts = await outcome.until("all is scored", metered=SPANS * TRACES, behind=0)
        assert counts["dead"] == 0
        found.append(await outcome.findings())
    assert found[0]
    assert found[0] == found[1]


SPANS, TRACES = 2, 1500


def traces(number: int) -> bytes:
    """A request with traces of one service; from two thirds on it does something that it never did."""
    made = []
    for at in range(number * BATCH, (number + 1) * BATCH):
        name = "refund" if TRACES * 2 // 3 <= at < TRACES * 2 // 3 + 60 else f"step {at % 3}"
        trace, began_ns = at.to_bytes(16, "big"), FIRST_NS + at * 10**9
        root, child = (at * SPANS + 1 + of for of in range(SPANS))
        times = {"start_time_unix_nano": began_ns, "end_time_unix_nano": began_ns + 10**7}
        made.append(Span(trace_id=trace, span_id=root.to_bytes(8, "big"), name="order", kind=2, **times))
        parent = root.to_bytes(8, "big")
        made.append(Span(trace_id=trace, span_id=child.to_bytes(8, "big"), parent_span_id=parent, name=name, kind=3, **times))
    return spans(*made, resource={"service.name": "checkout", "driftlock.historical": True}).SerializeToString()


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
async def test_what_rotel_writes_into_kafka_is_read(site: Site, tmp_path: Path, encoding: str) -> None:
    urls, topic = await site.database(), site.topic(1)
    await tenant(urls, 0)
    told = {"protobuf": "otlp_proto", "json": "otlp_json"}[encoding]
    topics = {signal: site.topic(2) for signal in EVERYTHING}
    running = bridge(site, urls, topic, *({"topic": name, "signal": it, "format": told} for it, name in topics.items()))
    running.start(wait=False)
    site.worker(urls, topic, 1).start(wait=False)
    agent = Path(str(importlib.util.find_spec("rotel").origin)).parent / "rotel-agent"  # type: ignore[union-attr]
    port = free_port()
    command = [
        *(str(agent), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{port}"),
        *("--otlp-http-endpoint", f"127.0.0.1:{free_port()}", "--batch-timeout", "100ms"),
        *("--pid-file", str(tmp_path / "rotel.pid"), "--log-file", str(tmp_path / "rotel.log")),
        *("--exporter", "kafka", "--kafka-exporter-brokers", site.broker.address, "--kafka-exporter-format", encoding),
        *(part for signal, name in topics.items() for part in (f"--kafka-exporter-{signal}-topic", name)),
    ]
    with (tmp_path / "rotel.out").open("wb") as output:
        rotel = await asyncio.to_thread(subprocess.Popen, command, env=environment(), stdout=output, stderr=output)
    try:
        await asyncio.to_thread(wait_for, "rotel to listen", lambda: listens(port))
        await asyncio.to_thread(emit, grpc_exporters(port, {}), "rotel")
        found = await Outcome(urls).until("all is journaled", metered=sum(EVERYTHING.values()))
    finally:
        rotel.terminate()
        rotel.wait(15)
    assert found["dead"] == 0


async def test_what_can_not_be_read_is_a_dead_letter_and_too_much_of_it_an_alarm(site: Site) -> None:
    urls, topic, foreign = await site.database(), site.topic(1), site.topic(2)
    await tenant(urls, 0)
    large = json.dumps({"a": [0] * 30_000}).encode()  # more elements than a record may have
    put(site, foreign, [b'{"n": 1}', b"no json", large, b'{"n": 2}'])
    put(site, foreign, [b"noise"] * 30, 1)
    running = bridge(site, urls, topic, {"topic": foreign, "format": "json", "service": "app"})
    running.start()
    site.worker(urls, topic, 1).start(wait=False)
    paused = f'driftlock_bridge_paused_partitions{{limit="bad_messages",topic="{foreign}"}}'
    wait_for("the alarm", lambda: running.metrics().get(paused) == 1)
    found = await Outcome(urls).until("all is read", metered=2, dead=32)
    assert found["journaled"] == 2
    [told] = [line for line in running.run("dead-letters", "list").stdout.splitlines() if f"{foreign}/0@1 " in line]
    assert "the message is no JSON object, or nested too deep [stays: " in told
    refused = running.run("dead-letters", "retry", told.split()[0])
    assert (refused.returncode, "its producer sends it again" in refused.stdout) == (1, True)
    assert running.stop() == 0


async def test_a_start_that_is_refused_is_one_line(site: Site) -> None:
    urls, topic = await site.database(), site.topic(1)
    source = {"topic": "app", "format": "text", "service": "app"}
    for sources, changed, told in (
        ([source], {}, f"there is no tenant {tenant_id(0)}, whose the topic app is to be"),
        ([source], {"DRIFTLOCK_KAFKA_SOURCES": ""}, "DRIFTLOCK_KAFKA_SOURCES is not set"),
        ([{**source, "topic": topic}], {}, "the topic that carries our own records"),
    ):
        refused = bridge(site, urls, topic, *sources, **changed).run("bridge")
        assert refused.returncode == 1
        assert told in refused.stderr.splitlines()[-1]
