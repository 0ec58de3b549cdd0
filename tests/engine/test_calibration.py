"""How many events verdicts need."""

from driftlock.engine.calibration import events_until_calibrated, events_until_first_alarm
from driftlock.engine.limits import Limits
from driftlock.engine.profile import PROFILES


def test_stated_events() -> None:
    limits = Limits()
    assert {name: events_until_first_alarm(profile, limits) for name, profile in PROFILES.items()} == {
        "sensitive": 1230,
        "balanced": 2450,
        "strict": 20900,
    }
    assert events_until_calibrated(PROFILES["balanced"], limits) == 5000
    assert events_until_calibrated(PROFILES["strict"], limits) == 20900
