"""Of the kernel in presence.pyx: what it hands over."""


class Pause(NamedTuple):
    """A silence of the whole stream that its past does not explain, in ns of time."""

    record: int
    start_ns: int
    end_ns: int
    p_value: float
    p_value_threshold: float
    score: float
    surprise: float
    expected: float
    silences: int


class Silence(NamedTuple):
    """A usual line that should have come by `time_ns`."""

    record: int
    time_ns: int
    template: int
    text: bytes
    last_ns: int
    last_event: int
    events: int
    expected: float
    p_value: float
    p_value_threshold: float
    score: float
    surprise: float
    usual_ns: int
    longest_ns: int
    silences: int


class Taken(NamedTuple):
    """What the records up to `stop` (exclusive) showed."""

    stop: int
    minutes_ns: array.array
    counts: array.array
    closed_by: array.array
    first_event: array.array
    pauses: list
    silences: list
