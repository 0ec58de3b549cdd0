"""An event loop in which time is a number and every choice is a seed's: no sockets, no threads, nothing that waits.

Every callback belongs to the simulated process whose context it was made in. A process can be frozen (what it would do is held
back), thawed, and killed (what it would do never happens); the database and the clients belong to none, so they go on.
"""

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

BURIAL_ROUNDS_MAX = 2000


class Hang(AssertionError):
    """Something that should have happened by now has not, or never will."""


class Process:
    """A simulated operating-system process: what runs in `context` belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.doomed = False  # on its way there: what it does has no effect any more
        self.frozen = False
        self.held: list[SimHandle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class SimHandle:
    """A callback that is due, or that waits for its time."""

    __slots__ = ("_when", "args", "callback", "context", "gone", "process")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None) -> None:
        self.context = contextvars.copy_context() if context is None else context
        self.callback = callback
        self.args = args
        self.process = self.context.get(PROCESS)
        self.gone = False
        self._when = 0.0

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self._when


class SimLoop(asyncio.AbstractEventLoop):
    """Runs what is ready in an order that `rng` chooses, and moves time on when nothing is.

    `shuffle` is the share of callbacks that are taken out of turn. Work for threads is done at once.
    """

    def __init__(self, rng: random.Random, *, shuffle: float = 0.0) -> None:
        self.rng = rng
        self.shuffle = shuffle
        self.now_s = 0.0
        self.steps = 0
        self.failures: list[str] = []
        self._ready: deque[SimHandle] = deque()
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._numbers = 0

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None) -> SimHandle:  # type: ignore[override]
        handle = SimHandle(callback, args, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, context)
        handle._when = when
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name or "sim", context=context)
        process = (context.get(PROCESS) if context is not None else None) or PROCESS.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def run_in_executor(self, _: object, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Exception):
            self.failures.append(f"{context.get('message')}: {context['exception']!r}")

    def run_until(self, done: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Let things happen until `done()`, or `Hang` when the virtual deadline passes."""
        self._as_running(lambda: self._run_until(done, deadline_s, what))

    def _run_until(self, done: Callable[[], bool], deadline_s: float, what: str) -> None:
        while not done():
            if not self._ready and not self._advance():
                raise Hang(f"{what}: nothing is left to happen at {self.now_s:.3f} s")
            if self.now_s > deadline_s:
                raise Hang(f"{what}: not by {deadline_s:.0f} s")
            self._one(self._take())

    def _as_running(self, work: Callable[[], None]) -> None:
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            work()
        finally:
            events._set_running_loop(before)

    def _advance(self) -> bool:
        """Move time on to the next timers; False when there are none."""
        timers = self._timers
        while timers and timers[0][2].gone:
            heapq.heappop(timers)
        if not timers:
            return False
        self.now_s = max(self.now_s, timers[0][0])
        while timers and timers[0][0] <= self.now_s:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                self._ready.append(handle)
        return True

    def _take(self) -> SimHandle:
        ready = self._ready
        if len(ready) > 1 and self.shuffle and self.rng.random() < self.shuffle:
            ready.rotate(-self.rng.randrange(len(ready)))
        return ready.popleft()

    def _one(self, handle: SimHandle) -> None:
        process = handle.process
        if handle.gone or (process is not None and process.dead):
            return
        if process is not None and process.frozen:
            process.held.append(handle)
            return
        self.steps += 1
        handle.context.run(handle.callback, *handle.args)

    def thaw(self, process: Process) -> None:
        """SIGCONT: everything that was held back is due now."""
        process.frozen = False
        self._ready.extend(process.held)
        process.held.clear()

    def kill(self, process: Process) -> None:
        """SIGKILL: nothing of the process ever happens again.

        Its coroutines are unwound first, so that Python has nothing to complain of; whoever serves it has
        to make sure that this has no effect beyond it: it is `doomed` by then.
        """
        process.doomed = True
        mine = process.held + [handle for handle in self._ready if handle.process is process]
        process.held = []
        self._ready = deque(handle for handle in self._ready if handle.process is not process)
        others, self._ready = self._ready, deque(mine)
        process.frozen = False
        self._as_running(lambda: self._unwind(process))
        process.dead = True
        self._ready.clear()
        self._ready = others
        self._timers = [entry for entry in self._timers if entry[2].process is not process]
        heapq.heapify(self._timers)

    def _unwind(self, process: Process) -> None:
        for _ in range(BURIAL_ROUNDS_MAX):
            alive = [task for task in process.tasks if not task.done()]
            if not alive:
                return
            if not self._ready:
                for task in alive:
                    task.cancel()
            if not self._ready:
                break
            handle = self._ready.popleft()
            if not handle.gone and handle.process is process:
                handle.context.run(handle.callback, *handle.args)
        stuck = [task.get_name() for task in process.tasks if not task.done()]
        if stuck:
            raise Hang(f"tasks of {process.name} survive their cancellation: {stuck}")
