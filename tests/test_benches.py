"""The benchmarks run at tiny sizes, and their gates close on wrong numbers. No time is asserted."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alseg_fast.benches import compare, contest, machine, memory, parity, pool_images, tables, timing, uncertainty
from alseg_fast.benches.cases import FLOORS, INPUTS, MC, MC_PEERS, PEERS, SINGLE, Case, Form, Peer
from alseg_fast.errors import UsageError

TINY = Case(4, (5, 7), (33, 50), {1: 1.0})
TINY_MC = Case(4, (5, 7), (33, 50), passes=3)
Call = Callable[[], tuple[Any, Any, Any]]


NEEDS = {
    "onnx_graph": ("onnx", "onnxruntime"),
    "mc_onnx_graph": ("onnx", "onnxruntime"),
    "numpy_cv2": ("cv2",),
    "mc_baal": ("torch", "scipy", "baal"),
}


def require_baseline(peer: Peer) -> Any:
    for library in NEEDS.get(peer.target.split(":")[0], ("torch",)):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    return contest.load(peer)


def tiny_form(form: Form, peers: Any) -> Form:
    return replace(form, cases=(TINY if form is SINGLE else TINY_MC,), peers=tuple(peers))


@pytest.fixture
def never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)


@pytest.mark.parametrize("kind", sorted(INPUTS))
@pytest.mark.parametrize("peer", [p for p in (*PEERS, *MC_PEERS) if "compiled" not in p.target], ids=lambda p: p.target)
def test_peers_compute_what_they_are_compared_for(peer: Peer, kind: str) -> None:
    make, set_threads = require_baseline(peer)
    case = TINY_MC if peer in MC_PEERS else TINY
    logits = INPUTS[kind](case, 0)
    set_threads(1)
    call = make(logits, case.high)
    for _ in range(2):  # kept memory must not remember the first call
        outputs = call()
    assert parity.check_outputs(outputs, parity.reference_outputs(logits, case.high), peer.gives) is None


def test_the_compiled_pass_is_right_before_it_is_compiled() -> None:
    torch = pytest.importorskip("torch")
    from alseg_fast.benches.baselines import torch_compiled

    logits = INPUTS["smooth"](TINY, 0)
    z, expected = torch.from_numpy(logits), parity.reference_outputs(logits, TINY.high)
    for measures in (torch_compiled.whole_measures, torch_compiled.unrolled_measures):
        assert parity.check_outputs(measures(z, TINY.high), expected) is None


def test_the_compiled_update_is_right_before_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from alseg_fast.benches.baselines import mc_torch_compiled

    monkeypatch.setattr(mc_torch_compiled, "compile_whole", lambda function: function)
    logits = INPUTS["smooth"](TINY_MC, 0)
    call = mc_torch_compiled.streamed(logits, TINY_MC.high)
    for _ in range(2):
        outputs = call()
    assert parity.check_outputs(outputs, parity.reference_outputs(logits, TINY_MC.high)) is None


def test_baal_is_loaded_without_the_package_around_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for library in ("torch", "scipy"):
        pytest.importorskip(library)
    from alseg_fast.benches.baselines import mc_baal

    with monkeypatch.context() as absent:
        absent.setattr(mc_baal, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match="baal is not installed; pip install --no-deps baal scipy"):
            mc_baal.load_heuristics()
    package = tmp_path / "baal"
    (package / "active" / "heuristics").mkdir(parents=True)
    for broken in ("__init__.py", "active/__init__.py", "active/heuristics/__init__.py"):
        (package / broken).write_text("raise ImportError('operator torchvision::nms does not exist')")
    (package / "active/heuristics/heuristics.py").write_text("class BALD: pass")
    for name in [name for name in sys.modules if name.split(".")[0] == "baal"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert mc_baal.load_heuristics().BALD is not None
    assert not [name for name in sys.modules if name.split(".")[0] == "baal"]


def test_reference_in_bands_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    import alseg_fast as alseg
    from alseg_fast.dispatch import use_backend

    monkeypatch.setattr(parity, "_BAND_VALUES", 1000)
    logits = np.concatenate([INPUTS["noise"](TINY, seed) for seed in (1, 2)])
    with use_backend("reference"):
        whole = alseg.uncertainty(logits, TINY.high, measures=("entropy", "margin"), reduce=())
    expected = parity.reference_outputs(logits, TINY.high)
    np.testing.assert_allclose(expected["entropy"], whole.maps["entropy"], atol=1e-6)
    np.testing.assert_allclose(expected["p1 - p2"], 1 - whole.maps["margin"], atol=1e-6)
    np.testing.assert_array_equal(expected["labels"], whole.labels)
    logits = INPUTS["noise"](TINY_MC, 1)
    with use_backend("reference"):
        whole = alseg.uncertainty(logits, TINY.high, measures=parity.MC_OUTPUTS, labels=False, reduce=())
    for name, values in parity.reference_outputs(logits, TINY.high).items():
        np.testing.assert_allclose(values, whole.maps[name], atol=1e-6)


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
    good = tuple(expected.values())
    assert parity.check_outputs(good, expected) is None
    problem = parity.check_outputs(spoil(*good), expected)
    assert problem is not None
    assert complaint in problem


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"variance": 1e-5}, "variance is off by 1.00e-05"),
        ({"mutual_information": -1e-3}, "mutual_information is off by 1.00e-03"),
        ({"expected_entropy": np.nan}, "expected_entropy is off by nan"),
    ],
)
def test_gate_closes_on_wrong_maps_of_several_passes(change: dict[str, float], complaint: str) -> None:
    expected = parity.reference_outputs(INPUTS["smooth"](TINY_MC, 0), TINY.high)
    assert parity.check_outputs(dict(expected), expected) is None
    spoiled = {name: values + change.get(name, 0) for name, values in expected.items()}
    assert complaint in (parity.check_outputs(spoiled, expected) or "")


def test_gate_closes_on_missing_outputs_and_wrong_means() -> None:
    expected = parity.reference_outputs(INPUTS["smooth"](TINY_MC, 0), TINY.high)
    alone = {"mutual_information": expected["mutual_information"]}
    assert parity.check_outputs(alone, expected, ("mutual_information",)) is None
    assert "gives mutual_information, not entropy" in (parity.check_outputs(alone, expected) or "")
    means = {f"{name}_mean": values.mean(axis=(1, 2)) for name, values in expected.items()}
    assert parity.check_means(means, expected) is None
    means["variance_mean"] = means["variance_mean"] + 1e-4
    assert "variance_mean is off by 1.00e-04" in (parity.check_means(means, expected) or "")


def test_peers_that_need_too_much_memory_are_left_out() -> None:
    peer = Peer("greedy", "x:y", copies=4)
    assert peer.left_out(Case(21, (32, 32), (512, 512), passes=8)) is None
    reason = peer.left_out(Case(19, (64, 128), (1024, 2048), passes=8))
    assert reason == "left out: holds about 5 GiB of temporaries, more than 4"


@pytest.mark.usefixtures("never_wait")
def test_uncertainty_bench_keeps_wrong_and_failing_peers_as_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make_wrong(logits: Any, size: tuple[int, int]) -> Call:
        expected = parity.reference_outputs(logits, size)
        return lambda: {name: 0 * values for name, values in expected.items()}

    def make_failing(logits: Any, size: tuple[int, int]) -> Call:
        raise RuntimeError("no compiler\nsecond line")

    def make_right(logits: Any, size: tuple[int, int]) -> Call:
        expected = parity.reference_outputs(logits, size)
        return lambda: dict(expected)

    def make_breaking(logits: Any, size: tuple[int, int]) -> Call:
        outputs, calls = make_right(logits, size)(), iter(range(3))

        def call() -> tuple[Any, Any, Any]:
            next(calls)
            return outputs

        return call

    made = {"wrong": make_wrong, "failing": make_failing, "right": make_right, "breaking": make_breaking}
    monkeypatch.setattr(contest, "load", lambda peer: (made[peer.target], lambda threads: None))
    monkeypatch.setattr(contest, "FLOORS", ())
    peers = [*(Peer(name, name) for name in made), Peer("greedy", "right", copies=10**9)]
    forms = [tiny_form(form, peers) for form in (SINGLE, MC)]
    result = uncertainty.run(True, (1, 2), tmp_path, forms=forms)
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    for case, threads in ((case, threads) for case in (TINY, TINY_MC) for threads in (1, 2)):
        start = f"uncertainty/{case.name}/smooth/{threads}t"
        assert rows[f"{start}/wrong"]["error"].startswith("wrong result: entropy is off by")
        assert "median_ms" not in rows[f"{start}/wrong"]
        assert rows[f"{start}/failing"]["error"] == "RuntimeError: no compiler"
        assert rows[f"{start}/breaking"]["error"] == "StopIteration"
        assert rows[f"{start}/greedy"]["error"].startswith("left out: holds about")
        assert "median_ms" not in rows[f"{start}/greedy"]
        for name in ("right", "alseg", "alseg, fresh outputs", "alseg, reductions only"):
            assert rows[f"{start}/{name}"]["error"] is None
            assert rows[f"{start}/{name}"]["median_ms"] > 0
        assert rows[start]["best_peer"] == "right"
    assert not result["parity"]["ok"]
    assert len(result["parity"]["failed"]) == 4
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
@pytest.mark.parametrize("form", [SINGLE, MC], ids=lambda form: form.name)
def test_our_own_wrong_result_has_no_time(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    right = contest.our_calls

    def spoiled(form: Form, logits: Any, size: tuple[int, int], threads: int) -> Any:
        ramp = np.float32(0.01) * np.arange(4, dtype=np.float32)[:, None, None]
        return right(form, logits + ramp, size, threads)

    monkeypatch.setattr(contest, "our_calls", spoiled)
    result = uncertainty.run(True, (1,), forms=(tiny_form(form, ()),), part=form.name)
    for ours in result["tables"][0]["rows"][:3]:
        assert ours["error"].startswith("wrong result")
        assert "median_ms" not in ours
    assert not result["parity"]["ok"]
    assert all(g["value"] is None and not g["met"] for g in result["goals"])


@pytest.mark.usefixtures("never_wait")
def test_one_part_can_be_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "FLOORS", ())
    forms = [tiny_form(form, ()) for form in (SINGLE, MC)]
    result = uncertainty.run(True, (1,), forms=forms, part="mc")
    assert {row["case"] for row in result["tables"][-1]["rows"]} == {TINY_MC.name}
    assert result["method"]["part"] == "mc"
    with pytest.raises(UsageError, match="part must be one of single, mc, all; got 'both'"):
        uncertainty.run(True, (1,), part="both")


def test_goals_are_those_of_the_form() -> None:
    from alseg_fast.benches.uncertainty_report import list_goals, summarise

    def goals(form: Form, case: Case, eager_ms: float, best_ms: float) -> dict[str, bool]:
        ours = {"backend": "alseg", "role": "ours", "error": None, "median_ms": 1.0, "min_ms": 1.0, "min_ratio": 1.0}
        eager = {**ours, "backend": form.usual, "role": "peer", "median_ms": eager_ms, "median_ratio": eager_ms}
        best = {**ours, "backend": "best", "role": "peer", "median_ms": best_ms, "median_ratio": best_ms}
        found = list_goals([summarise(form, case, "smooth", 1, [ours, eager, best])])
        return {f"{g['goal'].split(',')[0]} {g['target']}": g["met"] for g in found}

    small, large = (Case(c, (8, 8), (32, 32), passes=8) for c in (21, 19))
    assert goals(MC, small, 61, 7) == {"torch eager / alseg >= 60": True, "best peer / alseg >= 8": False}
    assert goals(MC, large, 61, 12) == {"best peer / alseg >= 12": True}
    assert goals(MC, Case(2, (8, 8), (32, 32), passes=8), 61, 12) == {}
    small, large = (Case(c, (8, 8), (32, 32)) for c in (21, 19))
    assert goals(SINGLE, small, 49, 7) == {"torch eager / alseg >= 50": False}
    assert goals(SINGLE, large, 51, 7) == {"torch eager / alseg >= 50": True, "best peer / alseg >= 7": True}


def test_floors_do_their_share() -> None:
    for floor in FLOORS:
        make, set_threads = require_baseline(floor)
        set_threads(1)
        scales = []
        for case in (TINY, TINY_MC):
            call, scale = make(INPUTS["smooth"](case, 0), case.high)
            call()
            scales.append(scale)
        if "multiply" in floor.target:
            assert scales[1] / scales[0] == pytest.approx(3 * 9 / 7)
        elif "exp" in floor.target:
            assert scales[1] / scales[0] == pytest.approx(3)


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
    with pytest.raises(compare.CompareError, match="device differs: 'cpu' and 'cuda'"):
        compare.compare_results(old, {**new, "device": "cuda"})
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


def test_memory_of_a_call_is_what_it_needs_meanwhile() -> None:
    # In a process of its own: one that has freed much before need not grow at all.
    program = (
        "import numpy as np; from alseg_fast.benches import machine; "
        "print(machine.call_memory(lambda: np.ones(8 * 2**20)))"  # 64 MiB
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None" or 60 < float(done.stdout) < 90


def test_metadata_tells_what_the_machine_was() -> None:
    facts = machine.describe_machine((1, 2), machine.set_allocator("default"))
    json.dumps(facts, allow_nan=False)
    assert facts["threads"] == [1, 2]
    assert facts["allocator"] == "glibc default"
    assert facts["simd_level"] in facts["simd_available"]
    with pytest.raises(ValueError, match="set_allocator: name must be one of default, keep; got 'jemalloc'"):
        machine.set_allocator("jemalloc")
