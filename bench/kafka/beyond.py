"""More workers than this machine has processors for: calculated from what a record costs here, not measured."""

from collections.abc import Mapping

from bench.kafka.site import Rows

WORKERS = (1, 2, 4, 8, 16)
DATABASE_CORES = 4


def rows(unit: Mapping[str, object]) -> Rows:
    """A core for each worker, `DATABASE_CORES` for PostgreSQL, one for the broker; costs as in a row of `whole`.

    It leaves out what grows with workers: disks, networks, waiting for locks, and tenants of unequal size. A partition is at
    most one core, so there have to be as many busy ones as workers.
    """
    worker, database, broker = (float(str(unit[name])) for name in ("worker us", "database us", "broker us"))
    limits = {"database": 1e6 * DATABASE_CORES / database, "broker": 1e6 / max(broker, 0.01)}
    found: Rows = []
    for workers in WORKERS:
        of_workers = workers * 1e6 / worker
        name, rate = min([("workers", of_workers), *limits.items()], key=lambda it: it[1])
        found.append(
            {
                "workers, calculated": workers,
                "records/s": round(rate),
                "bound by": name,
                "database cores": rate * database / 1e6,
                "a worker's share of its core": rate / of_workers,
            }
        )
    return found
