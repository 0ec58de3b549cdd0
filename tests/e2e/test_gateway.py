"""`driftlock gateway`: a real broker, a real PostgreSQL and a real process between OTLP and a topic."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from collector.kafka.message import decode
from driftlock.engine.ports import Submission
from tests.conftest import Urls
from tests.e2e.harness import COMMAND, START_S, Server, free_port, freeze, wait_for
from tests.e2e.test_exporters import EVERYTHING, emit, grpc_exporters, http_exporters
from tests.e2e.test_exporters import start_rotel as start_rotel
from tests.kafka.broker import Broker
from tests.kafka.broker import broker as broker

pytestmark = pytest.mark.e2e
TOPIC, PARTITIONS = "driftlock.records", 4
REFUSED_S = 20.0


class Gateway(Server):
    """`driftlock gateway` in the place of a server; `key` is that of a tenant."""

    key = ""

    def start(self) -> float:
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen([*COMMAND, "gateway"], env=self.environment, stdout=output, stderr=output)
        wait_for("the gateway to be ready", self.ready)
        return time.monotonic() - began


@pytest.fixture
def make_gateway(tmp_path: Path, broker: Broker, database_urls: Urls) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(name: str = "gateway", **variables: str) -> Gateway:
        home = tmp_path / f"home-{name}"
        (home / name).mkdir(mode=0o700, parents=True)
        known = {
            "DATABASE_URL": database_urls.app,
            "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "DRIFTLOCK_KAFKA_PARTITIONS": str(PARTITIONS),
        }
        made.append(Gateway(home / name, **{**known, **variables}))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    """A running gateway and a tenant with a key, which is where a server would keep it too."""
    made = make_gateway()
    assert made.run("tenant", "create", "acme").returncode == 0
    made.key = made.run("key", "create", "--tenant", "acme", *("--scope", "admin"), *("--scope", "ingest")).stdout.strip()
    (made.data_dir / "api-key").write_text(made.key)
    made.start()
    return made


def consumed(broker: Broker) -> list[Submission]:
    """All of the topic, decoded; a part that is there twice is there once."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "test", "enable.partition.eof": True})
    messages: list[Any] = []
    ended: set[int] = set()
    try:
        consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        while len(ended) < PARTITIONS:
            message = consumer.poll(START_S)
            assert message is not None, f"no end of the topic after {len(messages)} messages"
            if message.error() is None:
                messages.append(message)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
    finally:
        consumer.close()
    found = [decode(message.value(), message.headers()) for message in messages]
    return list({part.request_hash or id(part): part for part in found}.values())


def carried(broker: Broker, service: str) -> dict[str, int]:
    """Records in the topic by signal of a service's streams."""
    parts = [part for submission in consumed(broker) for part in submission.batches]
    counts: Counter[str] = Counter()
    for part in parts:
        if part.key.service == service:
            counts[part.key.signal.value] += part.records
    return dict(counts)


def lines(broker: Broker) -> set[bytes]:
    return {line for submission in consumed(broker) for part in submission.batches for line in part.batch.lines()}


