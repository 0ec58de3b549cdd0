"""`POST /v1/demo/detect`: events in, what is new among them out, for anybody. Nothing is stored, and nothing is remembered.

The events are judged by themselves: the first of them are the past of the others (`driftlock.engine.quick`). Who may call how
often is decided before the handler (`api.throttle`).
"""

import asyncio
import threading
from dataclasses import dataclass

from api import models, views
from api.endpoint import Call, Endpoint, Repeated, Reply
from api.events import decode
from api.overrides import given, overridden
from api.throttle import rate_limit_of, slots_of
from driftlock.engine.calibration import events_until_calibrated, events_until_first_alarm
from driftlock.engine.canonical import Cuts
from driftlock.engine.event import Signal, StreamKey
from driftlock.engine.limits import Limits
from driftlock.engine.profile import Profile
from driftlock.engine.quick import QUICK_EVENTS_MIN, QuickResult, quick_detect
from driftlock.engine.verdict import Calibration
from driftlock.errors import Internal, InvalidArgument, PayloadTooLarge, Unavailable

PATH = "/v1/demo/detect"
STREAM = StreamKey(Signal.LOGS, "demo")
SEED = 0
"""The same events get the same answer from every server."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the thread brings back; `anomalies` are at most as many as an answer may hold."""

    result: QuickResult
    anomalies: tuple[models.DemoAnomaly, ...]
    cuts: Cuts


async def detect(call: Call) -> Reply:
    """Judge the events of the request in a thread, within `demo_ms_max`."""
    clock = asyncio.get_running_loop().time
    started = clock()
    deps, request = call.deps, call.body(models.DemoRequest)
    count = len(request.events)
    if count > deps.limits.demo_events_max:
        raise PayloadTooLarge(
            f"the request holds {count} events, the demo takes at most {deps.limits.demo_events_max} (demo_events_max); "
            "POST /v1/detect takes more",
            pointer="/events",
        )
    if count < QUICK_EVENTS_MIN:
        raise InvalidArgument(
            f"{count} events are too few to compare; send at least {QUICK_EVENTS_MIN} (events_min)", pointer="/events"
        )
    asked = deps.detector.profile
    if "config_override" in request.model_fields_set:
        asked = overridden(asked, given(request.config_override), "config_override")
    with slots_of(call.request.scope).hold():
        judged = await _judged_in_time(call, request, asked)
    return Reply(_response(call, asked, judged, count, round((clock() - started) * 1000)))


async def _judged_in_time(call: Call, request: models.DemoRequest, profile: Profile) -> _Judged:
    """The verdicts; raise `Unavailable` when they take too long. The thread is free again in any case when this returns."""
    deps, limits = call.deps, call.deps.limits
    if deps.demo is None:
        raise Internal("the demo is served but has no rules")
    abandoned = threading.Event()

    def work() -> _Judged:
        decoded = decode(request.events, historical=True, limits=deps.record_limits)
        result = quick_detect(STREAM, decoded.batch, profile, seed=SEED, limits=Limits(), abandoned=abandoned.is_set)
        anomalies = tuple(views.demo_anomaly(finding) for finding in result.findings[: limits.demo_anomalies_max])
        return _Judged(result, anomalies, decoded.cuts)

    thread = asyncio.get_running_loop().run_in_executor(deps.demo.executor, work)
    thread.add_done_callback(_looked_at)
    try:
        await asyncio.wait([thread], timeout=limits.demo_ms_max / 1000)
    finally:
        abandoned.set()  # a thread can not be stopped from outside: it looks before every window
    await asyncio.wait([thread])
    try:
        return thread.result()
    except Unavailable:
        raise Unavailable(
            f"the detection took longer than {limits.demo_ms_max} ms (demo_ms_max); "
            "send fewer events, a larger hop_size or a lower codec_level"
        ) from None


def _looked_at(work: asyncio.Future[_Judged]) -> None:
    """See how the work ended: where the request is gone by then, asyncio would report its error as a forgotten one."""
    if not work.cancelled():
        work.exception()


def _response(call: Call, asked: Profile, judged: _Judged, count: int, duration_ms: int) -> models.DemoResponse:
    result, used = judged.result, judged.result.profile
    needed = max(0, events_until_calibrated(asked, Limits()) - count)
    return models.DemoResponse(
        request_id=call.request_id,
        status=models.StreamStatus.PROVISIONAL,
        calibration=models.CalibrationProgress(
            state=Calibration.PROVISIONAL,
            reason="so few events have no calibrated p-values",
            events_until_first_alarm=max(0, events_until_first_alarm(asked, Limits()) - count),
            events=count,
            needed=needed,
            percent=100 * count // (count + needed),
        ),
        processed=count,
        profile=views.profile(used),
        anomalies=judged.anomalies,
        anomalies_truncated=len(result.findings) > len(judged.anomalies),
        cuts=models.Cuts(
            truncated=judged.cuts.truncated,
            attributes_dropped=judged.cuts.attributes_dropped,
            replaced=judged.cuts.replaced,
        ),
        metrics=models.DemoMetrics(
            baseline=used.baseline_size,
            window=used.window_size,
            hop=used.hop_size,
            duration_ms=duration_ms,
            codec=used.codec,
            windows=result.windows,
            scaled=result.scaled,
        ),
        remaining=rate_limit_of(call.request.scope).remaining,
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        PATH,
        "demoDetect",
        "demo",
        "Tell what is new in a few events, without a key and without storing them",
        detect,
        {200: models.DemoResponse},
        request=models.DemoRequest,
        demo=True,
        repeated=Repeated.NOTHING_STORED,
    ),
)
