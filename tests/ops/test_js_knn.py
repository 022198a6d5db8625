"""The search for the nearest histograms against its definition: exact, with ties, on hard sets of many shapes."""

from dataclasses import replace

import numpy as np
import pytest

from alseg_fast.kernels.js_knn import js_knn
from alseg_fast.kernels.js_knn.common import NO_KEY, Block
from histograms import KINDS, draw_histograms, scale_of, with_cells

native, reference = (js_knn.implementation(name) for name in ("native", "reference"))
FIELDS = ("keys", "distances", "certified", "visited", "reranked", "rounds")


def draw_case(seed):
    """Arguments of a search; many shapes, hard rows, up to three blocks."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 5))
    dim = channels * int(rng.choice([1, 2, 3, 8, 10, 16, 32, 33, 64, 200]))
    kind, dtype = KINDS[seed % len(KINDS)], (np.float32, np.float16)[int(rng.integers(2))]
    sizes = rng.choice([1, 2, 5, 40, 300, 1000] if dim < 300 else [1, 5, 40, 300], int(rng.integers(1, 4)))
    if seed % 50 == 0:
        sizes[0] = 3000
    weights = rng.random(channels) + 0.05
    weights /= weights.sum()
    total = int(sizes.sum())
    hist = draw_histograms(rng, total, dim, channels, kind, dtype)
    scale, key = scale_of(hist, channels), rng.permutation(10 * total)[:total] - total
    blocks = []
    for end, n in zip(np.cumsum(sizes), sizes, strict=True):
        part = slice(end - n, end)
        alive = None if rng.random() < 0.6 else rng.random(n) < 0.7
        block = Block(hist[part], scale[part], key[part], alive)
        if rng.random() < 0.6:
            own = weights if rng.random() < 0.5 else np.full(channels, 1 / channels)
            centroids = np.sqrt(hist[rng.integers(0, total, int(rng.integers(1, 2 + 2 * int(n**0.5))))].astype(float))
            block = with_cells(block, centroids * rng.choice([0.5, 1]), own, rng if rng.random() < 0.3 else None)
        blocks.append(block)
    n_queries = int(rng.choice([1, 3, 17, 40]))
    chosen = rng.integers(0, total, n_queries)
    queries = hist[chosen].astype(np.float32)
    if rng.random() < 0.4:
        queries = draw_histograms(rng, n_queries, dim, channels, "mixed")
    k = int(rng.choice([1, 2, 10, 40, min(total, 200), min(total, 200) + 3]))
    exclude = key[chosen] if rng.random() < 0.5 else None
    within = rng.random(n_queries) * 0.3 if rng.random() < 0.3 else None
    return queries, scale_of(queries, channels), blocks, k, weights, exclude, within


@pytest.mark.parametrize("part", range(10))
def test_exact_search_equals_its_definition_on_hard_sets(part, simd_level):
    for seed in range(25 * part, 25 * part + 25):
        case = draw_case(seed)
        got, expected = native(*case), reference(*case)
        np.testing.assert_array_equal(got.keys, expected.keys, err_msg=f"seed {seed}")
        np.testing.assert_allclose(got.distances, expected.distances, rtol=0, atol=1e-14, err_msg=f"seed {seed}")
        assert got.certified.all()
        assert (got.visited <= sum(len(b.key) for b in case[2])).all()


@pytest.mark.parametrize("part", range(4))
def test_the_certificate_is_never_true_of_a_wrong_answer(part, simd_level):
    certified = 0
    for seed in range(1000 + 25 * part, 1025 + 25 * part):
        case = draw_case(seed)
        got, expected = native(*case, candidates=case[3] + seed % 40), reference(*case)
        np.testing.assert_array_equal(got.keys[got.certified], expected.keys[got.certified], err_msg=f"seed {seed}")
        certified += got.certified.sum()
    assert certified > 50


def test_few_candidates_are_those_with_the_least_h2(simd_level):
    rng = np.random.default_rng(2)
    hist = draw_histograms(rng, 700, 60, 3)
    block = Block(hist, scale_of(hist, 3), np.arange(700))
    case = hist[:20], block.scale[:20], [block], 5, np.full(3, 1 / 3)
    got, expected = (search(*case, candidates=30) for search in (native, reference))
    for field in ("keys", "certified"):
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))
    assert not got.certified.all()


def test_same_result_and_counts_for_any_number_of_threads(simd_level):
    for seed in (0, 7, 50, 61):
        case = draw_case(seed)
        for candidates in (0, case[3] + 7):
            results = [native(*case, candidates=candidates, num_threads=threads) for threads in (1, 2, 5)]
            for field in FIELDS:
                assert len({getattr(r, field).tobytes() for r in results}) == 1


def test_distances_are_those_of_scipy():
    distance = pytest.importorskip("scipy.spatial.distance", reason="SciPy is the independent form")
    rng = np.random.default_rng(5)
    hist = draw_histograms(rng, 400, 50, 1)
    block = Block(hist, scale_of(hist, 1), np.arange(400))
    got = native(hist[:30], block.scale[:30], [block], 10, np.ones(1))
    every = distance.cdist(hist[:30].astype(float), hist.astype(float), "jensenshannon") ** 2
    np.testing.assert_array_equal(got.keys, np.argsort(every, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(got.distances, np.sort(every, axis=1)[:, :10], rtol=0, atol=1e-12)


def test_many_rows_that_are_equally_far(simd_level):
    # More ties than a query's candidates may be: the smallest keys win.
    rng = np.random.default_rng(6)
    two = draw_histograms(rng, 2, 40, 2)
    which = rng.integers(0, 2, 5000)
    key = rng.permutation(5000)
    hist = two[which]
    block = Block(hist, scale_of(hist, 2), key)
    for blocks in ([block], [with_cells(block, np.sqrt(two), np.full(2, 0.5))]):
        got = native(two, scale_of(two, 2), blocks, 7, np.full(2, 0.5))
        for i in range(2):
            np.testing.assert_array_equal(got.keys[i], np.sort(key[which == i])[:7])
        np.testing.assert_array_equal(got.distances, 0)


def test_cells_leave_out_what_cannot_be_near(simd_level):
    rng = np.random.default_rng(7)
    centres = draw_histograms(rng, 30, 48, 3, "sparse")
    hist = (0.97 * centres[rng.integers(0, 30, 6000)] + 0.03 * draw_histograms(rng, 6000, 48, 3)).astype(np.float32)
    flat = Block(hist, scale_of(hist, 3), np.arange(6000))
    weights = np.full(3, 1 / 3)
    block = with_cells(flat, np.sqrt(centres / 3), weights)
    case = hist[::100].copy(), flat.scale[::100].copy()
    got, expected = native(*case, [block], 10, weights), reference(*case, [flat], 10, weights)
    np.testing.assert_array_equal(got.keys, expected.keys)
    assert got.visited.mean() < 0.3 * 6000
    assert (native(*case, [flat], 10, weights).visited == 6000).all()


def test_planes_between_centroids_leave_out_more(simd_level):
    rng = np.random.default_rng(8)
    hist = draw_histograms(rng, 6000, 6, 1)
    flat, weights = Block(hist, scale_of(hist, 1), np.arange(6000)), np.ones(1)
    block = with_cells(flat, np.sqrt(hist[:60].astype(float)), weights)
    unpromised = replace(block, cells=replace(block.cells, nearest=False))
    case = hist[::100].copy(), flat.scale[::100].copy()
    expected = reference(*case, [flat], 10, weights)
    visited = []
    for blocks in ([block], [unpromised]):
        got = native(*case, blocks, 10, weights)
        np.testing.assert_array_equal(got.keys, expected.keys)
        visited.append(got.visited.mean())
    assert visited[0] < 0.9 * visited[1]


def test_limits_are_strict_and_a_search_may_find_nothing(simd_level):
    hist = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    block = Block(hist, scale_of(hist, 1), np.array([5, -3, 8]))
    case = hist[:1], scale_of(hist[:1], 1), [block], 3, np.ones(1)
    far = native(*case).distances[0, 1]
    assert native(*case, within=np.array([far])).keys.tolist() == [[5, NO_KEY, NO_KEY]]
    assert native(*case, within=np.array([np.nextafter(far, 1)])).keys.tolist() == [[5, 8, NO_KEY]]
    nothing = native(*case, within=np.array([0.0]))
    assert nothing.keys.tolist() == [[NO_KEY] * 3]
    assert np.isinf(nothing.distances).all()
    assert nothing.certified.all()
    dead = Block(hist, block.scale, block.key, np.zeros(3, np.bool_))
    assert (native(case[0], case[1], [dead], 2, np.ones(1)).keys == NO_KEY).all()
    assert native(*case, exclude=np.array([5])).keys.tolist() == [[8, -3, NO_KEY]]


def test_rows_of_any_magnitude(simd_level):
    rng = np.random.default_rng(8)
    shares = draw_histograms(rng, 200, 30, 1).astype(np.float64)
    hist = (shares * 10.0 ** rng.uniform(-36, 36, (200, 1))).astype(np.float32)
    block = Block(hist, scale_of(hist, 1), np.arange(200))
    case = hist[:10], block.scale[:10], [block], 10, np.ones(1)
    np.testing.assert_array_equal(native(*case).keys, reference(*case).keys)


@pytest.mark.parametrize("kind", ["flat", "near", "sparse"])
def test_rows_so_wide_that_rounding_matters(kind, simd_level):
    rng = np.random.default_rng(10)
    hist = draw_histograms(rng, 150, 12000, 3, kind)
    block = Block(hist, scale_of(hist, 3), np.arange(150))
    case = hist[:4].copy(), block.scale[:4].copy(), [block], 20, np.full(3, 1 / 3)
    np.testing.assert_array_equal(native(*case).keys, reference(*case).keys)


def test_read_only_rows(tmp_path):
    hist = draw_histograms(np.random.default_rng(9), 100, 20, 1)
    np.save(tmp_path / "hist.npy", hist)
    mapped = np.load(tmp_path / "hist.npy", mmap_mode="r")
    case = hist[:3], scale_of(hist[:3], 1)
    results = [
        native(*case, [Block(rows, scale_of(hist, 1), np.arange(100))], 4, np.ones(1)) for rows in (mapped, hist)
    ]
    np.testing.assert_array_equal(results[0].keys, results[1].keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k, candidates or the number of blocks"),
        ({"candidates": 1}, "k, candidates or the number of blocks"),
        ({"weights": np.array([1.0, 0.0])}, "weights must be positive"),
        ({"exclude": np.zeros(4, np.int64)}, "exclude must be"),
        ({"offsets": np.array([0, 3, 2, 6])}, "offsets must ascend"),
        ({"offsets": np.array([0, 3, 4, 5])}, "offsets must ascend"),
    ],
)
def test_rejects_what_would_read_outside(change, message):
    hist = draw_histograms(np.random.default_rng(1), 6, 8, 2)
    plain = Block(hist, scale_of(hist, 2), np.arange(6))
    block = with_cells(plain, np.sqrt(hist[:3]), np.full(2, 0.5))
    if "offsets" in change:
        object.__setattr__(block.cells, "offsets", change.pop("offsets"))
    arguments = {"k": 2, "weights": np.full(2, 0.5), "exclude": None, "within": None, "candidates": 0} | change
    with pytest.raises(ValueError, match=message):
        native(hist[:2], scale_of(hist[:2], 2), [block], **arguments)
