"""The fuzzer's parts, and a short run without it: the same mutations every time."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.otlp.decode import Decoder, decode
from collector.otlp.limits import OtlpLimits
from collector.routing import ResourceRouter, Router
from driftlock.engine.event import Signal
from tests.collector.replacing import Replacing
from tests.fuzz.cases import LIMITS, REDACTED, SIGNALS, STARS, Case, case_of, differences
from tests.fuzz.fields import Field, read, write
from tests.fuzz.mutator import Mutator
from tests.fuzz.seeds import REQUESTS, seeds, signal_of

SEEDS = seeds()
BYTES_MAX = 4096


def rest(case: Case) -> tuple[Router, Replacing | None]:
    return ResourceRouter(), case.rules


def mutations(seed: bytes, count: int) -> list[bytes]:
    """Files a few changes away from a seed and from each other."""
    random, found, mutator = Random(seed), [seed], Mutator(SEEDS)
    for _ in range(count):
        parent = seed if random.random() < 0.3 else random.choice(found[-8:])
        found.append(mutator.change(parent, BYTES_MAX, random))
    return found[1:]


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_decoder_and_oracle_agree_on_seeds_and_their_mutations(number: int) -> None:
    for data in [SEEDS[number], *mutations(SEEDS[number], 60)]:
        assert differences(case_of(data)) == [], data.hex()


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_decoder_that_remembers_routes_says_what_a_new_one_says(signal: Signal) -> None:
    decoder = Decoder(LIMITS[1], ResourceRouter())
    for seed in SEEDS:
        if signal_of(seed) is signal:
            for data in mutations(seed, 40):
                case = replace(case_of(data), signal=signal, limits=LIMITS[1], rules=None)
                assert differences(case, lambda request, kind, *_: decoder.decode(request, kind)) == [], data.hex()


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_a_seed_says_something_under_the_first_limits(number: int) -> None:
    case = replace(case_of(SEEDS[number]), limits=OtlpLimits())
    assert decode(case.request, case.signal, case.limits, *rest(case)).accepted > 0


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_reading_a_request_into_fields_loses_nothing(number: int) -> None:
    seed = SEEDS[number]
    assert write(read(seed[2:], REQUESTS[signal_of(seed)].DESCRIPTOR)) == seed[2:]


@given(st.binary(max_size=200))
def test_fields_of_any_bytes_are_again_a_message_that_reads_the_same(data: bytes) -> None:
    """Numbers may be spelled shorter."""
    message = REQUESTS[Signal.METRICS].DESCRIPTOR
    once = write(read(data, message))
    assert write(read(once, message)) == once


def test_padding_makes_varints_longer_and_says_the_same() -> None:
    padded = write([Field(1, 0, 5, padding=2)])
    assert padded == b"\x88\x80\x00\x05"
    assert [(field.number, field.value) for field in read(padded, None)] == [(1, 5)]


def test_mutations_are_bounded_and_the_same_every_time() -> None:
    first, again = (mutations(SEEDS[3], 200) for _ in range(2))
    assert first == again
    assert len(set(first)) > 150
    assert max(map(len, first)) <= BYTES_MAX


def test_mutations_reach_refusals_rejections_and_cuts() -> None:
    """A mutator that only makes garbage, or that only makes what is accepted, tests little."""
    answers = {"accepted": 0, "rejected": 0, "cut": 0, "refused": 0}
    for data in mutations(SEEDS[0], 300) + mutations(SEEDS[6], 300):
        case = case_of(data)
        try:
            found = decode(case.request, case.signal, case.limits, *rest(case))
        except Exception:
            answers["refused"] += 1
            continue
        answers["accepted"] += found.accepted > 0
        answers["rejected"] += bool(found.rejected)
        answers["cut"] += found.cuts.truncated + found.cuts.replaced > 0
    assert all(count >= 5 for count in answers.values()), answers


def test_every_file_is_a_case() -> None:
    assert case_of(b"").request == b""
    assert case_of(b"").signal is Signal.LOGS
    assert {case_of(bytes([choice])).signal for choice in range(256)} == set(SIGNALS)
    assert case_of(bytes([REDACTED])).rules is STARS


class _Wrong:
    """The decoder with one fault."""

    def __init__(self, **limits: Any) -> None:
        self._limits = limits

    def __call__(self, request: bytes, signal: Signal, limits: OtlpLimits, *rest: Any) -> Any:
        return decode(request, signal, replace(limits, **self._limits), *rest)


@pytest.mark.parametrize("fault", [{"records_max": 1}, {"text": LIMITS[1].text}, {"request_bytes_max": 5}], ids=str)
def test_a_difference_is_told(fault: dict[str, Any]) -> None:
    told = [line for seed in SEEDS for line in differences(case_of(seed), _Wrong(**fault))]
    assert told
