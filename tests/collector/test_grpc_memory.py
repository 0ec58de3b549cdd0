"""What a message may cost in memory, measured in a server process of its own."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from collector.otlp.grpc import GrpcLimits
from collector.otlp.limits import MIB, OtlpLimits
from tests.collector.fakes import grpc_bench
from tests.collector.grpc_calls import grpc_message, raw_call, raw_connection

ROOT = Path(__file__).parents[2]
REQUEST_BYTES_MAX = OtlpLimits().request_bytes_max


async def serve() -> None:
    """The program of that process: tell the port, serve until standard input ends."""
    async with grpc_bench() as (_, server):
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


class ServerProcess:
    """A server and what it has taken."""

    def __init__(self, pid: int, port: int) -> None:
        self.port = port
        self._folder = Path("/proc") / str(pid)

    def forget_peak(self) -> int:
        """Resident bytes now; the peak begins here (proc(5), clear_refs)."""
        (self._folder / "clear_refs").write_text("5")
        return self._kib("VmRSS") * 1024

    def peak(self) -> int:
        """Most bytes that were resident since."""
        return self._kib("VmHWM") * 1024

    def _kib(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@asynccontextmanager
async def server_process() -> AsyncIterator[ServerProcess]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield ServerProcess(process.pid, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


def bomb(mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mib)) + packer.flush()


async def test_a_gzip_bomb_is_not_inflated_beyond_the_limit() -> None:
    packed = bomb(200)
    assert len(packed) < GrpcLimits().stream_window_bytes
    async with server_process() as server:
        before = server.forget_peak()
        answers = await asyncio.gather(*(raw_call(server.port, packed, "gzip") for _ in range(2)))
        for answer in answers:
            assert b"grpc-status\x018" in answer  # RESOURCE_EXHAUSTED
            assert b"grpc-status-details-bin" not in answer
        assert server.peak() - before < 2 * REQUEST_BYTES_MAX + 32 * MIB


async def test_messages_of_strangers_are_not_kept() -> None:
    """As much as the windows of their calls let in is all that they can make the server hold."""
    limits = GrpcLimits()
    piece = grpc_message(bytes(REQUEST_BYTES_MAX - 10))[: limits.stream_window_bytes]
    async with server_process() as server, raw_connection(server.port) as connection:
        before = server.forget_peak()
        for stream in range(1, 2 * limits.streams_max, 2):
            connection.open_call(stream, x_api_key="wrong")
            connection.send(stream, piece)
        await connection.until(b"grpc-status\x0216")
        await asyncio.sleep(0.3)
        assert server.peak() - before < limits.streams_max * limits.stream_window_bytes + 32 * MIB


async def test_who_sends_more_than_the_window_is_cut_off() -> None:
    async with server_process() as server, raw_connection(server.port) as connection:
        before = server.forget_peak()
        for stream in (1, 3, 5, 7):
            connection.open_call(stream, x_api_key="wrong")
            connection.send(stream, grpc_message(bytes(REQUEST_BYTES_MAX - 10)))
        with suppress(ConnectionError, TimeoutError):
            await connection.ended(2)
        assert server.peak() - before < 32 * MIB


if __name__ == "__main__":
    asyncio.run(serve())
