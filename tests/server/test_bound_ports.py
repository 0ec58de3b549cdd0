"""What `driftlock doctor` says of ports beside a server that is well, beside another program, and of free ones."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.app import create_app
from server.addresses import Address
from server.asgi import AsgiServer
from server.asgi_protocol import AsgiLimits
from server.bound_ports import bind_error, driftlock_answers
from server.checkup import Check, State, check_up
from server.settings import Settings, parse_settings
from tests.api.conftest import make_deps
from tests.api.fakes import FakeDirectory, FakeHouse, RecordingAccess

HOST = "127.0.0.1"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port on which another program listens."""
    with socket.create_server((HOST, 0)) as listening:
        yield listening


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def settings_of(http: int, grpc: int, **changes: object) -> Settings:
    given = {"DATABASE_URL": NOWHERE, "DRIFTLOCK_OTLP_HTTP_ADDR": "off", "DRIFTLOCK_HTTP_ADDR": f"{HOST}:{http}"}
    settings = parse_settings({**given, "DRIFTLOCK_OTLP_GRPC_ADDR": f"{HOST}:{grpc}"})
    return replace(settings, **changes)  # type: ignore[arg-type]


async def ports(settings: Settings) -> list[Check]:
    return [check async for check in check_up(settings) if check.name.startswith("port ")]


async def test_a_healthy_server_with_a_database_of_its_own_is_no_fault(taken: socket.socket) -> None:
    app = create_app(make_deps(FakeHouse(), RecordingAccess(FakeDirectory())))
    server = AsgiServer(app, address=Address(HOST, 0), what="REST", limits=AsgiLimits())
    await server.listen()
    async with server:
        for host in (HOST, "0.0.0.0"):  # noqa: S104
            assert await asyncio.to_thread(driftlock_answers, Address(host, server.port))
        found = await ports(settings_of(server.port, port_of(taken)))
    assert [check.state for check in found] == [State.OK, State.OK]
    assert all(f"a driftlock answers on {HOST}:{server.port}" in check.detail for check in found)


async def test_another_program_is_a_fault(taken: socket.socket) -> None:
    [grpc, http] = await ports(settings_of(0, port_of(taken)))
    assert (grpc.state, http.state) == (State.FAIL, State.OK)
    assert grpc.detail.endswith("stop the program that listens there or set DRIFTLOCK_OTLP_GRPC_ADDR")


async def test_another_program_on_the_port_of_rest_is_a_fault(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.bound_ports.ANSWER_S", 0.05)  # it never answers
    [_, http] = await ports(settings_of(port_of(taken), 0))
    assert (http.state, "DRIFTLOCK_HTTP_ADDR" in http.detail) == (State.FAIL, True)


async def test_a_port_may_be_shared_with_who_allows_it(taken: socket.socket) -> None:
    with socket.create_server((HOST, 0), reuse_port=True) as sharing:
        [grpc, _] = await ports(settings_of(0, port_of(sharing), reuse_port=True))
        assert (grpc.state, "DRIFTLOCK_REUSE_PORT" in grpc.detail) == (State.OK, True)
        assert (await ports(settings_of(0, port_of(sharing))))[0].state is State.FAIL
    assert (await ports(settings_of(0, port_of(taken), reuse_port=True)))[0].state is State.FAIL


def test_looking_takes_no_connection_from_who_listens() -> None:
    with socket.create_server((HOST, 0), reuse_port=True) as sharing:
        assert bind_error(Address(HOST, port_of(sharing)), shared=True) is None
        for _ in range(20):
            with socket.create_connection((HOST, port_of(sharing)), timeout=5):
                sharing.settimeout(5)
                sharing.accept()[0].close()
