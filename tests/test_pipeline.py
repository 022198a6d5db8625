"""The threaded pipeline: order, bounds, errors, early end."""

import threading
import time

import pytest

from alseg_fast.pipeline import Stage, run_ordered


def test_results_come_in_the_order_of_the_source():
    def slow_for_even(_, x):
        if x % 2 == 0:
            time.sleep(0.002)
        return x * 10

    stages = [Stage("a", slow_for_even, threads=4), Stage("b", lambda _, x: x + 1, threads=2)]
    assert list(run_ordered(range(200), stages, in_flight=8)) == [x * 10 + 1 for x in range(200)]


@pytest.mark.parametrize(("n", "group"), [(0, 3), (1, 3), (10, 3), (12, 4), (5, 100)])
def test_groups_change_hands_together_and_come_out_one_by_one(n, group):
    stages = [Stage("a", lambda _, x: x * 2, threads=2), Stage("b", lambda _, x: x + 1)]
    assert list(run_ordered(range(n), stages, in_flight=8, group=group)) == [x * 2 + 1 for x in range(n)]


def test_an_empty_source_ends():
    assert list(run_ordered([], [Stage("a", lambda _, x: x)], in_flight=2)) == []


def test_no_more_than_in_flight_items_are_taken_from_the_source():
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield i

    results = run_ordered(source(), [Stage("a", lambda _, x: x, threads=3)], in_flight=5)
    next(results)
    time.sleep(0.05)
    # one was handed out, five may wait, and the source may hold one more in its hand
    assert len(taken) <= 7
    results.close()


@pytest.mark.parametrize("where", ["source", "stage", "state"])
def test_an_exception_anywhere_is_raised_to_the_consumer(where):
    def source():
        yield from range(5)
        if where == "source":
            raise ValueError("source broke")

    def work(_, x):
        if where == "stage" and x == 3:
            raise ValueError("stage broke")
        return x

    def state():
        if where == "state":
            raise ValueError("state broke")

    with pytest.raises(ValueError, match=f"{where} broke"):
        list(run_ordered(source(), [Stage("a", work, threads=2, make_state=state)], in_flight=4))


def test_each_thread_has_a_state_of_its_own():
    made = []

    def state():
        made.append(threading.current_thread().name)
        return object()

    list(run_ordered(range(20), [Stage("a", lambda _, x: x, threads=3, make_state=state)], in_flight=6))
    assert len(made) == len(set(made)) == 3


def test_closing_early_stops_every_thread():
    before = threading.active_count()
    results = run_ordered(iter(int, 1), [Stage("a", lambda _, x: x, threads=2)], in_flight=4)
    next(results)
    results.close()
    assert threading.active_count() == before
