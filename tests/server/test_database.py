"""Which database a process works on."""

import pytest

from driftlock.storage.startup import StartupRefused
from server.database import database_urls
from server.settings import parse_settings

PLATFORMS = ["K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", PLATFORMS)
async def test_the_embedded_database_is_refused_where_the_disk_ends_with_the_instance(name: str, share: bool) -> None:
    with pytest.raises(StartupRefused, match=rf"DATABASE_URL is not set, and {name} "):
        async with database_urls(parse_settings({name: "driftlock"}), share=share):
            pass


@pytest.mark.parametrize("name", PLATFORMS)
async def test_a_database_of_ones_own_is_not(name: str) -> None:
    url = "postgresql://driftlock_app@db/driftlock"
    async with database_urls(parse_settings({name: "driftlock", "DATABASE_URL": url}), share=False) as urls:
        assert urls.app == url
