import asyncio
import errno
import signal
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from server.addresses import Address
from server.asgi import AsgiServer, listen
from server.asgi_protocol import AsgiLimits

LOCAL = Address("127.0.0.1", 0)


def app(release: asyncio.Event | None = None) -> Starlette:
    async def peer(request: Request) -> PlainTextResponse:
        if release is not None:
            await release.wait()
        assert request.client is not None
        return PlainTextResponse(request.client.host)

    return Starlette(routes=[Route("/", peer)])


async def test_serves_on_the_port_it_was_given_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits()) as server, httpx.AsyncClient() as client:
        assert signal.getsignal(signal.SIGTERM) is before
        response = await client.get(f"http://127.0.0.1:{server.port}/", headers={"X-Forwarded-For": "203.0.113.9"})
        assert response.text == "127.0.0.1"
        assert "server" not in response.headers
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


async def test_a_request_under_way_ends_before_the_server() -> None:
    release = asyncio.Event()
    async with (
        AsgiServer(app(release), address=LOCAL, what="REST", limits=AsgiLimits()) as server,
        httpx.AsyncClient() as client,
    ):
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/"))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.sleep(0.1)
        release.set()
        assert (await asking).status_code == 200
        await stopping


async def test_connections_wait_until_it_serves() -> None:
    server = AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits())
    await server.listen()
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        async with server:
            assert (await asking).status_code == 200


async def test_an_address_that_was_never_served_is_given_back() -> None:
    server = AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits())
    await server.listen()
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_answers_do_not_wait_for_the_end_of_others() -> None:
    with listen(Address("127.0.0.1", 0), "test", 1) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_two_share_a_port_only_if_both_say_so() -> None:
    first = AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits(), reuse_port=True)
    await first.listen()
    here = Address("127.0.0.1", first.port)
    with pytest.raises(OSError, match="another program listens there"):
        await AsgiServer(app(), address=here, what="REST", limits=AsgiLimits()).listen()
    second = AsgiServer(app(), address=here, what="REST", limits=AsgiLimits(), reuse_port=True)
    await second.listen()
    assert second.port == first.port
    await first.stop()
    async with second, httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{second.port}/")).status_code == 200


async def test_a_request_that_never_ends_is_answered_retryably() -> None:
    limits = AsgiLimits(graceful_stop_s=1)
    server = AsgiServer(app(asyncio.Event()), address=LOCAL, what="REST", limits=limits)
    async with httpx.AsyncClient() as client:
        async with server:
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/"))
            await asyncio.sleep(0.1)
        answer = await asking
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_an_endless_head_ends_the_connection() -> None:
    async with AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits(head_bytes_max=10_000)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")

        async def flood() -> None:
            for _ in range(500):
                writer.write(b"y" * 10_000)
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionError):
            await flood()
        writer.close()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 200


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: lo"])
async def test_a_head_that_does_not_come_ends_the_connection(begin: bytes) -> None:
    async with AsgiServer(app(), address=LOCAL, what="REST", limits=AsgiLimits(head_timeout_s=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(begin)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_kept_connection_may_rest_and_bodies_may_be_large() -> None:
    async def size(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    served = Starlette(routes=[Route("/", size, methods=["POST"])])
    limits = AsgiLimits(head_bytes_max=10_000, head_timeout_s=0.2)
    async with AsgiServer(served, address=LOCAL, what="REST", limits=limits) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            response = await client.post(f"http://127.0.0.1:{server.port}/", content=b"x" * 1_000_000)
            assert response.text == "1000000"
            await asyncio.sleep(0.5)


async def test_connections_are_bounded() -> None:
    release = asyncio.Event()
    limits = AsgiLimits(connections_max=1, connections_refused_max=1)
    async with (
        AsgiServer(app(release), address=LOCAL, what="REST", limits=limits) as server,
        httpx.AsyncClient() as client,
    ):
        url = f"http://127.0.0.1:{server.port}/"
        first = asyncio.create_task(client.get(url))
        await asyncio.sleep(0.1)
        refused = await client.get(url)
        assert (refused.status_code, refused.headers["retry-after"], refused.headers["connection"]) == (503, "1", "close")
        silent, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(httpx.TransportError):  # one refused connection is open already
            await client.get(url)
        writer.close()
        release.set()
        assert (await first).status_code == 200
        await silent.read()
        assert (await client.get(url)).status_code == 200


async def test_a_busy_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match=f"cannot listen on {address.text} for OTLP/HTTP: another program") as caught:
            await AsgiServer(app(), address=address, what="OTLP/HTTP", limits=AsgiLimits()).__aenter__()
    assert caught.value.errno == errno.EADDRINUSE