class Sender:
    """Sends single logs over gRPC, and has no patience of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}")
        self.stub = logs_service_pb2_grpc.LogsServiceStub(self.channel)

    def send(self, text: str, key: str) -> None:
        request = logs_service_pb2.ExportLogsServiceRequest()
        group = request.resource_logs.add()
        group.resource.attributes.add(key="service.name").value.string_value = "cart"
        record = group.scope_logs.add().log_records.add(time_unix_nano=1_700_000_000_000_000_000)
        record.body.string_value = text
        self.stub.Export(request, timeout=REFUSED_S, metadata=(("x-api-key", key),))


@pytest.fixture
def sender(gateway: Gateway) -> Iterator[Sender]:
    made = Sender(gateway)
    yield made
    made.channel.close()


def details(error: grpc.RpcError) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status()
    status.ParseFromString(trailers["grpc-status-details-bin"])
    return status


def test_what_sdks_and_a_collector_send_is_in_the_topic(
    gateway: Gateway, broker: Broker, start_rotel: Callable[[Server], int]
) -> None:
    emit(grpc_exporters(gateway.grpc_port, {"x-api-key": gateway.key}), "grpc")
    emit(http_exporters(gateway.otlp_http_port, {"authorization": f"Bearer {gateway.key}"}), "http")
    emit(grpc_exporters(start_rotel(gateway), {}), "rotel")
    wait_for("rotel to forward everything", lambda: carried(broker, "rotel") == EVERYTHING)
    assert carried(broker, "grpc") == EVERYTHING
    assert carried(broker, "http") == EVERYTHING
    found = consumed(broker)
    assert len({submission.tenant_id for submission in found}) == 1
    everything = 3 * sum(EVERYTHING.values())
    assert sum(submission.received or 0 for submission in found) == everything

    def counted() -> float:
        return sum(gateway.metric(f'driftlock_accepted_records_total{{signal="{name}"}}') for name in EVERYTHING)

    # What rotel sends may be in the topic before the gateway has heard that it is.
    wait_for("all records to be counted", lambda: counted() == everything)
    delivered = 'driftlock_kafka_produced_messages_total{outcome="delivered"}'
    wait_for("all messages to be counted", lambda: gateway.metric(delivered) == len(found))
    assert gateway.signal(signal.SIGTERM) == 0


def test_what_a_frozen_broker_does_not_take_is_refused_and_nothing_acknowledged_is_missing(
    gateway: Gateway, broker: Broker, sender: Sender
) -> None:
    acknowledged = [f"before {number}" for number in range(5)]
    for text in acknowledged:
        sender.send(text, gateway.key)
    broker.pause()
    with pytest.raises(grpc.RpcError) as refused:
        sender.send("during", gateway.key)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in details(refused.value).details)
    assert retry.retry_delay.ToTimedelta().total_seconds() >= 1
    response = httpx.get(f"{gateway.rest}/readyz", timeout=10)
    assert response.status_code == 503
    assert (response.json()["checks"]["kafka"]["ok"], response.json()["checks"]["database"]["ok"]) == (False, True)
    assert gateway.metric("driftlock_kafka_up") == 0
    broker.resume()
    wait_for("the gateway to find the broker again", gateway.ready)
    for text in ("during", "after"):
        sender.send(text, gateway.key)
        acknowledged.append(text)
    assert lines(broker) == {text.encode() for text in acknowledged}
    refusals = gateway.metric('driftlock_refused_records_total{reason="unavailable",signal="logs"}')
    assert refusals == 1


def test_a_broker_that_is_gone_refuses_at_once(gateway: Gateway, broker: Broker, sender: Sender) -> None:
    sender.send("before", gateway.key)
    broker.kill()
    wait_for("the gateway to notice", lambda: not gateway.ready())
    with pytest.raises(grpc.RpcError) as refused:
        sender.send("during", gateway.key)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert details(refused.value).message.startswith("no Kafka broker is there")  # nothing was waited for
    assert gateway.signal(signal.SIGTERM) == 0


def test_keys_and_redaction_rules_hold(
    gateway: Gateway, broker: Broker, sender: Sender, make_server: Callable[..., Server], database_urls: Urls
) -> None:
    for key in ("", gateway.key[:-1] + "x"):
        with pytest.raises(grpc.RpcError) as refused:
            sender.send("nobody's", key)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    server = make_server("server", DATABASE_URL=database_urls.app)
    server.start()
    rules = {"rules": [{"name": "card", "kind": "credit_card"}]}
    put = httpx.put(f"{server.rest}/v1/redaction", json=rules, headers={"x-api-key": gateway.key}, timeout=10)
    assert put.status_code == 200, put.text
    server.close()

    def redacted() -> bool:
        sender.send("paid with 4111 1111 1111 1111", gateway.key)
        return b"paid with [card]" in lines(broker)

    wait_for("the gateway to know of the rules", redacted)
    assert not any(b"nobody" in line for line in lines(broker))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set: a gateway shares its database"),
        ({"DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS": ""}, "DRIFTLOCK_KAFKA_BOOTSTRAP_SERVERS is not set"),
        ({"DRIFTLOCK_KAFKA_PARTITIONS": "7"}, f"has {PARTITIONS} partitions, not 7"),
        ({"DRIFTLOCK_KAFKA_TENANT_SPREAD": "99"}, "DRIFTLOCK_KAFKA_TENANT_SPREAD is 99, more than"),
        ({"DRIFTLOCK_KAFKA_SASL_MECHANISM": "PLAIN"}, "set DRIFTLOCK_KAFKA_SECURITY_PROTOCOL to SASL_SSL"),
    ],
)
def test_a_start_that_is_refused_is_one_line(
    make_gateway: Callable[..., Gateway], broker: Broker, variables: dict[str, str], told: str
) -> None:
    broker.create_topic(TOPIC, PARTITIONS)
    refused = make_gateway("refused", **variables).run("gateway", timeout_s=60)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_gateway_without_an_entrance_is_refused(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway("closed")
    gateway.environment |= {"DRIFTLOCK_OTLP_GRPC_ADDR": "off", "DRIFTLOCK_OTLP_HTTP_ADDR": "off"}
    assert "are both off" in gateway.run("gateway").stderr


def test_one_port_for_everything_where_a_platform_names_one(
    gateway: Gateway, make_gateway: Callable[..., Gateway], broker: Broker
) -> None:
    port = free_port()
    named = make_gateway("port", PORT=str(port))
    for name in ("HTTP", "OTLP_GRPC", "OTLP_HTTP"):
        named.environment.pop(f"DRIFTLOCK_{name}_ADDR")
    named.http_port = port
    named.start()
    emit(http_exporters(port, {"authorization": f"Bearer {gateway.key}"}), "platform")
    assert carried(broker, "platform") == EVERYTHING
    assert httpx.get(f"{named.rest}/livez", timeout=10).json() == {"status": "ok"}
    assert named.metric("driftlock_kafka_up") == 1
    ready = named.output.read_text()
    assert f"0.0.0.0:{port}" in ready
    assert "otlp_grpc" not in ready


def test_without_the_client_it_says_what_to_install(make_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """As where only what `make run` needs is installed."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'confluent_kafka' else found(name, *rest)\n"
        "sys.modules['confluent_kafka'] = None\n"
    )
    gateway = make_gateway("bare")
    gateway.environment["PYTHONPATH"] = f"{hidden}:{gateway.environment['PYTHONPATH']}"
    refused = gateway.run("gateway")
    assert refused.returncode == 1
    assert "pip install 'driftlock[kafka]'" in refused.stderr
    assert gateway.run("--help").returncode == 0


