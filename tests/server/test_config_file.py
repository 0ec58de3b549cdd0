"""The configuration as a file: read with the lines of what is wrong, and applied until nothing is left to change."""

import asyncio
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result

import server.cli.config
from api.app import ApiDeps, create_app
from driftlock.accounts.keys import ALL_SCOPES
from driftlock.engine.event import TRACES_SERVICE, Signal, StreamKey
from server.client import RestClient
from server.config_file import FILE_BYTES_MAX, Config, ConfigError, StreamConfig, parse, render
from server.config_plan import exported, planned
from tests.api.anchor_fakes import FakeAnchors
from tests.api.conftest import make_deps
from tests.api.fakes import TENANT, FakeDirectory, FakeHouse, RecordingAccess, key

WHOLE = """\
version: 1
account:
  alerts_per_day_max: 9
  redaction:
  - {name: mail, kind: email, action: hash}
  - {name: user, where: 'attribute:user', action: drop}
streams:
- service: checkout
  display_name: Till
  retention_days: 7
  profile: {name: strict, masks: ['order-{digits}']}
  redaction:
  - {name: order, mask: 'order-{digits}'}
- service: cart
  profile: {alerts_per_day_max: 2}
"""


class Bridge(httpx.BaseTransport):
    """The application without a network, for a client that does not wait."""

    def __init__(self, app: Any) -> None:
        self.transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
        self.changes: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET":
            self.changes.append(f"{request.method} {request.url.path}")

        async def ask() -> httpx.Response:
            asked = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            response = await self.transport.handle_async_request(asked)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return asyncio.run(ask())


@pytest.fixture
def house() -> FakeHouse:
    return FakeHouse()


@pytest.fixture
def deps(house: FakeHouse) -> ApiDeps:
    keys = FakeDirectory()
    keys.add("good", TENANT, ALL_SCOPES)
    return make_deps(house, RecordingAccess(keys))


@pytest.fixture
def anchors(deps: ApiDeps) -> FakeAnchors:
    assert isinstance(deps.anchors, FakeAnchors)
    return deps.anchors


@pytest.fixture
def bridge(deps: ApiDeps) -> Bridge:
    return Bridge(create_app(deps))


@pytest.fixture
def client(bridge: Bridge) -> RestClient:
    return RestClient("http://127.0.0.1:8080", key("good"), bridge)


