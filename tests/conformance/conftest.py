from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.site import Site, open_site, rules
from tests.conftest import Cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One server for the tests of a module, each of which brings a tenant of its own."""
    urls = await cluster.create()
    async with open_site(urls, rules(tmp_path_factory.mktemp("site"))) as running:
        yield running
    await cluster.drop(urls)
