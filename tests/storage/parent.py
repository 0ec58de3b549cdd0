"""A process that runs an embedded server until it is killed; prints the server's pid when it is ready."""

import asyncio
import secrets
import sys
from pathlib import Path

from driftlock.storage.embedded import EmbeddedPostgres


async def main() -> None:
    async with EmbeddedPostgres(Path(sys.argv[1]), token_bytes=secrets.token_bytes) as postgres:
        sys.stdout.write(f"{postgres.pid}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
