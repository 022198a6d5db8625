"""Adding, removing, merging, saving and loading in any order: always the neighbours of the rows that are there."""

import tempfile
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import alseg_fast as alseg
from alseg_fast.histogram_index import changes
from brute_force import make_histograms

POOL = make_histograms(np.random.default_rng(0), 60, 4, 2)


class Life(RuleBasedStateMachine):
    """An index beside a dict of what must be in it."""

    @initialize(text=st.booleans(), cells=st.sampled_from([None, "auto", 2]), half=st.booleans())
    def begin(self, text, cells, half):
        self.folder = tempfile.TemporaryDirectory()
        self.path = f"{self.folder.name}/index"
        self.name = (lambda i: f"image {i}") if text else int
        self.index = alseg.HistogramIndex(4, channels=2, cells=cells, dtype="float16" if half else "float32")
        self.rows = {}

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(numbers=st.sets(st.integers(0, 59), min_size=1, max_size=12), classes=st.integers(1, 3))
    def add(self, numbers, classes):
        fresh = [i for i in numbers if i not in self.rows]
        self.index.add([self.name(i) for i in fresh], POOL[fresh].reshape(-1, 4), [i % classes for i in fresh])
        self.rows.update({i: i % classes for i in fresh})

    @rule(numbers=st.sets(st.integers(0, 59), min_size=1, max_size=12))
    def remove(self, numbers):
        here = [i for i in numbers if i in self.rows]
        self.index.remove([self.name(i) for i in here])
        for i in here:
            del self.rows[i]

    @rule(max_rows=st.sampled_from([None, 1, 7]))
    def optimize(self, max_rows):
        self.index.optimize(max_rows=max_rows)

    @rule()
    def save(self):
        self.index.save(self.path)

    @rule(mmap=st.booleans(), verify=st.booleans())
    def save_and_load(self, mmap, verify):
        self.index.save(self.path)
        self.index = alseg.HistogramIndex.load(self.path, mmap=mmap, verify=verify)

    @invariant()
    def what_is_there_is_found(self):
        if not hasattr(self, "rows"):
            return
        assert len(self.index) == len(self.rows)
        counts = {label: n for label, n in self.index.classes.items() if n}
        assert counts == {c: list(self.rows.values()).count(c) for c in set(self.rows.values())}
        assert self.index.ids().tolist() == sorted(self.name(i) for i in self.rows)
        if not self.rows:
            return
        numbers = sorted(self.rows)
        names = [self.name(i) for i in numbers]
        assert self.index.labels_of(names) == [self.rows[i] for i in numbers]
        fresh = alseg.HistogramIndex(4, channels=2, cells=None, dtype=self.index.dtype)
        fresh.add(names, POOL[numbers], [self.rows[i] for i in numbers])
        assert np.array_equal(self.index.rows(names), fresh.rows(names))
        label = self.rows[numbers[0]]
        exclude = [names[0], None, names[-1]]
        found = [ix.search(POOL[[numbers[0], 3, 7]], label, 9, exclude=exclude) for ix in (self.index, fresh)]
        assert np.array_equal(found[0].distances, found[1].distances)
        assert np.array_equal(found[0].ids, found[1].ids)
        assert found[0].certified.all()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_few_rows_join_the_tail_and_a_full_tail_becomes_a_block(monkeypatch):
    monkeypatch.setattr(changes, "TAIL_ROWS", 10)
    index = alseg.HistogramIndex(4, channels=2, cells=3)
    sizes = []
    for start in range(0, 30, 3):
        index.add(np.arange(start, start + 3), POOL[start : start + 3])
        sizes.append(index.blocks[None])
    assert sizes[:5] == [[3], [6], [9], [12], [12, 3]]
    index.add(np.arange(30, 60), POOL[30:])
    assert sum(index.blocks[None]) == 60
    assert 30 in index.blocks[None]
    index.optimize()
    assert index.blocks == {None: [60]}


def test_blocks_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(changes, "TAIL_ROWS", 1)
    monkeypatch.setattr(changes, "MOST_BLOCKS", 5)
    index = alseg.HistogramIndex(4, channels=2)
    for i in range(60):
        index.add([i], POOL[i : i + 1])
        assert len(index.blocks[None]) <= 5
    assert index.ids().tolist() == list(range(60))


def test_a_removed_id_may_come_again_elsewhere():
    index = alseg.HistogramIndex(4, channels=2)
    index.add([1, 2, 3], POOL[:3], ["a", "a", "b"])
    index.remove([2])
    index.add([2], POOL[5:6], "b")
    assert index.classes == {"a": 1, "b": 2}
    assert np.array_equal(index.rows([2])[0], POOL[5])
    assert index.search(POOL[5:6], "b", 1).ids.tolist() == [[2]]
    index.remove([2])
    index.add([2], POOL[6:7], "a")
    assert index.labels_of([2]) == ["a"]
    assert index.search(POOL[6:7], "a", 5).ids[0, :2].tolist() == [2, 1]


def test_a_search_sees_the_index_as_it_was_when_it_began():
    """One thread searches while another adds, removes and merges: every answer is that of some moment."""
    index = alseg.HistogramIndex(4, channels=2, cells=2)
    index.add(np.arange(20), POOL[:20])
    stop, wrong = threading.Event(), []

    def search():
        while not stop.is_set():
            found = index.search(POOL[:2], k=60, num_threads=1)
            for ids, distances in zip(found.ids.tolist(), found.distances, strict=True):
                there = {i for i in ids if i >= 0}
                extra = there - set(range(20))
                ascending = (np.diff(distances[: len(there)]) >= 0).all()
                if set(range(20)) - there or len(extra) not in (0, 20, 40) or not ascending:
                    wrong.append(sorted(there))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            index.add(np.arange(20, 40), POOL[20:40])
            index.add(np.arange(40, 60), POOL[40:60])
            index.optimize()
            index.remove(np.arange(20, 60))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_threads_that_add_do_not_lose_rows():
    index = alseg.HistogramIndex(4, channels=2)
    failed = []

    def add(first):
        for i in range(first, 60, 4):
            index.add([i], POOL[i : i + 1])
            try:
                index.add([i], POOL[i : i + 1])
                failed.append(i)
            except alseg.AlsegError:
                pass

    threads = [threading.Thread(target=add, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert index.ids().tolist() == list(range(60))


@pytest.mark.parametrize("weights", [None, (2.0, 0.5), "published"])
def test_the_answer_does_not_depend_on_threads_or_blocks(weights):
    rng = np.random.default_rng(3)
    hist = make_histograms(rng, 6000, 8, 2)
    results = []
    for cut, threads in ((6000, 1), (6000, 2), (6000, 5), (5000, 2), (700, 3)):
        index = alseg.HistogramIndex(8, channels=2, weights=weights, max_rows_exact=200)
        for start in range(0, 6000, cut):
            index.add(np.arange(start, min(start + cut, 6000)), hist[start : start + cut])
        results.append(index.search(hist[:20], k=7, num_threads=threads, exclude=np.arange(20)))
    for other in results[1:]:
        assert np.array_equal(other.ids, results[0].ids)
        assert np.array_equal(other.distances, results[0].distances)
    for other in results[1:3]:
        assert np.array_equal(other.stats.visited, results[0].stats.visited)
        assert np.array_equal(other.stats.reranked, results[0].stats.reranked)
