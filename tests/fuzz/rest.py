"""`make fuzz-rest`: thousands of cases of the OpenAPI document, sent to a server with two full accounts."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from driftlock.storage.embedded import EmbeddedPostgres
from tests.conftest import Cluster
from tests.fuzz.rest_house import open_house
from tests.fuzz.rest_schema import Tally, run


async def fuzz(folder: Path, cases: int, number: int) -> Tally:
    """Open the server in `folder`, send the cases and close it."""
    (folder / "site").mkdir()
    async with EmbeddedPostgres(folder / "cluster", token_bytes=secrets.token_bytes) as postgres:
        urls = await Cluster(postgres).create()
        async with open_house(urls, folder / "site") as house:
            base, mine = str(house.client.base_url).rstrip("/"), house.mine
            return await asyncio.to_thread(run, base, mine.owner, mine.paths, cases, number)


def main() -> int:
    """Returns 1 when an answer was not as documented."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(fuzz(Path(folder), asked.cases, asked.seed))
    for failure in tally.failures[:50]:
        sys.stdout.write(f"{failure}\n\n")
    counts = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    errors = sum(count for status, count in tally.statuses.items() if status >= 500 and status != 503)
    sys.stdout.write(f"CASES={tally.cases} SERVER_ERRORS={errors} NOT_AS_DOCUMENTED={len(tally.failures)} ({counts})\n")
    return int(bool(tally.failures or errors))


if __name__ == "__main__":
    sys.exit(main())
