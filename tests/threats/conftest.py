from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import structlog

from tests.conformance.site import Site, open_site, rules
from tests.conftest import Cluster


@dataclass
class Watched:
    """A server, and the lines that it writes into its log from warnings on."""

    site: Site
    lines: list[dict[str, Any]] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One server for the tests of a module, each of which brings a tenant of its own."""
    lines: list[dict[str, Any]] = []

    def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        lines.append({"level": level, **event})
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(30))
    urls = await cluster.create()
    async with open_site(urls, rules(tmp_path_factory.mktemp("site")), log) as running:
        yield Watched(running, lines)
    await cluster.drop(urls)
