"""What is done to a site of many processes, at moments that a seed has chosen."""

import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos.scaled.site import PARTITIONS, SESSION_S, WORKERS, ScaledSite
from tests.e2e.harness import STOP_S
from tests.kafka.workers import WorkerProcess

PROGRESS_S, POLL_S = 90.0, 0.1
PAUSE_S_MAX = 1.5
AWAY = ("DATABASE_URL: can not connect", "no broker answers", "the database is away")
"""Why a process may refuse to start."""


class Stuck(AssertionError):
    """Nothing was journaled for a long time though records flow and nothing is away."""


def worker_kill(site: ScaledSite) -> None:
    """kill -9 of a worker; another takes its place after a while, or at once."""
    gone = site.workers.pop(site.rng.randrange(len(site.workers)))
    gone.kill()
    time.sleep(site.rng.choice((0.0, 1.0, SESSION_S + 1.0)))
    site.join()


def worker_freeze(site: ScaledSite) -> None:
    """A worker is frozen for twice its session, so that its partitions are others' when it goes on."""
    frozen = site.rng.choice(site.workers)
    frozen.freeze()
    time.sleep(2.0 * SESSION_S)
    frozen.signal(signal.SIGCONT)


def worker_leaves(site: ScaledSite) -> None:
    """A worker is stopped as one should be, and another comes before or after."""
    leaving = site.workers.pop(site.rng.randrange(len(site.workers)))
    if site.rng.random() < 0.5:
        site.join()
        wait_for_calm(site, leaving)
    stop(leaving)
    while len(site.workers) < WORKERS:
        site.join()


def worker_joins(site: ScaledSite) -> None:
    """One more than usual for a moment."""
    more = site.join()
    wait_for_calm(site)
    site.workers.remove(more)
    stop(more) if site.rng.random() < 0.5 else more.kill()


def database_kill(site: ScaledSite) -> None:
    """PostgreSQL ends without a checkpoint, and is away for a moment or for longer than a session."""
    site.cluster.stop("immediate")
    time.sleep(site.rng.choice((0.0, 1.0, SESSION_S + 1.0)))
    site.cluster.start()


def backend_kill(site: ScaledSite) -> None:
    """kill -9 of one backend, whereupon PostgreSQL ends all of them and recovers."""
    site.cluster.kill_backend(site.rng)


def broker_freeze(site: ScaledSite) -> None:
    """The broker answers nothing, for a moment or for longer than a session; its storage is its memory, so it is not killed."""
    site.broker.pause()
    time.sleep(site.rng.choice((1.0, SESSION_S + 1.0)))
    site.broker.resume()


def gateway_kill(site: ScaledSite) -> None:
    """kill -9 of the gateway, which is started again at once."""
    site.gateway.kill()
    site.gateway.start(wait=False)


def api_kill(site: ScaledSite) -> None:
    """kill -9 of the api process, which is started again at once."""
    site.api.kill()
    site.api.start(wait=False)


FAULTS: dict[Callable[[ScaledSite], None], int] = {
    worker_kill: 8,
    worker_freeze: 3,
    worker_leaves: 2,
    worker_joins: 2,
    database_kill: 3,
    backend_kill: 2,
    broker_freeze: 2,
    gateway_kill: 2,
    api_kill: 1,
}
"""How often each comes among others."""


def repeat(site: ScaledSite, kills: int, told: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """Faults until so many processes were killed, each of them at work; how often each fault came."""
    done: Counter[str] = Counter()
    names = sorted(FAULTS, key=lambda fault: fault.__name__)
    weights = [FAULTS[fault] for fault in names]
    killed = 0
    while killed < kills:
        wait_for_calm(site)
        wait_for_work(site)
        time.sleep(site.rng.random() * PAUSE_S_MAX)
        (fault,) = site.rng.choices(names, weights)
        fault(site)
        done[fault.__name__] += 1
        if fault.__name__.endswith("_kill"):
            killed += 1
            told(killed)
    wait_for_work(site)
    return done


def supervise(site: ScaledSite) -> None:
    """Start again what could not start because something was away, as whoever runs containers does; nothing else may end."""
    for it in (*site.workers, site.gateway, site.api):
        if it.process is not None and it.process.poll() is not None:
            said = it.output.read_text()
            last = said.rstrip().rpartition("\n")[2]
            assert it.process.returncode == 1, f"it has ended with {it.process.returncode}:\n{said[-3000:]}"
            assert any(why in last for why in AWAY), f"it has ended by itself:\n{said[-3000:]}"
            it.start(wait=False)


def stop(worker: WorkerProcess) -> None:
    """SIGTERM has to end it soon, and well."""
    code = worker.stop()
    assert code == 0, f"a worker stopped with {code} within {STOP_S} s:\n{worker.output.read_text()[-3000:]}"


def wait_for_calm(site: ScaledSite, *besides: WorkerProcess) -> None:
    """Return when every partition is somebody's, and everybody has one.

    The broker of tests can not do without: where members come and go while it is handing out partitions, it may never hand any
    out again, to whatever client.
    """
    end = time.monotonic() + PROGRESS_S
    while True:
        supervise(site)
        held = [it.partitions() for it in (*site.workers, *besides)]
        if sum(held) == PARTITIONS and all(held):
            return
        if time.monotonic() > end:
            raise Stuck(f"partitions are not given out after {PROGRESS_S} s: {held}")
        time.sleep(POLL_S)


def wait_for_work(site: ScaledSite) -> None:
    """Return when more was journaled than now in some partition. Raises `Stuck`."""
    end = time.monotonic() + PROGRESS_S
    before = sum(site.offsets().values())
    while sum(site.offsets().values()) <= before:
        supervise(site)
        if time.monotonic() > end:
            logs = "\n".join(f"{it.output}:\n{it.output.read_text()[-2000:]}" for it in (*site.workers, site.gateway))
            raise Stuck(f"nothing was journaled for {PROGRESS_S} s:\n{logs}")
        time.sleep(POLL_S)
