"""The benchmark of nearest histograms at tiny sizes: its peers are right, its gate closes. No time is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="crops are counted by Numba")

from alseg_fast.benches import knn, knn_cases, knn_cost, knn_cuda, knn_data, knn_memory, pictures, pool_images, timing
from alseg_fast.benches.baselines import knn_numba, knn_signature
from alseg_fast.cli import main as alseg_main
from alseg_fast.errors import BackendError, UsageError

SIZES = {"exact": (600, 8), "graphs": (400, 8), "cost": ((100, 300), 5), "build": 1200}


@pytest.fixture(autouse=True)
def drawn_and_fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)
    monkeypatch.setattr(knn_data, "DEFAULT_DATA", tmp_path / "absent" / "bsds500")
    monkeypatch.setattr(knn_data, "_DRAWN", 2)


@pytest.fixture
def maker() -> knn_data.Maker:
    return knn_data.Maker(None, 1)


def test_crops_are_histograms_of_their_pixels(maker: knn_data.Maker) -> None:
    flat = [np.full((20, 30, 3), (10, 100, 250), np.uint8)]
    separate = knn_data.make_crops(flat, 50, 8, False, 0, 1)
    assert separate.shape == (50, 24)
    assert (np.sort(separate, axis=1)[:, -3:] == 1).all()  # one bin of each channel
    joint = knn_data.make_crops(flat, 50, 8, True, 0, 2)
    a, b, c = (separate.reshape(50, 3, 8)[:, i].argmax(axis=1) for i in range(3))
    assert np.array_equal(joint.argmax(axis=1), (a * 8 + b) * 8 + c)
    assert np.array_equal(joint, knn_data.make_crops(flat, 50, 8, True, 0, 1))


@pytest.mark.parametrize("name", [knn_data.REAL, knn_data.JOINT, knn_data.CLUSTERED, knn_data.FLAT])
def test_data_are_distributions(maker: knn_data.Maker, name: str) -> None:
    data = maker.make(name, 70, 5)
    assert np.allclose(data.rows.sum(axis=1), data.channels, atol=1e-5)
    assert np.allclose(data.joined("queries", 3).sum(axis=1), 1, atol=1e-5)
    assert not np.array_equal(data.rows[:5], data.queries)


def test_pictures_are_found_where_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "bsds500/test/images"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(pool_images.make_photo(0, (120, 130), None))
    for named in (tmp_path, tmp_path / "bsds500", folder):
        assert [p.name for p in knn_data.find_sources(named)[0]] == ["1.jpg"]
    with pytest.raises(UsageError, match="must be a folder with pictures"):
        knn_data.find_sources(tmp_path / "none")


def test_the_truth_is_brute_force(maker: knn_data.Maker) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    data = maker.make(knn_data.REAL, 90, 6)
    truth = knn_cases.find_truth(data, 10, 4, 2)
    d = distance.cdist(data.joined("queries", 4).astype(float), data.joined().astype(float), "jensenshannon") ** 2
    assert np.allclose(truth.nearest, np.sort(d, axis=1)[:, :10], atol=1e-6)
    best = np.argsort(d, axis=1)[:, :10]
    assert truth.recall(best) == 1
    assert truth.recall(np.where(np.arange(10) < 4, best, -1)) == pytest.approx(0.4)


@pytest.mark.parametrize("peer", knn_cases.SCANS, ids=lambda p: p.name)
def test_scans_find_the_nearest(maker: knn_data.Maker, peer: knn_cases.Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn_signature, "ROWS_A_BLOCK", 128)
    data = maker.make(knn_data.REAL, 300, 5)
    truth = knn_cases.find_truth(data, 10, 5, 1)
    try:
        call = peer.make(data.joined(), data.joined("queries"), 10, 2)
    except ImportError as exc:
        pytest.skip(str(exc))
    assert truth.recall(np.asarray(call())) > 0.95


def test_the_polynomial_is_a_logarithm() -> None:
    x = np.exp(np.linspace(-60, 0, 5001)).astype(np.float32)
    one = np.zeros(1, np.float32)
    # With p = q = (x, 0, ...) the kernel adds up -m log2 m of one bin.
    for value in x[::50]:
        rows, out = np.array([[value]], np.float32), np.empty((1, 1), np.float32)
        knn_numba._scan_polynomial(rows, one, rows, one, 0, out)
        assert out[0, 0] == pytest.approx(-value * np.log2(float(value)), rel=1e-4, abs=2e-6)


def test_all_parts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "GRAPHS", ())  # their libraries compile for a minute
    result = knn.run(True, (1, 2), tmp_path, sizes=SIZES, truths=4, k=5)
    assert result["parity"] == {"ok": True, "failed": []}
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    ours = rows["knn/exact/600/2t/alseg"]
    assert ours["error"] is None
    assert (ours["recall"], ours["certified"], ours["queries"]) == (1, 1, 8)
    assert ours["median_ms"] > 0
    assert {row["rows"] for row in rows.values() if row["id"].startswith("knn/cost")} == {100, 300}
    for dtype in ("float32", "float16"):
        assert rows[f"knn/build/{dtype}"]["error"] is None
        assert rows[f"knn/build/{dtype}"]["file_mib"] > 0
    assert len(result["goals"]) == 5 + 3 + 3
    saved = json.loads(Path(result["saved_as"]).read_text())
    assert saved["bench"] == "knn"
    assert "x alseg" in knn.format_table(result)


def test_a_wrong_answer_is_not_timed(maker: knn_data.Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    real = knn_cases.our_search

    def wrong(index: Any, queries: Any, k: int, threads: int | None, backend: str | None = None) -> Any:
        result = real(index, queries, k, threads, backend)
        if backend == "faiss":
            return replace(result, ids=(result.ids + 1) % 300)
        return replace(result, certified=np.zeros_like(result.certified)) if index.channels == 1 else result

    monkeypatch.setattr(knn_cases, "our_search", wrong)
    data = maker.make(knn_data.REAL, 300, 5)
    rows, failed = knn._measure_ways("exact", data, 10, 1, 5, "cpu", True, timing.Quiet(0.0, 0.0))
    row = next(row for row in rows if row["backend"] == knn_cases.FAISS)
    assert row["error"].startswith("wrong result: recall 0.")
    assert len(failed) == 1
    assert "median_ms" not in row
    unproven = replace(data, channels=1)
    rows, failed = knn._measure_ways("exact", unproven, 10, 1, 5, "cpu", True, timing.Quiet(0.0, 0.0))
    assert "5 queries are not certified" in failed[0]


def test_needed_candidates_are_counted(maker: knn_data.Maker) -> None:
    data = maker.make(knn_data.CLUSTERED, 200, 4)
    kth = np.full(4, 0.1)
    expected = []
    for query in data.queries.astype(float):
        h2 = 1 - np.sqrt(data.rows.astype(float)) @ np.sqrt(query)
        expected.append(int((np.log(2) * h2 < 0.1).sum()))
    assert knn_cost.needed_candidates(data, kth).tolist() == expected


def test_a_process_that_fails_is_a_row_with_its_reason(tmp_path: Path) -> None:
    row = knn_memory.measure_in_process(tmp_path / "none.npy", 3, "float32", tmp_path / "index")
    assert "none.npy" in row["error"]


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="part must be one of exact, graphs, cost, build, all; got 'x'"):
        knn.run(part="x")
    with pytest.raises(UsageError, match="--device must be cpu, cuda or cuda:0"):
        knn_cuda.run(device="cuda:1")
    from alseg_fast.kernels.js_knn import gpu

    monkeypatch.setattr(gpu, "_has_driver", lambda: False)
    with pytest.raises(BackendError, match="there is no CUDA driver here"):
        knn_cuda.run()
    assert alseg_main(["bench", "knn", "--part", "speed"]) == 2
    assert "exact, graphs, cost, build, all" in capsys.readouterr().err
    assert pictures.DEFAULT_DATA.name == "bsds500"
