"""The benchmarks run at tiny sizes, and their gates close on wrong numbers. No time is asserted."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alseg_fast.benches import compare, machine, memory, parity, pool_images, tables, timing, uncertainty
from alseg_fast.benches.cases import FLOORS, INPUTS, PEERS, Case, Peer

TINY = Case(4, (5, 7), (33, 50), {1: 1.0})
Call = Callable[[], tuple[Any, Any, Any]]


NEEDS = {"onnx_graph": ("onnx", "onnxruntime"), "numpy_cv2": ("cv2",)}


def require_baseline(peer: Peer) -> Any:
    for library in NEEDS.get(peer.target.split(":")[0], ("torch",)):
        pytest.importorskip(library)
    return uncertainty._load(peer)


@pytest.fixture
def never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)


@pytest.mark.parametrize("kind", sorted(INPUTS))
@pytest.mark.parametrize("peer", [p for p in PEERS if "compiled" not in p.target], ids=lambda p: p.target)
def test_peers_compute_what_they_are_compared_for(peer: Peer, kind: str) -> None:
    make, set_threads = require_baseline(peer)
    logits = INPUTS[kind](TINY, 0)
    set_threads(1)
    call = make(logits, TINY.high)
    for _ in range(2):  # kept memory must not remember the first call
        entropy, gap, labels = call()
    assert parity.check_outputs(entropy, gap, labels, parity.reference_outputs(logits, TINY.high)) is None


def test_the_compiled_pass_is_right_before_it_is_compiled() -> None:
    torch = pytest.importorskip("torch")
    from alseg_fast.benches.baselines.torch_compiled import _measure_planes

    logits = INPUTS["smooth"](TINY, 0)
    up = torch.nn.functional.interpolate(torch.from_numpy(logits), size=TINY.high, mode="bilinear")
    entropy, gap, labels = _measure_planes(up)
    assert parity.check_outputs(entropy, gap, labels, parity.reference_outputs(logits, TINY.high)) is None


def test_reference_in_bands_is_the_reference() -> None:
    import alseg_fast as alseg
    from alseg_fast.dispatch import use_backend

    logits = INPUTS["noise"](TINY, 1)
    with use_backend("reference"):
        whole = alseg.uncertainty(logits, TINY.high, measures=("entropy", "margin"), reduce=())
    expected = parity.reference_outputs(logits, TINY.high)
    np.testing.assert_allclose(expected.entropy, whole.maps["entropy"], atol=1e-6)
    np.testing.assert_array_equal(expected.labels, whole.labels)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda e, g, y: (e + 1e-3, g, y), "entropy is off by"),
        (lambda e, g, y: (np.where(e == e.max(), np.nan, e), g, y), "entropy is off by nan"),
        (lambda e, g, y: (e[:, 1:], g, y), "entropy has shape"),
        (lambda e, g, y: (e, 1 - g, y), "p1 - p2 is off by"),
        (lambda e, g, y: (e, g, (y + 1) % 4), "labels differ"),
    ],
)
def test_gate_closes_on_wrong_outputs(spoil: Any, complaint: str) -> None:
    expected = parity.reference_outputs(INPUTS["smooth"](TINY, 0), TINY.high)
    good = expected.entropy, expected.gap, expected.labels
    assert parity.check_outputs(*good, expected) is None
    problem = parity.check_outputs(*spoil(*good), expected)
    assert problem is not None
    assert complaint in problem


@pytest.mark.usefixtures("never_wait")
def test_uncertainty_bench_keeps_wrong_and_failing_peers_as_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make_wrong(logits: Any, size: tuple[int, int]) -> Call:
        zeros = np.zeros((1, *size), np.float32)
        return lambda: (zeros, zeros, zeros)

    def make_failing(logits: Any, size: tuple[int, int]) -> Call:
        raise RuntimeError("no compiler\nsecond line")

    def make_right(logits: Any, size: tuple[int, int]) -> Call:
        expected = parity.reference_outputs(logits, size)
        return lambda: (expected.entropy, expected.gap, expected.labels)

    def make_breaking(logits: Any, size: tuple[int, int]) -> Call:
        outputs, calls = make_right(logits, size)(), iter(range(3))

        def call() -> tuple[Any, Any, Any]:
            next(calls)
            return outputs

        return call

    made = {"wrong": make_wrong, "failing": make_failing, "right": make_right, "breaking": make_breaking}
    monkeypatch.setattr(uncertainty, "_load", lambda peer: (made[peer.target], lambda threads: None))
    monkeypatch.setattr(uncertainty, "FLOORS", ())
    peers = [Peer(name, name) for name in made]
    result = uncertainty.run(True, (1, 2), tmp_path, cases=(TINY,), peers=peers)
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    for threads in (1, 2):
        start = f"uncertainty/{TINY.name}/smooth/{threads}t"
        assert rows[f"{start}/wrong"]["error"].startswith("wrong result: entropy is off by")
        assert "median_ms" not in rows[f"{start}/wrong"]
        assert rows[f"{start}/failing"]["error"] == "RuntimeError: no compiler"
        assert rows[f"{start}/breaking"]["error"] == "StopIteration"
        for name in ("right", "alseg", "alseg, fresh outputs", "alseg, reductions only"):
            assert rows[f"{start}/{name}"]["error"] is None
            assert rows[f"{start}/{name}"]["median_ms"] > 0
        assert rows[start]["best_peer"] == "right"
    assert not result["parity"]["ok"]
    assert len(result["parity"]["failed"]) == 2
    text = uncertainty.format_table(result)
    assert "wrong result: entropy is off by" in text
    assert "RuntimeError: no compiler" in text
    saved = Path(result["saved_as"])
    assert saved.parent.name == machine.cpu_slug()
    stored = json.loads(saved.read_text(encoding="utf-8"))
    assert list(stored) == sorted(stored)
    with pytest.raises(compare.CompareError, match="the old results are wrong"):
        compare.compare_results(stored, stored)


@pytest.mark.usefixtures("never_wait")
def test_our_own_wrong_result_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    right = uncertainty._ours

    def spoiled(logits: Any, size: tuple[int, int], threads: int) -> Any:
        return right(logits + np.float32(0.01) * np.arange(4, dtype=np.float32)[None, :, None, None], size, threads)

    monkeypatch.setattr(uncertainty, "_ours", spoiled)
    result = uncertainty.run(True, (1,), cases=(TINY,), peers=())
    ours = result["tables"][0]["rows"][0]
    assert ours["error"].startswith("wrong result")
    assert "median_ms" not in ours
    assert not result["parity"]["ok"]
    assert all(g["value"] is None and not g["met"] for g in result["goals"])


def test_floors_do_their_share() -> None:
    for floor in FLOORS:
        make, set_threads = require_baseline(floor)
        set_threads(1)
        call, scale = make(INPUTS["smooth"](TINY, 0), TINY.high)
        call()
        assert scale > 0


@pytest.mark.usefixtures("never_wait")
def test_interleave_takes_turns_and_counts() -> None:
    order: list[str] = []
    contenders = [timing.Contender("a", lambda: order.append("a")), timing.Contender("b", lambda: order.append("b"))]
    for contender in contenders:
        contender.warm_up = lambda fewest, most, budget: None
        contender.estimate = 1.0
    contenders[0].reps, contenders[1].reps = 4, 2
    spreads = timing.interleave(contenders, quiet=timing.Quiet())
    assert order == ["a", "a", "b", "a", "a", "b"]
    assert isinstance(spreads["a"], timing.Spread)
    assert (spreads["a"].reps, spreads["b"].reps) == (4, 2)


def test_quiet_gives_up_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: 0.9)
    quiet = timing.Quiet(limit_seconds=0.0, patience_seconds=0.0)
    assert not quiet.wait()
    assert (quiet.looks, quiet.disturbed) == (1, 1)
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: 0.01)
    assert quiet.wait()
    assert quiet.disturbed == 1


def test_spread_is_median_and_quartiles() -> None:
    spread = timing.Spread.of([4.0, 1.0, 2.0, 3.0, 5.0], calls=7, disturbed=1)
    assert (spread.median, spread.low, spread.high, spread.minimum, spread.reps) == (3.0, 2.0, 4.0, 1.0, 5)
    assert spread.milliseconds()["iqr_ms"] == pytest.approx(2000)


def test_compare_shows_ratios_and_refuses_mixtures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "x", "median_ms": 10.0, "iqr_ms": 1.0, "error": None}
    facts = {"commit": None, "cpu": "c", "cpus": 2, "simd_level": "avx2", "allocator": "a", "date": "2024-01-01"}
    rows = [row, {"id": "gone", "median_ms": 1.0, "error": None}]
    old: dict[str, Any] = {
        "bench": "b",
        "quick": False,
        "metadata": facts,
        "parity": {"ok": True, "failed": []},
        "tables": [tables.make_table("t", [("id", "id")], rows)],
    }
    new = copy.deepcopy(old)
    new["tables"][0]["rows"] = [{**row, "median_ms": 5.0}]
    new["metadata"]["cpus"] = 4
    compared, warnings = compare.compare_results(old, new)
    assert compared[0]["ratio"] == 0.5
    assert compared[0]["beyond"] is True
    assert "not measured" in compared[1]["error"]
    assert warnings == ["cpus differs: 2 and 4"]
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, result in zip(paths, (old, {**new, "bench": "other"}), strict=True):
        path.write_text(json.dumps(result), encoding="utf-8")
    assert compare.main([str(p) for p in paths]) == 1
    assert "bench differs" in capsys.readouterr().err
    assert compare.main([str(paths[0]), str(paths[0])]) == 0
    assert "new / old" in capsys.readouterr().out


def test_photos_are_the_same_bytes_and_about_the_asked_length() -> None:
    first = pool_images.make_photo(3, (240, 320), 20_000)
    assert first == pool_images.make_photo(3, (240, 320), 20_000)
    assert first != pool_images.make_photo(4, (240, 320), 20_000)
    assert abs(len(first) - 20_000) < 2_000


def test_mobile_network_gives_logits_at_a_sixteenth(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from alseg_fast.benches import networks
    from alseg_fast.runtimes.onnx import load_model

    pictures = [pool_images.make_photo(seed, (96, 128), None) for seed in range(2)]
    gflop = networks.save_mobile_network(tmp_path / "m.onnx", pictures, side=64, n_classes=5)
    model = load_model(tmp_path / "m.onnx", device="cpu")
    assert (model.spec.n_classes, model.spec.input_size, model.spec.output_size) == (5, (64, 64), (4, 4))
    assert model.warnings == ()
    assert 0.02 < gflop < 0.05


def test_pipeline_bench_measures_and_its_gates_close(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for library in ("onnx", "onnxruntime", "torch"):
        pytest.importorskip(library)
    from alseg_fast.benches import networks, pipeline, pipeline_engine
    from alseg_fast.benches.baselines import data_loader

    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)
    made = data_loader.make_loop
    # Worker processes would take seconds to start.
    monkeypatch.setattr(data_loader, "make_loop", lambda m, s, p, workers, t: made(m, s, p, 0, t))
    monkeypatch.setattr(networks.save_mobile_network, "__kwdefaults__", {"side": 64, "n_classes": 5})
    monkeypatch.setattr(pipeline, "EXAMPLE", tmp_path / "absent.onnx")
    sizes = pipeline.Sizes(images=12, distinct=8, naive_images=8, fewest=2, most=2, photo=(96, 128), photo_bytes=None)
    result = pipeline.run(True, (1, 2), tmp_path, sizes=sizes)
    summary = {row["model"]: row for row in result["tables"][-1]["rows"]}
    assert "absent.onnx is not in the package" in summary["example"]["error"]
    assert summary["mobile"]["error"] is None
    assert result["parity"] == {"ok": True, "failed": []}
    assert summary["mobile"]["efficiency"] > 0
    assert summary["mobile"]["over_naive"] > 0
    assert summary["mobile"]["same_logits_max"] < 1e-5
    assert "absent.onnx is not in the package" in pipeline.format_table(result)
    assert Path(result["saved_as"]).is_file()

    monkeypatch.setattr(pipeline_engine, "SAME_PICTURE_TOLERANCE", 0.0)
    result = pipeline.run(True, (1,), sizes=sizes)
    assert not result["parity"]["ok"]
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    assert rows["pipeline/mobile/alseg engine"]["error"].startswith("wrong result")
    assert "median_ms" not in rows["pipeline/mobile/alseg engine"]
    assert rows["pipeline/mobile"]["efficiency"] is None


def test_rank_correlation_is_spearmans() -> None:
    pytest.importorskip("onnxruntime")
    from alseg_fast.benches.pipeline_engine import check_pictures, rank_correlation

    assert rank_correlation([1, 2, 3, 4], [10, 100, 1000, 10000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    scores = [0.01 * i for i in range(8)]
    assert check_pictures(scores, scores, 5)[1] == []
    assert "rank correlation" in check_pictures(scores, scores[::-1], 5)[1][0]


@pytest.mark.usefixtures("never_wait")
def test_memory_bench_measures_each_pool_in_its_own_process(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    result = memory.run(True, (1,), tmp_path, pools=(3, 20), import_runs=1)
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    assert [rows[f"memory/{n} images"]["error"] for n in (3, 20)] == [None, None]
    assert rows["memory/20 images"]["peak_mib"] > 10
    assert rows["memory/import alseg_fast"]["median_s"] > 0
    assert "before the first image" in memory.format_table(result)


def test_memory_bench_shows_why_a_pool_was_not_scored(tmp_path: Path) -> None:
    row = memory.peak_memory(2, tmp_path / "absent.onnx", [b"not a picture"], tmp_path, 1)
    assert "absent.onnx" in row["error"]


def test_metadata_tells_what_the_machine_was() -> None:
    facts = machine.describe_machine((1, 2), machine.set_allocator("default"))
    json.dumps(facts, allow_nan=False)
    assert facts["threads"] == [1, 2]
    assert facts["allocator"] == "glibc default"
    assert facts["simd_level"] in facts["simd_available"]
    with pytest.raises(ValueError, match="set_allocator: name must be one of default, keep; got 'jemalloc'"):
        machine.set_allocator("jemalloc")
