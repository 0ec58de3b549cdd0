"""Which series a stream has."""

from array import array

from cbad_cy.series import LEARNING_POINTS
from driftlock.engine.findings import instance_number
from driftlock.engine.numbers.directory import DEPARTED_MAX, FORGOTTEN_SHARE, Directory, Entry, Seen


def filled(count: int, series_max: int) -> Directory:
    directory = Directory(series_max)
    for number in range(1, count + 1):
        directory.add(number, Entry("", f"m{number}", look_ns=number))
    return directory


def test_the_longest_unseen_are_forgotten_a_share_of_all_at_once() -> None:
    directory = filled(2 * FORGOTTEN_SHARE, 2 * FORGOTTEN_SHARE)
    assert directory.room == 0
    directory.touch([1, 3])
    assert directory.forget() == [2, 4]
    assert directory.room == 2
    assert list(directory.entries)[-2:] == [1, 3]


def test_at_least_one_is_forgotten() -> None:
    assert filled(3, 3).forget() == [1]


def test_new_series_come_in_their_order() -> None:
    assert filled(2, 9).unknown(array("Q", [5, 1, 4, 5, 2])) == [5, 4]


def test_series_are_looked_at_when_it_is_time_and_then_again() -> None:
    directory = filled(4, 9)
    assert directory.first_look() == 1
    assert directory.due(2) == [1, 2]
    assert directory.due(2) == []
    directory.look_again(1, 4)
    directory.look_again(2, 10)
    assert directory.due(4) == [1, 3, 4]
    assert directory.first_look() == 10


def test_a_series_that_was_forgotten_and_came_again_is_looked_at_once() -> None:
    directory = filled(2, 2)
    assert directory.forget() == [1]
    directory.add(1, Entry("", "m1", look_ns=1))
    assert directory.due(2) == [1, 2]
    assert filled(0, 1).first_look() == 0


def test_counts_of_series_follow_what_is_known_of_them() -> None:
    directory = filled(3, 3)
    entries = directory.entries
    directory.saw(entries[1], LEARNING_POINTS)
    directory.saw(entries[2], 5)
    assert (directory.looked_at, directory.learned) == (2, 1)
    again = Directory(3)
    again.restore(entries.items(), {}, ())
    assert (again.looked_at, again.learned) == (2, 1)
    entries[1].left = Seen(5, 6, 7, 0.5, LEARNING_POINTS)
    entries[1].lag_ns = 4
    directory.anew(1)
    assert (directory.looked_at, directory.learned) == (1, 0)
    assert entries[1] == Entry("", "m1", look_ns=1)
    assert directory.forget() == [1]
    assert directory.forget() == [2]
    assert (directory.looked_at, directory.learned, len(directory)) == (0, 0, 1)


def test_series_without_points_are_not_looked_at_for_ever() -> None:
    directory = filled(2, 9)
    assert directory.due(2) == [1, 2]
    for number in (1, 2):
        directory.look_again(number, 0)
    assert directory.first_look() == 0
    assert directory.idle([1, 3]) == {1}
    directory.wake(1, 7, 5)
    assert (directory.first_look(), directory.idle([1, 2])) == (7, {2})
    assert directory.entries[1].lag_ns == 5
    directory.look_again(1, 90)
    directory.wake(1, 20, 0)  # it has a point, so it is looked at sooner
    assert (directory.due(19), directory.due(20), directory.entries[1].lag_ns) == ([], [1], 2)


def test_forgotten_series_leave_no_look_behind() -> None:
    directory = Directory(16)
    for number in range(1, 1000):
        if not directory.room:
            directory.forget()
        directory.add(number, Entry("", f"m{number}", look_ns=number))
    assert len(directory._looks) <= 2 * 16 + 1
    assert directory.first_look() == 984


def test_instances_are_known_while_one_of_their_series_is() -> None:
    directory = Directory(2)
    directory.add(1, Entry("pod-1", "a", look_ns=1))
    directory.add(2, Entry("pod-2", "b", look_ns=1))
    resource = instance_number("pod-1")
    assert (directory.instance_named(resource), set(directory.of_instance("pod-1"))) == ("pod-1", {1})
    directory.forget()
    assert (directory.instance_named(resource), set(directory.of_instance("pod-1"))) == ("pod-1", set())
    assert directory.named(1) == ("pod-1", "a")  # what it said in the open minute is still to be told
    for number in range(3, DEPARTED_MAX + 5):
        directory.add(number, Entry("pod-3", "c", look_ns=1))
        directory.forget()
    assert (directory.instance_named(resource), directory.named(1)) == (None, None)
    assert len(directory.departed) == DEPARTED_MAX
    assert directory.instance_named(0) is None


def test_what_the_median_series_lacks() -> None:
    directory = filled(5, 9)
    assert directory.points_lacking == LEARNING_POINTS
    for number, points in ((1, 10), (2, 100), (3, 250), (4, 900)):
        directory.saw(directory.entries[number], points)
    assert directory.points_lacking == LEARNING_POINTS - 250
    directory.saw(directory.entries[2], 1000)
    assert directory.points_lacking == 0
