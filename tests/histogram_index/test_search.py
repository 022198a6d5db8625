"""HistogramIndex.search against scipy: neighbours, ties, certificates, what a caller may ask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast.kernels.js_knn.common import embed
from brute_force import brute_force, channel_distances, make_histograms

CASES = 200


def random_case(seed):
    """(histograms, ids, labels, channels, dtype) of many shapes, with equal rows and rows that are equally far."""
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 1, 2, 3]))
    dim = channels * int(rng.choice([1, 2, 3, 8, 31]))
    n = int(rng.choice([1, 2, 7, 40, 150]))
    hist = make_histograms(rng, n, dim, channels)
    ids = rng.permutation(10 * n)[:n] - 3 * n
    if seed % 2:
        ids = [f"{'ab'[i % 2]}/{i}.jpg" for i in ids.tolist()]
    classes = int(rng.choice([1, 2, 5]))
    labels = None if classes == 1 else rng.integers(0, classes, n)
    if labels is not None and seed % 3 == 0:
        labels = [f"class {label}" for label in labels]
    return hist, ids, labels, channels


@pytest.mark.parametrize("seed", range(CASES))
def test_exact_search_is_brute_force(seed):
    hist, ids, labels, channels = random_case(seed)
    rng = np.random.default_rng(1000 + seed)
    weights = None if seed % 4 else rng.uniform(0.1, 5, channels)
    index = alseg.HistogramIndex(hist.shape[1], channels=channels, weights=weights, cells=(None, "auto", 3)[seed % 3])
    half = len(hist) // 2
    for part in (slice(None, half), slice(half, None)):
        index.add(ids[part], hist[part], None if labels is None else labels[part])
    k = int(rng.choice([1, 2, 5, 40]))
    chosen = rng.integers(0, len(hist), 5)
    own = [ids[i] for i in chosen]
    asked = None if labels is None else [labels[i] for i in chosen]
    exclude = own if seed % 2 else None
    queries = hist[chosen] * rng.uniform(0.5, 3, (5, 1)).astype(np.float32)
    found = index.search(queries, asked, k, exclude=exclude)
    used = np.full(channels, 1 / channels) if weights is None else weights
    distances = channel_distances(queries, hist, channels) @ used
    for q in range(5):
        rows = [i for i in range(len(hist)) if labels is None or labels[i] == asked[q]]
        rows = [i for i in rows if exclude is None or ids[i] != own[q]]
        expected_ids, expected = brute_force(distances[q], ids, rows, k)
        got = [i for i in found.ids[q].tolist() if i is not None][: len(expected)]
        np.testing.assert_allclose(found.distances[q, : len(expected)], expected, rtol=0, atol=3e-9)
        assert np.isinf(found.distances[q, len(expected) :]).all()
        assert found.stats.rows[q] == len(rows)
        by_id = dict(zip(ids if isinstance(ids, list) else ids.tolist(), distances[q].tolist(), strict=True))
        # Where scipy sees a gap the ids are those of scipy; rows that are equally far come in the order of their ids.
        assert len(set(got)) == len(got) == len(expected_ids)
        for a, b, d, e in zip(got, expected_ids, found.distances[q], expected, strict=False):
            assert abs(by_id[a] - by_id[b]) < 3e-9
            assert abs(d - e) < 3e-9
        far = found.distances[q, : len(got)]
        assert all(got[i] < got[i + 1] for i in np.flatnonzero(far[:-1] == far[1:]))
    assert found.certified.all()


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("cells", [None, 4])
def test_equally_far_rows_come_by_id(as_text, cells):
    """Equal rows and rows that are permutations of each other are equally far to the last bit, in every block."""
    base = np.zeros((6, 4), np.float32)
    base[:, 0] = 1
    base[3:, [0, 1]] = 0.5, 0.5
    rows = np.concatenate([base[[0, 3]]] * 40)
    order = np.random.default_rng(0).permutation(80)
    ids = [f"x{i:03d}" for i in order] if as_text else order
    index = alseg.HistogramIndex(4, cells=cells)
    for start in range(0, 80, 20):
        part = slice(start, start + 20)
        index.add(ids[part], rows[part])
    found = index.search([[0, 0, 1, 1], [1, 0, 0, 0]], k=50)
    far = sorted(ids) if as_text else np.arange(80).tolist()
    assert found.ids[0].tolist() == far[:50]
    near = sorted(i for i, row in zip(ids, rows, strict=True) if row[0] == 1)
    assert found.ids[1, :40].tolist() == near
    assert (found.distances[1, :40] == 0).all()


def test_text_is_ordered_by_code_points():
    names = ["Z", "a", "é", "日本", "😀", "a b", "B", "a\u0301", "aa", "\uffff"]
    index = alseg.HistogramIndex(2)
    index.add(names, np.ones((len(names), 2)))
    assert index.search([[1, 1]], k=10).ids[0].tolist() == sorted(names)
    assert index.ids().tolist() == sorted(names)


def test_fewer_rows_than_k_and_a_class_of_one_image():
    index = alseg.HistogramIndex(2)
    index.add([5, 6, 7], [[1, 0], [0, 1], [1, 1]], ["one", "two", "two"])
    alone = index.search([[1, 0]], "one", 3, exclude=[5])
    assert alone.ids.tolist() == [[-1, -1, -1]]
    assert np.isinf(alone.distances).all()
    assert alone.certified.all()
    pair = index.search([[1, 0], [1, 0]], ["two", "one"], 10**6)
    assert pair.ids[:, :3].tolist() == [[7, 6, -1], [5, -1, -1]]
    assert pair.ids.shape == (2, 10**6)
    index.remove([5])
    assert index.classes == {"one": 0, "two": 2}
    assert index.search([[1, 0]], "one").ids.max() == -1


def test_only_rows_within_a_limit():
    rng = np.random.default_rng(1)
    hist = make_histograms(rng, 60, 6, 2)
    index = alseg.HistogramIndex(6, channels=2, weights=(3.0, 0.7))
    index.add(np.arange(60), hist)
    every = index.search(hist[:4], k=60)
    limits = every.distances[:, 9]
    for within in (limits, float(limits[0])):
        found = index.search(hist[:4], k=60, within=within)
        limit = np.broadcast_to(within, 4)[:, None]
        assert np.array_equal(found.distances < np.inf, every.distances < limit)
        assert np.array_equal(found.ids[found.ids >= 0], every.ids[every.distances < limit])
        assert found.certified.all()


def test_weights_of_each_channel():
    rng = np.random.default_rng(2)
    hist = make_histograms(rng, 40, 9, 3)
    parts = channel_distances(hist, hist, 3)
    sums = parts.sum(axis=(0, 1))
    index = alseg.HistogramIndex(9, channels=3, weights="published")
    index.add(np.arange(40), hist, ["a"] * 39 + ["b"])
    sums = parts[:39, :39].sum(axis=(0, 1))
    np.testing.assert_allclose(index.channel_weights("a"), 1 / sums, rtol=1e-6)
    found = index.search(hist[:3], "a", 39)
    np.testing.assert_allclose(found.distances, np.sort(parts[:3, :39] @ (1 / sums), axis=1), rtol=1e-5, atol=1e-10)
    assert np.array_equal(index.channel_weights("b"), np.full(3, 1 / 3))
    index.add([100], hist[:1] * [1, 1, 1, 0, 0, 1, 1, 1, 1] + 1e-3, "a")
    assert not np.array_equal(index.channel_weights("a"), 1 / sums)
    index.remove([100])
    np.testing.assert_allclose(index.channel_weights("a"), 1 / sums, rtol=1e-6)


def test_a_constant_channel_counts_as_nothing():
    rng = np.random.default_rng(3)
    hist = make_histograms(rng, 20, 8, 2)
    hist[:, 4:] = [1, 2, 3, 4]
    index = alseg.HistogramIndex(8, channels=2, weights="published")
    index.add(np.arange(20), hist)
    weights = index.channel_weights()
    assert weights[0] > 0
    assert weights[1] == 0
    found = index.search(hist[:2], k=20)
    expected = channel_distances(hist[:2], hist, 2)[:, :, 0] * weights[0]
    np.testing.assert_allclose(found.distances, np.sort(expected, axis=1), rtol=1e-5, atol=1e-10)
    assert found.certified.all()


def test_large_classes_weigh_by_a_sample_that_ignores_the_blocks():
    rng = np.random.default_rng(4)
    hist = make_histograms(rng, 300, 6, 3)
    made = []
    for cells, cut in ((None, 300), (5, 100), (None, 10)):
        index = alseg.HistogramIndex(6, channels=3, weights="published", cells=cells, max_rows_exact=150)
        for start in range(0, 300, cut):
            index.add(np.arange(start, start + cut), hist[start : start + cut])
        made.append(index.channel_weights())
    np.testing.assert_allclose(made, made[:1] * np.ones((3, 1)), rtol=1e-12)
    exact = 1 / channel_distances(hist, hist, 3).sum(axis=(0, 1))
    np.testing.assert_allclose(made[0], exact, rtol=0.2)


def test_float16_rows_are_compared_as_they_are_rounded():
    rng = np.random.default_rng(5)
    hist = make_histograms(rng, 50, 12, 3)
    index = alseg.HistogramIndex(12, channels=3, dtype="float16")
    index.add(np.arange(50), hist * 1000)
    parts = hist.reshape(50, 3, 4)
    rounded = (parts / parts.sum(axis=2, keepdims=True)).astype(np.float16).reshape(50, 12)
    stored = index.rows(np.arange(50))
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored.astype(np.float32), rounded.astype(np.float32), rtol=1e-3, atol=1e-7)
    found = index.search(hist[:5], k=50)
    expected = np.sort(channel_distances(hist[:5], stored.astype(np.float32), 3).mean(axis=2), axis=1)
    np.testing.assert_allclose(found.distances, expected, rtol=0, atol=3e-9)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_row_has_a_nearer_centroid_than_that_of_its_cell(dtype, tmp_path):
    """What the cells promise to the search, also of rounded rows and after loading."""
    rng = np.random.default_rng(8)
    index = alseg.HistogramIndex(24, channels=3, weights=(0.2, 1, 3), dtype=dtype, cells=40)
    index.add(np.arange(3000), make_histograms(rng, 3000, 24, 3))
    index.save(tmp_path / "index")
    for made in (index, alseg.HistogramIndex.load(tmp_path / "index")):
        (block,) = made._state.blocks(None)
        cells = block.cells
        assert cells.nearest
        rows = embed(block.hist, block.scale, cells.weights)
        far = np.sqrt(((rows[:, None] - cells.centroids[None].astype(np.float64)) ** 2).sum(axis=2))
        own = far[np.arange(3000), np.repeat(np.arange(len(cells.centroids)), np.diff(cells.offsets))]
        assert (own**2 <= far.min(axis=1) ** 2 + 4 * 34 * 2.0**-24).all()
        np.testing.assert_allclose(cells.distance, own, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4))
def test_a_certificate_is_never_wrong(seed, k, multiplier):
    rng = np.random.default_rng(seed)
    hist = make_histograms(rng, 30, 5, 1)
    index = alseg.HistogramIndex(5, cells=(None, 3)[seed % 2])
    index.add(np.arange(30), hist)
    exact = index.search(hist[:4], k=k)
    fast = index.search(hist[:4], k=k, exact=False, multiplier=multiplier)
    same = ((fast.distances == exact.distances) & (fast.ids == exact.ids)).all(axis=1)
    assert (same | ~fast.certified).all()
    assert fast.stats.summary()["certified_share"] == fast.certified.mean()


def test_statistics():
    rng = np.random.default_rng(6)
    index = alseg.HistogramIndex(4, cells=None)
    index.add(np.arange(100), make_histograms(rng, 100, 4, 1))
    stats = index.search(np.ones((3, 4)), k=2, exclude=[5, None, 1000]).stats
    assert stats.rows.tolist() == [99, 100, 100]
    told = stats.summary()
    assert told["queries"] == told["full_scans"] == 3
    assert told["visited_share"] == told["certified_share"] == 1.0
    nothing = index.search(np.empty((0, 4)), k=2)
    assert nothing.ids.shape == nothing.distances.shape == (0, 2)
    assert nothing.stats.summary()["visited_share"] is None
