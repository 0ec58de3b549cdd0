"""Limits of the detector, in one place. Each bounds memory or work of one stream, whatever its events look like."""

from dataclasses import dataclass

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the folds' state and of the time they accept.

    Texts: an event is cut at `event_bytes_max`, and to its fair share of `window_bytes_max` when the window is full (so a
    window never holds more than twice that); `past_bytes_max` bounds the distinct lines of its past, which are those of the
    baseline and those that came more than once in the last `memory_events`. Together they keep its state below 128 KiB
    under the built-in profiles. `coder_bytes_max` bounds the statistical coder's counts.
    A stream that groups its records keeps `interactions_max` open interactions in `interactions_bytes_max`, beside all this.
    Time: `lateness_ns` is how far behind the stream's watermark a record's own time is believed, `future_ns` how far ahead
    of its receive time; records outside are scored at the watermark and counted as late.
    Calibration: the reference holds `reference_windows_max` window statistics, compared in blocks of `block_windows`, and
    never the newest `lag_windows`, which overlap the window under test (all three more where windows overlap deeper);
    `normal_windows_max` unflagged windows say what is usual; under `calibrated_events_min` events a verdict is provisional.
    Alerts: a tenant has at most `tenant_alerts_per_day_max` in any 24 hours unless it is told otherwise; the ledgers of all its
    streams together remember `budget_entries_max` alerts, spans and peaks.
    Numbers: a metrics stream knows `series_max` series and forgets the longest unseen ones beyond; it holds about
    `series_resident_max` of them in memory. Names are cut at `series_name_bytes_max`. A tenant pools `pool_resources_max`
    resources.
    Traces: `traces_open_max` traces of at most `trace_spans_max` spans wait in `traces_bytes_max` for the rest of them; one is
    over `trace_linger_ns` after its root was over and seen, at the latest when nothing of it came for `trace_idle_ns`, and by
    the wall clock `trace_grace_ns` later where the stream has stopped. Whatever senders' clocks say, spans take the time of a
    stream no further ahead of the server's clock than `trace_ahead_ns`. `operations_max` operations are told apart, and the
    names of `trace_instances_max` instances are known.
    """

    event_bytes_max: int = 4096
    window_bytes_max: int = 28 * 1024
    past_bytes_max: int = 44 * 1024
    coder_bytes_max: int = 96 * 1024
    interactions_max: int = 8192
    interactions_bytes_max: int = 2 * 1024 * 1024
    memory_events: int = 10_000
    reference_windows_max: int = 1000
    block_windows: int = 5
    lag_windows: int = 5
    normal_windows_max: int = 100
    calibrated_events_min: int = 5000
    lateness_ns: int = 5 * MINUTE_NS
    future_ns: int = 10 * MINUTE_NS
    finding_lines_max: int = 10
    line_spans_max: int = 64
    incident_gap_windows: int = 5
    incident_idle_ns: int = 15 * MINUTE_NS
    bucket_ns: int = MINUTE_NS
    bucket_grace_ns: int = 5 * SECOND_NS
    pending_flags_max: int = 10_000
    tenant_alerts_per_day_max: int = 100
    budget_entries_max: int = 50_000
    series_max: int = 20_000
    series_resident_max: int = 2_000
    series_name_bytes_max: int = 1024
    pool_resources_max: int = 1_000
    traces_open_max: int = 100_000
    traces_bytes_max: int = 512 * 1024 * 1024
    trace_spans_max: int = 10_000
    trace_linger_ns: int = 15 * SECOND_NS
    trace_idle_ns: int = 2 * MINUTE_NS
    trace_grace_ns: int = 15 * SECOND_NS
    trace_ahead_ns: int = 5 * SECOND_NS
    operations_max: int = 4096
    trace_instances_max: int = 4096


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of the applier. Times are in ns, sizes in bytes of journal bodies or of resident states unless said otherwise.

    Rows with records of at most `inline_bytes` together, uncompressed, are folded on the event loop, more of them on `threads`.
    After a step of so few the applier rests for `step_pause_s`, so that the next one is of more.
    Senders have to find their way back after a start: for `settle_ns` no stream is called silent, and for `close_settle_ns` no
    trace is closed because the wall clock went on. `resident_streams_max` counts in ordinary streams: a stream of traces weighs
    as many as it takes the bytes of.
    """

    read_bytes_max: int = 4 * 1024 * 1024
    inline_bytes: int = 64 * 1024
    threads: int = 2
    checkpoint_bytes: int = 1024 * 1024
    checkpoint_period_ns: int = 30 * SECOND_NS
    resident_streams_max: int = 1000
    step_checkpoints_max: int = 200
    clock_period_ns: int = 5 * SECOND_NS
    settle_ns: int = 2 * MINUTE_NS
    close_settle_ns: int = 30 * SECOND_NS
    retry_delay_s: float = 0.5
    step_pause_s: float = 0.0
