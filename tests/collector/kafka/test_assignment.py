"""What a consumer's thread knows of its partitions."""

import pytest

from collector.kafka.assignment import Assignment, ConsumerLimits, Hold
from collector.kafka.bad_share import BadShare

LIMITS = ConsumerLimits(partition_bytes_max=100, in_flight_bytes_max=300)


@pytest.fixture
def assignment() -> Assignment:
    return Assignment(LIMITS)


def opened(assignment: Assignment, partition: int, offset: int = 0) -> int:
    generation = assignment.add(partition)
    assert assignment.open(partition, generation, offset)
    assignment.turns()
    return generation


def test_nothing_of_a_partition_is_used_before_it_is_opened(assignment: Assignment) -> None:
    generation = assignment.add(3)
    assert not assignment.take(3, 0, 1)
    assert assignment.holds() == {3: {Hold.OPENING}}
    assert assignment.turns() == ([], [])
    assert assignment.open(3, generation, 7)
    assert assignment.turns() == ([], [3])
    assert not assignment.take(3, 6, 1)
    assert assignment.take(3, 7, 1)
    assert assignment.next_offset(3) == 8


def test_offsets_that_were_read_are_not_used_again(assignment: Assignment) -> None:
    opened(assignment, 0)
    assert assignment.take(0, 5, 1)
    assert not assignment.take(0, 5, 1)


def test_a_partition_that_comes_back_is_another_one(assignment: Assignment) -> None:
    before = opened(assignment, 0)
    after = assignment.add(0)
    assert not assignment.is_of(0, before)
    assert not assignment.open(0, before, 9)
    assert assignment.generation(0) is None
    assert assignment.open(0, after, 4)
    assignment.take(0, 4, 50)
    assignment.stored(0, before, 50)
    assert assignment.in_flight_bytes == 50


def test_a_partition_is_held_at_its_limit_and_goes_on_at_half_of_it(assignment: Assignment) -> None:
    generation = opened(assignment, 0)
    assignment.take(0, 0, 100)
    assert assignment.turns() == ([0], [])
    assert assignment.holds() == {0: {Hold.PARTITION_BYTES}}
    assignment.stored(0, generation, 49)
    assert assignment.turns() == ([], [])
    assignment.stored(0, generation, 1)
    assert assignment.turns() == ([], [0])


def test_all_partitions_are_held_at_the_limit_of_all(assignment: Assignment) -> None:
    generations = [opened(assignment, partition) for partition in range(4)]
    for partition in range(3):
        assignment.take(partition, 0, 100)
    assert assignment.turns() == ([0, 1, 2, 3], [])
    assert assignment.holds()[3] == {Hold.IN_FLIGHT_BYTES}
    for partition in range(3):
        assignment.stored(partition, generations[partition], 50)
    assert assignment.turns() == ([], [0, 1, 2, 3])


def test_what_is_on_its_way_is_forgotten_with_the_partition(assignment: Assignment) -> None:
    generation = opened(assignment, 0)
    opened(assignment, 1)
    assignment.take(0, 0, 60)
    assignment.take(1, 0, 30)
    assignment.remove(0)
    assert assignment.in_flight_bytes == 30
    assignment.stored(0, generation, 60)
    assert assignment.in_flight_bytes == 30


def test_a_hold_stays_until_it_is_let_go_and_a_closed_partition_has_to_be_opened(assignment: Assignment) -> None:
    generation = opened(assignment, 0)
    assignment.hold(0, generation, Hold.BACKLOG, on=True)
    assert assignment.turns() == ([0], [])
    assignment.hold(0, generation, Hold.BACKLOG, on=False)
    assert assignment.turns() == ([], [0])
    assignment.close(0, generation)
    assert assignment.turns() == ([0], [])
    assert not assignment.take(0, 0, 1)


def test_a_few_bad_messages_are_not_too_many() -> None:
    share = BadShare()
    assert not any(share.note(bad=True) for _ in range(19))
    assert share.note(bad=True)


def test_bad_messages_of_long_ago_do_not_count() -> None:
    share = BadShare()
    assert {share.note(bad=number % 100 == 0) for number in range(100_000)} == {False}
    assert share.bad == 10