def test_a_gateway_that_starts_before_its_brokers_refuses_until_they_are_there(
    make_gateway: Callable[..., Gateway], broker: Broker
) -> None:
    gateway = make_gateway()
    assert gateway.run("tenant", "create", "acme").returncode == 0
    key = gateway.run("key", "create", "--tenant", "acme").stdout.strip()
    broker.kill()
    with gateway.output.open("ab") as output:
        gateway.process = subprocess.Popen([*COMMAND, "gateway"], env=gateway.environment, stdout=output, stderr=output)
    wait_for("it to listen", lambda: b"otlp_grpc" in gateway.output.read_bytes())
    assert httpx.get(f"{gateway.rest}/livez", timeout=10).status_code == 200
    assert not httpx.get(f"{gateway.rest}/readyz", timeout=10).json()["checks"]["kafka"]["ok"]
    sender = Sender(gateway)
    with pytest.raises(grpc.RpcError) as refused:
        sender.send("too soon", key)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    broker.start()
    wait_for("it to find the broker", gateway.ready)
    sender.send("now", key)
    sender.channel.close()
    assert lines(broker) == {b"now"}
    assert gateway.signal(signal.SIGTERM) == 0


def test_a_topic_with_other_partitions_ends_a_gateway_that_has_waited_for_it(
    make_gateway: Callable[..., Gateway], broker: Broker
) -> None:
    gateway = make_gateway()
    broker.kill()
    with gateway.output.open("ab") as output:
        gateway.process = subprocess.Popen([*COMMAND, "gateway"], env=gateway.environment, stdout=output, stderr=output)
    wait_for("it to listen", lambda: b"otlp_grpc" in gateway.output.read_bytes())
    freeze(gateway.process)  # or it would make the topic itself
    broker.start()
    broker.create_topic(TOPIC, PARTITIONS + 1)
    gateway.process.send_signal(signal.SIGCONT)
    assert gateway.process.wait(START_S) == 1
    assert f"has {PARTITIONS + 1} partitions, not {PARTITIONS}" in gateway.output.read_text().splitlines()[-1]
