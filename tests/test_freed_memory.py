"""Freed memory that the process keeps."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from alseg_fast.freed_memory import keep_freed_memory

def faults_of_a_second_round():
    [np.ones(3 << 17) for _ in range(8)]  # 3 MiB each: from 4 MiB on NumPy asks for huge pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [np.ones(3 << 17) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults_of_a_second_round()
changed = keep_freed_memory()
print(changed, before, faults_of_a_second_round())
"""


def run(**variables):
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True
    )
    changed, before, after = done.stdout.split()
    return changed == "True", int(before), int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator; this is another C library")
def test_the_next_allocation_takes_what_was_freed():
    changed, before, after = run()
    assert changed
    assert after < before / 10


def test_a_user_who_tunes_malloc_is_left_alone():
    changed, *_ = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not changed
