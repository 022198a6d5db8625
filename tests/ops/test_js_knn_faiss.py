"""The FAISS and Numba back end of the Jensen-Shannon search: the reference's answers, and certificates that hold."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("faiss", reason="the FAISS back end needs faiss")
pytest.importorskip("numba", reason="the FAISS back end needs numba")

from alseg_fast.dispatch import use_backend
from alseg_fast.errors import BackendError
from alseg_fast.kernels.js_knn import faiss_flat, faiss_gpu, faiss_library, gpu, js_knn, two_stage
from alseg_fast.kernels.js_knn.common import LN2, NO_KEY, Block, Cells, embed
from alseg_fast.kernels.js_knn.faiss_library import faiss
from alseg_fast.kernels.js_knn.faiss_rows import embed_float32, product_error
from alseg_fast.kernels.js_knn.reference import js_knn as reference
from alseg_fast.kernels.js_rerank import js_rerank, numba_cpu
from alseg_fast.kernels.js_rerank.reference import js_rerank as rerank_reference

SHAPES = [(1, 2), (1, 8), (3, 6), (3, 96), (1, 65), (4, 32), (2, 34)]  # channels, dim
KINDS = ("sparse", "clustered", "dense", "few distinct", "permuted")


def make_rows(rng, kind, n, channels, dim):
    """[n, dim] float32, every channel with a positive sum."""
    bins = dim // channels
    if kind == "sparse":
        rows = rng.gamma(0.1, size=(n, dim)) * (rng.random((n, dim)) < 0.4)
    elif kind == "clustered":
        rows = rng.gamma(0.2, size=(4, dim))[rng.integers(0, 4, n)] * rng.gamma(30, size=(n, dim))
    elif kind == "dense":
        rows = rng.gamma(1.0, size=(n, dim))
    elif kind == "few distinct":
        rows = rng.gamma(0.3, size=(3, dim))[rng.integers(0, 3, n)]
    else:  # every row has the same numbers in another order: many rows at equal distances
        rows = np.stack([rng.permutation(np.arange(bins) % 4) for _ in range(n * channels)]).reshape(n, dim)
    rows = rows.reshape(n, channels, bins).astype(np.float32)
    rows[:, :, 0] += rows.sum(axis=2) <= 1e-3
    return rows.reshape(n, dim)


def scale_of(rows, channels):
    return np.ascontiguousarray(1 / rows.astype(np.float64).reshape(len(rows), channels, -1).sum(axis=2))


def make_cells(rng, rows, scale, weights, n_cells):
    """Rows in the order of cells around random rows, and the cells."""
    points = embed(rows, scale, weights)
    centroids = points[rng.integers(0, len(rows), n_cells)].astype(np.float32)
    distance = np.sqrt(((points[:, None] - centroids[None]) ** 2).sum(axis=2))
    cell = distance.argmin(axis=1)
    own = distance[np.arange(len(rows)), cell].astype(np.float32)
    order = np.lexsort((own, cell))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=n_cells))])
    return order, Cells(offsets, centroids, own[order], weights)


def make_case(seed, *, kind=None, half=False, n=None, cells=None, dead=None, n_blocks=None):
    """Queries and blocks as keyword arguments of the operation."""
    rng = np.random.default_rng(seed)
    channels, dim = SHAPES[seed % len(SHAPES)]
    kind = kind or KINDS[seed % len(KINDS)]
    weights = rng.dirichlet(np.full(channels, 5.0))
    n = n or int(rng.integers(1, 120))
    n_blocks = n_blocks or int(rng.integers(1, 4))
    keys = rng.permutation(n * n_blocks * 2)[: n * n_blocks].reshape(n_blocks, n).astype(np.int64)
    blocks = []
    for i in range(n_blocks):
        rows = make_rows(rng, kind, n, channels, dim).astype(np.float16 if half else np.float32)
        scale = scale_of(rows, channels)
        partition = None
        if cells if cells is not None else rng.random() < 0.5:
            of_cells = rng.dirichlet(np.full(channels, 5.0))
            order, partition = make_cells(rng, rows, scale, of_cells, int(rng.integers(1, 9)))
            rows, scale = np.ascontiguousarray(rows[order]), np.ascontiguousarray(scale[order])
        alive = rng.random(n) < 0.7 if (dead if dead is not None else rng.random() < 0.3) else None
        blocks.append(Block(rows, scale, keys[i], alive, partition))
    queries = np.concatenate([make_rows(rng, kind, 3, channels, dim), blocks[0].hist[:4].astype(np.float32)])
    return {
        "queries": queries,
        "query_scale": scale_of(queries, channels),
        "blocks": blocks,
        "k": int(rng.integers(1, 12)),
        "weights": weights,
    }


def run(call, device="cpu", **options):
    with use_backend("faiss"):
        return js_knn(device, **{**call, **options})


def check_equal(found, call, **options):
    """The reference's answer. Rounding may order rows whose distances differ by less than it; nothing else may."""
    call = {**call, **options}
    n_rows = sum(len(b.key) for b in call["blocks"])
    everything = reference(**{**call, "k": n_rows, "within": None})
    expected = reference(**call)
    assert np.allclose(found.distances, expected.distances, rtol=0, atol=2e-15)
    gaps = np.diff(np.where(np.isinf(everything.distances), 1.0, everything.distances), axis=1)
    clear = ~((gaps > 0) & (gaps < 4e-15)).any(axis=1)
    assert np.array_equal(found.keys[clear], expected.keys[clear])
    for i in np.flatnonzero(~clear):
        distance_of = dict(zip(everything.keys[i].tolist(), everything.distances[i].tolist(), strict=True))
        answers = found.keys[i][found.keys[i] != NO_KEY].tolist()
        assert len(set(answers)) == len(answers)
        assert np.allclose([distance_of[key] for key in answers], found.distances[i, : len(answers)], atol=2e-15)
    tied = (found.distances[:, 1:] == found.distances[:, :-1]) & np.isfinite(found.distances[:, 1:])
    assert (found.keys[:, 1:] > found.keys[:, :-1])[tied].all()


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks and pieces of a few rows, so that small data passes through many."""
    monkeypatch.setattr(faiss_flat, "_SMALLEST_CHUNK", 8)
    monkeypatch.setattr(faiss_flat, "_PAIRS_A_PIECE", 16)
    monkeypatch.setattr(two_stage, "QUERIES_A_BATCH", 3)


# The rerank


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_rerank_is_the_reference(shape, dtype):
    rng = np.random.default_rng(0)
    channels, dim = shape
    rows = np.concatenate([make_rows(rng, kind, 40, channels, dim) for kind in KINDS]).astype(dtype)
    scale, weights = scale_of(rows, channels), rng.dirichlet(np.ones(channels))
    queries = rows[:7].astype(np.float32)
    index = rng.integers(-1, len(rows), (7, 50))
    call = (queries, np.ascontiguousarray(scale[:7]), rows, scale, weights, index)
    with use_backend("numba"):
        found = [js_rerank("cpu", *call, threads) for threads in (1, 2, 5)]
    expected = rerank_reference(*call)
    assert np.allclose(found[0], expected, rtol=0, atol=1e-15 * max(1, dim / 64))
    assert np.array_equal(np.isinf(found[0]), index < 0)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_the_rerank_has_its_bounds_and_symmetries():
    rng = np.random.default_rng(1)
    rows = make_rows(rng, "sparse", 50, 1, 40)
    rows = np.concatenate([rows, np.roll(rows, 7, axis=1), np.eye(40, dtype=np.float32)[:2]])
    scale, weights = scale_of(rows, 1), np.ones(1)
    scale[50:100] = scale[:50]  # a sum in another order can differ in its last bit
    every = np.broadcast_to(np.arange(len(rows)), (len(rows), len(rows))).copy()
    d = numba_cpu.js_rerank(rows, scale, rows, scale, weights, every)
    assert np.array_equal(d, d.T)  # to the last bit, in any order of the bins
    assert np.array_equal(d[:50, :50], d[50:100, 50:100])
    assert (np.diag(d) == 0).all()
    assert d[100, 101] == pytest.approx(LN2, abs=1e-16)
    assert d.max() <= LN2 + 1e-15


def test_tiny_and_huge_sums_are_rows_like_others():
    base = np.array([[1, 2, 3, 0], [3, 0, 1, 1]], np.float32)
    rows = np.concatenate([base, base * np.float32(1e-36), base * np.float32(1e36)])
    scale, weights = scale_of(rows, 2), np.array([0.5, 0.5])
    d = numba_cpu.js_rerank(rows, scale, rows, scale, weights, np.broadcast_to(np.arange(6), (6, 6)).copy())
    assert np.allclose(d, np.tile(d[:2, :2], (3, 3)), atol=1e-7)
    e = embed_float32(rows, scale, weights, 0, 6)
    assert np.allclose(e, embed(rows, scale, weights), rtol=2.0**-24, atol=0)


# The search


@pytest.mark.parametrize("seed", range(120))
def test_exact_search_is_the_reference(seed, small_pieces):
    call = make_case(seed)
    found = run(call)
    check_equal(found, call)
    assert found.certified.all()


@pytest.mark.parametrize("seed", range(60))
def test_every_option_at_once(seed, small_pieces):
    call = make_case(1000 + seed, half=seed % 2 == 0)
    rng = np.random.default_rng(seed)
    n_queries = len(call["queries"])
    own = np.full(n_queries, NO_KEY)
    first = call["blocks"][0].key[:4]
    own[3 : 3 + len(first)] = first
    all_distances = reference(**{**call, "k": 10}).distances
    radius = np.where(np.isfinite(all_distances[:, -1]), all_distances[:, rng.integers(0, 9)], 0.3) + 1e-13
    for options in ({"exclude": own}, {"within": radius}, {"exclude": own, "within": radius}):
        found = run(call, **options)
        check_equal(found, call, **options)
        assert found.certified.all()


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_larger_data_passes_both_stages(kind, cells):
    call = make_case(3, kind=kind, n=3000, n_blocks=1, cells=cells, dead=False) | {"k": 20}
    found = run(call)
    check_equal(found, call)
    assert found.certified.all()
    assert (found.reranked >= 20).all()
    if kind == "dense":
        assert found.rounds.max() == 1  # 160 candidates prove nothing here


def test_cells_are_left_out_where_the_data_has_clusters():
    rng = np.random.default_rng(0)
    centres = rng.gamma(0.1, size=(40, 48)) + 1e-3
    rows = (centres[np.repeat(np.arange(40), 100)] * rng.gamma(60, size=(4000, 48))).astype(np.float32)
    scale, weights = scale_of(rows, 3), np.full(3, 1 / 3)
    order, cells = make_cells(rng, rows, scale, weights, 60)
    block = Block(np.ascontiguousarray(rows[order]), np.ascontiguousarray(scale[order]), np.arange(4000), None, cells)
    call = {"queries": rows[:50], "query_scale": scale[:50], "blocks": [block], "k": 10, "weights": weights}
    found = run(call)
    check_equal(found, call)
    assert found.certified.all()
    assert found.visited.mean() < 600
    dead = Block(block.hist, block.scale, block.key, rng.random(4000) < 0.5, cells)
    check_equal(run(call, blocks=[dead]), call, blocks=[dead])


@pytest.mark.parametrize("seed", range(60))
def test_a_certificate_is_never_wrong(seed, small_pieces):
    call = make_case(2000 + seed, n=100)
    for extra in (0, 3, 40):
        found = run(call, candidates=call["k"] + extra)
        assert (found.rounds == 0).all()
        assert (found.reranked <= call["k"] + extra).all()
        sure = found.certified
        chosen = {"queries": call["queries"][sure], "query_scale": call["query_scale"][sure]}
        answers = SimpleNamespace(keys=found.keys[sure], distances=found.distances[sure])
        check_equal(answers, call, **chosen)
    assert run(call, candidates=1000).certified.all()  # no row is left out


def test_some_answers_of_one_stage_are_wrong_and_not_certified():
    call = make_case(4, kind="dense", n=2000, n_blocks=1, cells=False) | {"k": 10}
    found, truth = run(call, candidates=10), reference(**call)
    wrong = (found.keys != truth.keys).any(axis=1)
    assert wrong.any()
    assert not found.certified[wrong].any()


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("candidates", [0, 30])
def test_results_and_statistics_do_not_depend_on_threads(cells, candidates, small_pieces):
    call = make_case(10, n=2500, n_blocks=2, cells=cells, dead=True)
    one, *others = [run(call, candidates=candidates, num_threads=n) for n in (1, 2, 5)]
    for other in others:
        for name in ("keys", "distances", "certified", "visited", "reranked", "rounds"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_more_neighbours_than_rows_and_no_rows():
    call = make_case(5, n=4, n_blocks=1, dead=False) | {"k": 9}
    found = run(call)
    check_equal(found, call)
    assert (found.keys[:, 4:] == NO_KEY).all()
    dead = [Block(b.hist, b.scale, b.key, np.zeros(4, np.bool_), b.cells) for b in call["blocks"]]
    for blocks in ([], dead):
        found = run(call, blocks=blocks)
        assert found.certified.all()
        assert (found.keys == NO_KEY).all()
        assert np.isinf(found.distances).all()


def test_read_only_memory_maps_are_searched(tmp_path):
    call = make_case(6, n=300, n_blocks=1, cells=False, dead=False)
    block = call["blocks"][0]
    np.save(tmp_path / "rows.npy", block.hist)
    mapped = Block(np.load(tmp_path / "rows.npy", mmap_mode="r"), block.scale, block.key)
    check_equal(run(call, blocks=[mapped]), call)


def test_calls_from_many_threads_agree():
    call = make_case(7, n=800, n_blocks=1)
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: run(call, num_threads=2)})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for result in found.values():
        check_equal(result, call)


def test_nothing_global_is_left_changed():
    before = faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()
    run(make_case(8), num_threads=1)
    assert (faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads()) == before
    with faiss_library.matrix_products(96), faiss_library.matrix_products(32):
        assert faiss.cvar.distance_compute_blas_threshold < before[0]
    assert faiss.cvar.distance_compute_blas_threshold == before[0]


@pytest.mark.parametrize("given", [None, "Haswell"])
def test_loading_faiss_leaves_the_environment_alone(given):
    code = (
        "import os; given = os.environ.get('OPENBLAS_CORETYPE'); import alseg_fast.kernels.js_knn.faiss_library; "
        "assert os.environ.get('OPENBLAS_CORETYPE') == given; print(given)"
    )
    command = [sys.executable, "-P", "-c", code]
    import os

    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    environment |= {} if given is None else {"OPENBLAS_CORETYPE": given}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(given)


# The error bound


@pytest.mark.parametrize(("channels", "dim"), [(1, 2), (3, 96), (1, 4096)])
@pytest.mark.parametrize("kind", KINDS)
def test_computed_products_are_within_the_stated_error(channels, dim, kind):
    rng = np.random.default_rng(0)
    rows = make_rows(rng, kind, 200, channels, dim)
    rows[100:] = rows[:100] * (1 + 1e-3 * rng.random((100, dim)))  # near duplicates
    scale, weights = scale_of(rows, channels), np.full(channels, 1 / channels)
    rounded = embed_float32(rows, scale, weights, 0, 200)
    true = embed(rows, scale, weights)
    true = true @ true.T
    assert np.abs(rounded @ rounded.T - true).max() <= product_error(dim)
    half = rounded.astype(np.float16).astype(np.float32)
    assert np.abs(half @ half.T - true).max() <= product_error(dim, half=True)


# The GPU build, for which the CPU's index stands in


class StandIn:
    """What the search uses of FAISS's GPU build, computed on the CPU with the precision that is asked for."""

    def __init__(self, off=0.0):
        self.made, self.asked, self.off = [], [], off

    def install(self, monkeypatch):
        stand_in = self

        class GpuIndexFlatIP:
            def __init__(self, resources, dim, settings):
                self.index, self.half = faiss.IndexFlatIP(dim), settings.useFloat16
                stand_in.made.append(settings)

            def rounded(self, rows):
                return rows.astype(np.float16).astype(np.float32) if self.half else rows

            def add(self, rows):
                self.index.add(self.rounded(rows))

            def search(self, queries, m):
                assert 0 < m <= 2048
                stand_in.asked.append(m)
                products, rows = self.index.search(self.rounded(queries), m)
                return products + np.float32(stand_in.off), rows

        monkeypatch.setattr(gpu, "_has_driver", lambda: True)
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatConfig", SimpleNamespace, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatIP", GpuIndexFlatIP, raising=False)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss_gpu, "_made", type(faiss_gpu._made)())
        monkeypatch.setattr(faiss_gpu, "_resources", [])
        return self


