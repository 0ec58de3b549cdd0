"""`driftlock tenant move`: tenants go to the shards of Kafka's partitions, or back to that of a server."""

from collections.abc import Sequence

import click

from driftlock.errors import DriftlockError
from driftlock.storage.faults import IN_SEVERAL
from driftlock.storage.pool import Database
from driftlock.storage.shard import ONLY_SHARD
from server.cli.options import load_settings
from server.cli.quarantine import run_on_database
from server.logs import configure_logs
from server.terminal import visible


@click.command("move")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All tenants that are not where they belong.")
@click.option("--to-server", is_flag=True, help="To the shard of `driftlock serve`, not to those of workers.")
def tenant_move(names: Sequence[str], *, everything: bool, to_server: bool) -> None:
    """Move tenants NAMES to the shards in which workers look for them, with all that was learned and found.

    For whoever has begun with `driftlock serve`: stop it, and every worker, make the shards (driftlock migrate --shards) and
    set DRIFTLOCK_KAFKA_PARTITIONS as for gateways and workers. What ends in the middle is begun again.
    """
    from server.moving import Moved, Moving  # the server: not for the other commands
    from server.shards import check_shards, check_spread

    if bool(names) == everything:
        raise click.UsageError("name tenants, or use --all")
    settings = load_settings()
    partitions = settings.kafka_partitions
    log = configure_logs(settings.log_format, settings.log_level)

    async def work(database: Database) -> None:
        await check_shards(database, partitions)
        placement = await check_spread(database, settings)
        if placement.spread > 1:
            raise click.ClickException(IN_SEVERAL)
        moving = Moving(settings, database, log)
        place = (lambda _tenant_id: ONLY_SHARD) if to_server else placement.home
        found = await moving.away_from_home(range(partitions + 1), place)
        if unknown := set(names) - {it.name for it in found}:
            one = visible(min(unknown))
            raise click.ClickException(f"tenant {one!r} has nothing to move, or is there already; see: driftlock tenant list")
        wanted = [it for it in found if everything or it.name in names]
        done = 0

        def announce(moved: Moved) -> None:
            nonlocal done
            done += 1
            what = f"{visible(moved.tenant.name)}: shard {moved.tenant.shard} -> {moved.shard}, {moved.rows} journal rows"
            click.echo(f"[{done}/{len(wanted)}] {what}")

        try:
            await moving.run(wanted, place, announce)
        except DriftlockError as error:
            rest = f" ({done} of {len(wanted)} tenants have moved and stay; run it again for the others)" if done else ""
            raise click.ClickException(visible(error.message) + rest) from None
        if not wanted:
            click.echo("every tenant is where it belongs")

    run_on_database(work)
