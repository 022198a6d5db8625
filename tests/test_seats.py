"""Workers that step aside when they share a CPU."""

import os

import pytest

from alseg_fast import _native
from alseg_fast.seats import Seats

CPUS = os.sched_getaffinity(0)


def test_the_current_cpu_is_one_of_the_allowed():
    assert _native.current_cpu() in CPUS


@pytest.mark.skipif(len(CPUS) < 2, reason="stepping aside needs a second CPU")
def test_a_worker_leaves_a_shared_cpu_and_keeps_its_freedom():
    seats = Seats()
    me, other = seats.join(), seats.join()
    seats._seen[other] = _native.current_cpu()
    os.sched_setaffinity(0, {seats._seen[other]})  # the test must not be moved between the two lines
    os.sched_setaffinity(0, CPUS)
    for _ in range(100):  # the scheduler may move the test itself at any time
        seats._seen[other] = _native.current_cpu()
        seats.settle(me)
        if seats._seen[me] != seats._seen[other]:
            break
    assert seats._seen[me] != seats._seen[other]
    assert os.sched_getaffinity(0) == CPUS


def test_more_workers_than_cpus_stay_where_they_are():
    seats = Seats()
    me = seats.join()
    for cpu in CPUS:
        seats._seen[seats.join()] = cpu
    seats.settle(me)
    assert os.sched_getaffinity(0) == CPUS