@pytest.fixture
def run(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(server.cli.config, "RestClient", lambda _endpoint, _key: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        command: click.Group = server.cli.config.config
        return CliRunner().invoke(command, [*arguments, "--endpoint", "http://127.0.0.1:8080"], input=stdin)

    return invoke


def test_a_file_is_applied_once_and_exported_as_it_is(run: Any, bridge: Bridge, tmp_path: Any) -> None:
    file = tmp_path / "driftlock.yaml"
    file.write_text(WHOLE)
    dry = run("apply", str(file), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "~ alerts_per_day_max: " in dry.output
    assert "+ redaction mail: hash email in text" in dry.output
    assert "new stream logs checkout" in dry.output
    assert bridge.changes == []
    done = run("apply", str(file), "--yes")
    assert done.exit_code == 0, done.output
    assert len(bridge.changes) == 5
    bridge.changes.clear()
    again = run("apply", str(file), "--yes")
    assert (again.output, bridge.changes) == ("nothing to change\n", [])
    out = tmp_path / "exported.yaml"
    assert run("export", str(out)).exit_code == 0
    assert run("apply", str(out), "--yes").output == "nothing to change\n"
    shown = run("export").output
    assert shown == out.read_text()
    assert run("apply", "-", "--yes", stdin=shown).output == "nothing to change\n"
    told = {stream.key[1]: stream for stream in parse(shown).streams}
    assert told["checkout"].settings == {"display_name": "Till", "retention_days": 7}
    assert told["checkout"].redaction == [{"name": "order", "mask": "order-{digits}", "action": "replace"}]
    assert told["checkout"].profile is not None
    assert (told["checkout"].profile["name"], told["checkout"].profile["masks"]) == ("custom", ["order-{digits}"])


def test_what_is_there_is_changed_and_what_is_not_named_stays(
    run: Any, house: FakeHouse, client: RestClient, bridge: Bridge
) -> None:
    for key_ in (StreamKey(Signal.LOGS, "checkout"), StreamKey(Signal.TRACES, TRACES_SERVICE)):
        house._stream(TENANT, key_)
    before = exported(client)
    wanted = "version: 1\nstreams:\n- {service: checkout, profile: {name: sensitive}, display_name: x}\n"
    output = run("apply", "-", "--yes", stdin=wanted).output
    assert "~ profile.ncd_threshold: 0.3 -> 0.2" in output
    assert "~ display_name:  -> x" in output
    after = exported(client)
    assert after.streams[0].profile == {"name": "sensitive"}
    assert after.streams[1:] == before.streams[1:]
    assert after.streams[1].profile is not None
    assert set(after.streams[1].profile) == {"p_value_threshold", "alerts_per_day_max"}
    bridge.changes.clear()
    assert planned(client, after) == []
    run("apply", "-", "--yes", stdin="version: 1\nstreams:\n- {service: checkout, display_name: null, redaction: []}\n")
    assert bridge.changes == [f"PATCH /v1/streams/{next(iter(house.stream_rows[TENANT]))}"]


def test_an_anchor_that_waits_for_a_baseline_keeps_nothing_else_back(run: Any, anchors: FakeAnchors, bridge: Bridge) -> None:
    text = "version: 1\nstreams:\n- {service: cart, anchor: {drift_ncd_threshold: 0.4}}\n- {service: till}\n"
    made = run("apply", "-", "--yes", stdin=text)
    assert (made.exit_code, "once the stream has a baseline" in made.output) == (0, True), made.output
    assert made.output.endswith("2 changes applied\n")
    anchors.lines = 0
    early = run("apply", "-", "--yes", stdin=text.replace("{service: till}", "{service: till, display_name: Till}"))
    assert early.exit_code == 0, early.output
    assert "stream logs cart: anchor not yet: no anchor was frozen: " in early.output
    assert early.output.endswith("\n1 change applied\n"), "what comes after it is done"
    anchors.lines = 400
    assert run("apply", "-", "--yes", stdin=text).output.endswith("\n1 change applied\n")
    bridge.changes.clear()
    assert (run("apply", "-", "--yes", stdin=text).output, bridge.changes) == ("nothing to change\n", [])


def test_rules_of_another_order_are_a_change(client: RestClient) -> None:
    rules = [{"name": "a", "kind": "email"}, {"name": "b", "kind": "ip"}]
    client.change("PUT", "/v1/redaction", {"rules": rules})
    assert planned(client, Config(redaction=rules)) == []
    (change,) = planned(client, Config(redaction=rules[::-1]))
    assert change.lines == ("~ redaction: the order of the rules",)


def test_nothing_is_asked_of_who_can_not_answer_and_refusals_are_told(run: Any, bridge: Bridge) -> None:
    asked = run("apply", "-", stdin=WHOLE)
    assert asked.exit_code == 1
    assert "add --yes" in asked.output
    assert bridge.changes == []
    wrong = run("apply", "-", "--yes", stdin="version: 1\naccount:\n  redaction:\n  - {name: X, kind: email}\n")
    assert wrong.exit_code == 1
    assert "/rules/0/name must have" in wrong.output
    assert "0 of 1 changes are made" in wrong.output
    assert "is no member" in run("apply", "-", stdin="version: 1\nacount: {}\n").output
    assert "can not be read" in run("apply", "/nowhere/x.yaml").output


def test_who_says_no_changes_nothing(run: Any, bridge: Bridge, tmp_path: Any) -> None:
    file = tmp_path / "driftlock.yaml"
    file.write_text(WHOLE)
    assert run("apply", str(file), stdin="n\n").exit_code == 1
    assert bridge.changes == []
    assert run("apply", str(file), stdin="y\n").exit_code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("a: [", "line 1: is no YAML"),
        ("- 1", "line 1: the file must be a mapping"),
        ("streams: []", "line 1: has no `version: 1`"),
        ("version: 2", "has no `version: 1`"),
        ("version: '1'", "line 1: version must be a whole number"),
        ("version: 1\nversion: 1", "line 2: 'version' stands twice"),
        ("version: 1\nother: 1", "line 2: 'other' is no member of the file"),
        ("version: 1\n\nstreams:\n- service: a\n  windows: 3", "line 5: 'windows' is no member of a stream"),
        ("version: 1\nstreams:\n- service: a\n  profile:\n    hop: 3", "line 5: 'hop' is no member of profile"),
        ("version: 1\nstreams:\n- service: a\n  profile: {hop_size: '3'}", "line 4: hop_size must be a whole number"),
        ("version: 1\nstreams:\n- service: a\n  profile: {masks: [1]}", "line 4: masks must be a list of texts"),
        ("version: 1\nstreams:\n- service: a\n- service: a", "line 4: is the stream of line 3 again"),
        ("version: 1\nstreams:\n- signal: logs", "line 3: a stream needs its service"),
        ("version: 1\nstreams: {}", "line 2: streams must be a list"),
        ("version: 1\naccount:\n  redaction:\n  - regex: x", "line 4: 'regex' is no member of a redaction rule"),
        ("version: 1\naccount: &a {}\nstreams: [*a]", "line 2: aliases"),
        ("version: 1\nstreams:\n- service: a\n  display_name: {x: 1}", "line 4: a plain value is needed"),
        ("version: 1\nstreams:\n- service: a\n  retention_days: 2001-99-99", "line 4: '2001-99-99' can not be read"),
        ("version: 1\nstreams:\n- service: !!python/object:os.system a", "line 3"),
        ("[" * 5000, "the file is no YAML"),
    ],
    ids=range(21),
)
def test_what_is_wrong_is_said_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert told in str(error.value)


def test_a_file_is_bounded() -> None:
    with pytest.raises(ConfigError, match="file_bytes_max"):
        parse("version: 1\n" + "#" * FILE_BYTES_MAX)


def test_what_is_rendered_is_read_again() -> None:
    rules = [{"name": "a", "kind": "email", "action": "hash"}]
    stream = StreamConfig(
        ("logs", "ä: b", "", "prod"),
        {"display_name": "yes", "retention_days": None},
        {"masks": ["x-{digits}"]},
        rules,
        {"reset_on_drift": True},
    )
    config = Config(3, rules, [stream, StreamConfig(("metrics", "1.0", "ns", ""), redaction=[])])
    assert parse(render(config)) == config
    assert parse(render(Config())) == Config()
