"""Limits of the journal's entrance."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Sizes in bytes of compressed bodies unless said otherwise, times in ms.

    `journal_bytes_max` bounds what is on disk, `queue_bytes_max` and `queue_requests_max` what waits in memory, the
    `group_*` ones a transaction. A byte-identical resend within `dedup_window_ms` of the first is a duplicate.
    `encode_inline_bytes_max` (raw bytes): larger requests are compressed on a thread, away from the event loop.
    A group of less than `gather_bytes_max` waits `gather_ms` for others, if the one before it had several requests.
    `arriving_requests_max` and `arriving_bytes_max` (raw bytes) bound what waits for ids of streams or is being compressed.
    `recent_bytes_max` bounds what is kept in memory of committed batches until the applier comes for them.
    """

    journal_bytes_max: int = 4 * 1024**3
    queue_bytes_max: int = 64 * 1024**2
    queue_requests_max: int = 4096
    arriving_requests_max: int = 1024
    arriving_bytes_max: int = 256 * 1024**2
    group_bytes_max: int = 16 * 1024**2
    group_requests_max: int = 512
    dedup_window_ms: int = 15 * 60 * 1000
    gather_bytes_max: int = 32 * 1024
    gather_ms: int = 4
    recent_bytes_max: int = 64 * 1024**2
    drain_timeout_ms: int = 5000
    encode_inline_bytes_max: int = 32 * 1024
    stream_cache_entries_max: int = 65_536
