"""The gate of one class against its literal definition: sort everything, look at the first k."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.kernels.js_rerank.reference import js_rerank
from alseg_fast.stages import propagate_gate as gate

CAP = 5


def class_rows(n, seed, kinds=None, dim=12, channels=3):
    """n histograms; drawn from few `kinds`, so that many are equal."""
    rng = np.random.default_rng(seed)
    distinct = rng.dirichlet(np.full(dim // channels, 0.5), (kinds or n, channels)).reshape(-1, dim)
    return distinct[rng.integers(0, kinds, n) if kinds else slice(None)].astype(np.float32)


def all_distances(hist, channels, weights):
    scale = 1 / hist.reshape(len(hist), channels, -1).sum(axis=2, dtype=np.float64)
    everything = np.tile(np.arange(len(hist)), (len(hist), 1))
    return js_rerank(hist, scale, hist, scale, weights, everything)


def literal(distances, labelled, k):
    """{u: partner} by sorting each row of the distance matrix: labelled before unlabelled in a tie, then by row."""
    found = {}
    rows = np.arange(len(labelled))
    for u in np.flatnonzero(~labelled):
        order = [v for v in np.lexsort((rows, ~labelled, distances[u])) if v != u]
        first = next((v for v in order[:k] if labelled[v]), None)
        if first is not None:
            found[int(u)] = int(first)
    return found


def search_of(hist, weights, **options):
    return gate.ClassSearch(hist, 3, weights, **options)


def passing(state, k):
    rows = np.flatnonzero((state.rank >= 0) & (state.rank < k))
    return {int(u): int(state.partner[u]) for u in rows}


def labels_at_random(n, seed, share):
    return np.random.default_rng(seed + 1).random(n) < share


cases = given(
    n=st.integers(1, 24),
    seed=st.integers(0, 10**6),
    kinds=st.one_of(st.none(), st.integers(1, 5)),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.8, 1.0]),
)


@cases
@settings(max_examples=60, deadline=None)
def test_counting_is_the_sorted_scan(n, seed, kinds, share):
    hist, labelled = class_rows(n, seed, kinds), labels_at_random(n, seed, share)
    weights = np.array([0.5, 0.25, 0.25])
    state = gate.find_neighbours(search_of(hist, weights), labelled, CAP)
    distances = all_distances(hist, 3, weights)
    for k in range(1, CAP + 1):
        assert passing(state, k) == literal(distances, labelled, k)
    if n - 1 <= CAP and labelled.any():  # k = CAP holds the whole class
        assert len(passing(state, CAP)) == (~labelled).sum()
    assert state.certified.all()
    assert not np.isfinite(state.distance[labelled]).any()


@cases
@settings(max_examples=60, deadline=None)
def test_added_labels_give_what_a_new_start_gives(n, seed, kinds, share):
    hist, now = class_rows(n, seed, kinds), labels_at_random(n, seed, share)
    before = now & labels_at_random(n, seed + 7, 0.5)
    weights = gate.equal_weights(3)
    for old_cap, cap in ((CAP, CAP), (2, CAP), (CAP, 2), (0, CAP), (CAP, 0)):
        old = gate.find_neighbours(search_of(hist, weights), before, old_cap)
        new = gate.add_labels(search_of(hist, weights), old, before, now, cap)
        whole = gate.find_neighbours(search_of(hist, weights), now, cap)
        for name in ("distance", "partner", "rank", "certified"):
            assert np.array_equal(getattr(new, name), getattr(whole, name)), name
        assert new.cap == whole.cap


def test_only_what_changed_is_counted_again(monkeypatch):
    hist = class_rows(200, 3)
    before = np.arange(200) < 20
    now = np.arange(200) < 21
    old = gate.find_neighbours(search_of(hist, gate.equal_weights(3)), before, CAP)
    counted = []
    original = gate._count
    monkeypatch.setattr(gate, "_count", lambda s, rows, *rest: (counted.append(len(rows)), original(s, rows, *rest)))
    new = gate.add_labels(search_of(hist, gate.equal_weights(3)), old, before, now, CAP)
    assert sum(counted) == (new.distance[21:] < old.distance[21:])[old.rank[21:] != 0].sum() < 60


@cases
@settings(max_examples=40, deadline=None)
def test_claims_are_the_sorted_lists_also_after_added_labels(n, seed, kinds, share):
    hist, now = class_rows(n, seed, kinds), labels_at_random(n, seed, share)
    before = now & labels_at_random(n, seed + 7, 0.5)
    weights = gate.equal_weights(3)
    distances = all_distances(hist, 3, weights)
    claims = gate.find_claims(search_of(hist, weights), now, CAP)
    unlabelled = np.flatnonzero(~now)
    for row in range(n):
        if not now[row]:
            assert claims.claimed[row] is None
            continue
        order = unlabelled[np.lexsort((unlabelled, distances[row, unlabelled]))][:CAP]
        assert claims.claimed[row].tolist() == order.tolist()
        assert claims.distance[row] == pytest.approx(distances[row, order], abs=1e-12)
    for old_cap in (2, CAP, CAP + 2):
        old = gate.find_claims(search_of(hist, weights), before, old_cap)
        again = gate.find_claims(search_of(hist, weights), now, CAP, old, before)
        for a, b in zip(again.claimed, claims.claimed, strict=True):
            assert (a is None and b is None) or a.tolist() == b.tolist()


def test_a_class_that_was_begun_is_finished_from_there():
    hist, labelled = class_rows(150, 5, 60), labels_at_random(150, 5, 0.1)
    weights = gate.equal_weights(3)
    whole = gate.find_neighbours(search_of(hist, weights), labelled, CAP)
    for stop in range(1, 17):
        kept = []

        def save(state, kept=kept, stop=stop):
            arrays = (state.distance, state.partner, state.rank, state.certified)
            kept.append(gate.Neighbours(*(a.copy() for a in arrays), state.cap))
            if len(kept) == stop:
                raise InterruptedError

        asked = []
        with pytest.raises(InterruptedError):
            gate.find_neighbours(
                search_of(hist, weights, block_bytes=1, advance=asked.append), labelled, CAP, None, save
            )
        rest = []
        search = search_of(hist, weights, block_bytes=1, advance=rest.append)
        again = gate.find_neighbours(search, labelled, CAP, kept[-1])
        for name in ("distance", "partner", "rank", "certified"):
            assert np.array_equal(getattr(again, name), getattr(whole, name)), (name, stop)
        assert sum(asked) + sum(rest) <= 2 * (~labelled).sum()


def test_blocks_of_queries_change_nothing():
    hist, labelled = class_rows(150, 5, 40), labels_at_random(150, 5, 0.1)
    whole = gate.find_neighbours(search_of(hist, gate.equal_weights(3)), labelled, CAP)
    told = []
    small = search_of(hist, gate.equal_weights(3), block_bytes=1, advance=told.append)
    cut = gate.find_neighbours(small, labelled, CAP)
    assert np.array_equal(whole.rank, cut.rank)
    assert np.array_equal(whole.partner, cut.partner)
    assert max(told) == 16


def test_channels_without_spread_have_no_weight():
    hist = class_rows(10, 1)
    hist[:, :4] = 0.25  # the first channel is the same everywhere
    weights = gate.published_weights(hist, 3)
    assert weights[0] == 0
    assert weights.sum() == pytest.approx(1)
    state = gate.find_neighbours(search_of(hist, weights), np.arange(10) < 3, CAP)
    expected = literal(all_distances(hist[:, 4:], 2, weights[1:]), np.arange(10) < 3, 2)
    assert passing(state, 2) == expected
    same = np.repeat(hist[:1], 6, axis=0)
    assert gate.published_weights(same, 3).tolist() == [1 / 3] * 3
    state = gate.find_neighbours(search_of(same, gate.published_weights(same, 3)), np.arange(6) == 4, CAP)
    assert state.rank.tolist() == [0, 0, 0, 0, -1, 0]  # of equal distances the labelled image comes first


def test_approximate_answers_say_what_is_certain():
    hist, labelled = class_rows(120, 9), labels_at_random(120, 9, 0.3)
    state = gate.find_neighbours(search_of(hist, gate.equal_weights(3), exact=False), labelled, CAP)
    sure = gate.find_neighbours(search_of(hist, gate.equal_weights(3)), labelled, CAP)
    certain = state.certified & ~labelled
    assert np.array_equal(state.rank[certain], sure.rank[certain])
    assert np.array_equal(state.distance[certain], sure.distance[certain])