@pytest.mark.parametrize("seed", range(30))
def test_the_gpu_path_is_the_reference(seed, monkeypatch, small_pieces):
    stand_in = StandIn().install(monkeypatch)
    call = make_case(3000 + seed, half=seed % 3 == 0)
    found = run(call, "cuda")
    check_equal(found, call)
    assert found.certified.all()
    assert len(stand_in.made) == sum(len(b.key) > 0 for b in call["blocks"])
    assert all(made.useFloat16 == (seed % 3 == 0) for made in stand_in.made)
    run(call, "cuda")
    assert len(stand_in.made) == len(call["blocks"])  # the rows are on the device already
    one_stage = run(call, "cuda", candidates=call["k"])
    sure = one_stage.certified
    assert np.array_equal(one_stage.keys[sure], found.keys[sure])


def test_the_gpu_widens_to_its_limit_and_then_the_cpu_proves(monkeypatch):
    stand_in = StandIn().install(monkeypatch)
    call = make_case(3, kind="dense", n=6000, n_blocks=1, cells=False, dead=False) | {"k": 20}
    found = run(call, "cuda")
    check_equal(found, call)
    assert found.certified.all()
    assert stand_in.asked == [160, 640]
    assert found.rounds.max() == 2
    large = run(call, "cuda", candidates=3000)  # more than the device can select
    assert (large.reranked <= 3000).all()
    assert stand_in.asked == [160, 640]


def test_copies_on_the_gpu_go_with_their_blocks(monkeypatch):
    StandIn().install(monkeypatch)
    call = make_case(9, n_blocks=1)
    run(call, "cuda")
    assert len(faiss_gpu._made) == 1
    call.clear()
    assert len(faiss_gpu._made) == 0


def test_a_gpu_of_too_little_precision_is_an_error(monkeypatch):
    StandIn(off=1e-3).install(monkeypatch)
    with pytest.raises(BackendError, match=r"inner products of the GPU must be within .* of the true ones; got 0.001"):
        run(make_case(0, n=50), "cuda")


@pytest.mark.parametrize("driver", [False, True])
def test_no_gpu_is_said(driver, monkeypatch):
    if faiss.get_num_gpus() > 0:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(gpu, "_has_driver", lambda: driver)
    reason = r"built for CPUs only|finds no CUDA device" if driver else r"there is no CUDA driver here"
    with pytest.raises(BackendError, match=reason):
        run(make_case(0), "cuda")


@pytest.mark.parametrize("in_cells", [False, True])
def test_a_channel_of_weight_zero_does_not_count(in_cells):
    call = make_case(3, kind="sparse", n=300, n_blocks=1, cells=False, dead=False)
    weights = np.array([0.5, 0.5, 0.0])
    block = call["blocks"][0]
    of_cells = weights if in_cells else np.full(3, 1 / 3)
    order, cells = make_cells(np.random.default_rng(0), block.hist, block.scale, of_cells, 9)
    blocks = [Block(block.hist[order], block.scale[order], block.key[order], None, cells)]
    check_equal(run(call, blocks=blocks, weights=weights), call, blocks=blocks, weights=weights)


@pytest.mark.skipif(faiss.get_num_gpus() < 1, reason="needs a GPU build of FAISS and a GPU")
@pytest.mark.parametrize("half", [False, True])
def test_on_a_real_gpu(half):
    for seed in range(20):
        call = make_case(seed, half=half, n=5000, n_blocks=2)
        found = run(call, "cuda")
        check_equal(found, call)
        assert found.certified.all()
