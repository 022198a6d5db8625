"""What `bench uncertainty --device cuda` does around the GPU: arguments, gate, arithmetic, tables. No GPU is needed."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmark measures torch tensors")

import torch

from alseg_fast.benches import compare, cuda_timing, gpu, timing, uncertainty_cuda
from alseg_fast.benches import uncertainty_cuda_report as report
from alseg_fast.benches.cases import MC, SINGLE, Case, Peer
from alseg_fast.benches.uncertainty_report import OURS, REDUCED
from alseg_fast.cli import main as alseg_main
from alseg_fast.errors import BackendError, UsageError

TINY = report.GpuCase(SINGLE, Case(4, (5, 7), (33, 50)), 2, "bfloat16")
TINY_MC = report.GpuCase(MC, Case(4, (5, 7), (33, 50), passes=3), 1, "float16")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError, match=r"got 'cuda', and torch .* sees no GPU. Run it on a machine with"):
        gpu.require_gpu("cuda")
    for arguments, status in ((["--device", "cuda"], 1), (["--device", "cuda:x"], 2), (["--device", "tpu"], 2)):
        assert uncertainty_cuda.main(["--quick", *arguments]) == status
        assert alseg_main(["bench", "uncertainty", "--quick", *arguments]) == status
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith("alseg: error: bench uncertainty: device must be ")
        assert lines[1] == lines[0]


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpu.require_gpu("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="one of the 2 GPUs of this machine, counted from 0; got 'cuda:2'"):
        gpu.require_gpu("cuda:2")
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"torch is not installed\. Install a CUDA build of torch"):
        gpu.require_gpu("cuda")


@pytest.mark.parametrize("option", [["--device", "cuda"], ["--part", "mc"]])
@pytest.mark.parametrize("what", ["pipeline", "memory", "all"])
def test_options_of_one_benchmark_are_refused_elsewhere(
    what: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert alseg_main(["bench", what, *option]) == 2
    assert f"bench {what}: {option[0]} must be " in capsys.readouterr().err


def test_nvidia_smi_is_read_by_name() -> None:
    facts = gpu.parse_nvidia_smi("580.159.03, 345, 3201, 1980, 3201, 700.00, 31\n")
    assert facts is not None
    assert (facts["driver_version"], facts["clocks.max.sm"], facts["temperature.gpu"]) == ("580.159.03", "1980", "31")
    assert gpu.parse_nvidia_smi("No devices were found\n") is None


def test_needs_are_counted_from_the_formula() -> None:
    street = Case(19, (64, 128), (1024, 2048))
    single = report.GpuCase(SINGLE, street, 8, "bfloat16")
    assert single.name == "N8-C19-64x128-1024x2048-bf16"
    pixels = 8 * 1024 * 2048
    assert single.needed_bytes() == 8 * 19 * 64 * 128 * 2 + pixels * 9
    assert single.needed_bytes(maps=False) == 8 * 19 * 64 * 128 * 2
    assert single.needed_exps == 19 * pixels
    several = report.GpuCase(MC, Case(19, (64, 128), (1024, 2048), passes=8), 1, "float32")
    assert several.name == "N1-T8-C19-64x128-1024x2048-fp32"
    assert several.needed_bytes() == 8 * 19 * 64 * 128 * 4 + 1024 * 2048 * 16
    assert several.needed_exps == 8 * 19 * 1024 * 2048


def fake_rows(
    case: report.GpuCase, ours_ms: float, copy_ms: float | None, exp_ms: float | None
) -> list[dict[str, Any]]:
    """Ceilings of 1e9 bytes and 1e9 exponentials a call."""
    times = {OURS: ours_ms, REDUCED: ours_ms, case.form.usual: 12 * ours_ms, "torch.compile, whole": 5 * ours_ms}
    times |= {"torch interpolate + torch.compile": 4 * ours_ms, report.COPY: copy_ms, report.EXP: exp_ms}
    roles = {OURS: "ours", REDUCED: "ours", report.COPY: "ceiling", report.EXP: "ceiling"}
    rows = []
    for name, ms in times.items():
        row = {"id": name, "backend": name, "role": roles.get(name, "peer"), "error": None, "amount": 10**9}
        rows.append({**row, "median_ms": ms, "min_ms": ms, "wall_ms": ms} if ms is not None else row)
    return rows


def test_share_is_that_of_the_tighter_ceiling() -> None:
    case = report.CASES[0]
    bytes_ms, exps_ms = case.needed_bytes() / 1e9, case.needed_exps / 1e9  # at 1 ms for 1e9
    for copy_ms, exp_ms, tighter in ((1.0, 0.1, bytes_ms), (0.1, 1.0, exps_ms)):
        rows = fake_rows(case, 2 * tighter, copy_ms, exp_ms)
        summary = report.summarise(case, rows)
        assert summary["ceiling_ms"] == pytest.approx(tighter)
        assert summary["share"] == pytest.approx(0.5)
        shares = {row["backend"]: row.get("share") for row in rows}
        assert shares["torch interpolate + torch.compile"] == pytest.approx(0.125)
        assert shares[report.COPY] is None
    # Without maps the outputs need not be written.
    summary = report.summarise(case, rows := fake_rows(case, bytes_ms, 1.0, 1e-6))
    reduced = next(row for row in rows if row["backend"] == REDUCED)
    assert reduced["share"] == pytest.approx(case.needed_bytes(maps=False) / case.needed_bytes())


def test_gpu_goals_stand_for_the_stated_case_alone() -> None:
    cases = list(report.CASES)
    summaries = [report.summarise(case, fake_rows(case, case.needed_exps / 0.8e9, 0.1, 1.0)) for case in cases]
    goals = report.list_goals(cases, summaries)
    assert [(g["target"], g["met"]) for g in goals] == [(">= 10", True), (">= 3", True), (">= 0.7", True)]
    assert all("N8-C19-64x128-1024x2048-bf16" in g["goal"] for g in goals)
    assert [round(g["value"], 6) for g in goals] == [12, 4, 0.8]
    # What could not be measured meets nothing.
    case = cases[0]
    summary = report.summarise(case, fake_rows(case, 1.0, None, 1.0))
    assert summary["share"] is None
    assert not report.list_goals([case], [summary])[2]["met"]


@pytest.mark.parametrize("case", [TINY, TINY_MC], ids=lambda case: case.name)
def test_gpu_peers_are_right(case: report.GpuCase, monkeypatch: pytest.MonkeyPatch) -> None:
    from alseg_fast.benches import parity
    from alseg_fast.benches.baselines import cuda_torch, mc_torch_compiled

    for module in (cuda_torch, mc_torch_compiled):
        monkeypatch.setattr(module, "compile_whole", lambda function: function)
    z = uncertainty_cuda.make_logits(case, torch.device("cpu"))
    assert z.dtype == getattr(torch, case.dtype)
    assert z.shape[0] == case.n_images
    expected = parity.reference_outputs(z.float().numpy(), case.case.high)
    for peer in uncertainty_cuda.PEERS[case.form.name]:
        call = uncertainty_cuda._load(peer.target)(z, case.case.high)
        for _ in range(2):
            outputs = call()
        assert parity.check_outputs(outputs, expected) is None, peer.name


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU in the GPU's place, and a clock that shows 1 ms, 2 ms, ..."""

    def time_in_turns(calls: dict[str, Callable[[], object]], device: Any, *, quick: bool) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for i, (name, call) in enumerate(calls.items(), start=1):
            call()
            spread = timing.Spread.of([1e-3 * i] * 3, 1, 0)
            results[name] = cuda_timing.GpuTimes(spread, spread)
        return results

    load = uncertainty_cuda._load
    fakes = {
        "cuda_ceilings:copy_memory": lambda device: (lambda: None, 10**9),
        "cuda_ceilings:registers_exp": lambda device: (lambda: None, 10**9),
        "cuda_torch:forget_compiled": lambda: None,
    }
    monkeypatch.setattr(uncertainty_cuda, "_load", lambda target: fakes.get(target) or load(target))
    monkeypatch.setattr(gpu, "require_gpu", lambda name: torch.device("cpu"))
    monkeypatch.setattr(gpu, "describe_gpu", lambda device: {"gpu": "Fake H1", "cuda": "13.0", "nvidia_smi": None})
    monkeypatch.setattr(gpu, "ask_nvidia_smi", lambda device: None)
    monkeypatch.setattr(cuda_timing, "call_memory", lambda call, device: 1.0)
    monkeypatch.setattr(cuda_timing, "time_in_turns", time_in_turns)


@pytest.mark.usefixtures("fake_gpu")
def test_gpu_bench_makes_tables_and_keeps_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from alseg_fast.benches.baselines import cuda_torch

    def wrong(z: Any, size: Any) -> Any:
        return lambda: tuple(0 * values for values in cuda_torch.eager(z, size)())

    monkeypatch.setattr(cuda_torch, "eager_tuned", wrong)
    peers = {
        "single": (
            Peer("torch eager", "cuda_torch:eager"),
            Peer("torch eager, tuned", "cuda_torch:eager_tuned"),
            Peer("not there", "cuda_torch:nothing"),
        ),
        "mc": (Peer("torch eager, batched", "cuda_torch:mc_eager"),),
    }
    monkeypatch.setattr(uncertainty_cuda, "PEERS", peers)
    result = uncertainty_cuda.run(True, tmp_path, cases=(TINY, TINY_MC))
    rows = {row["id"]: row for table in result["tables"] for row in table["rows"]}
    start = f"uncertainty-cuda/{TINY.name}"
    for name in (OURS, REDUCED, "torch eager", report.COPY, report.EXP):
        assert rows[f"{start}/{name}"]["error"] is None
        assert rows[f"{start}/{name}"]["median_ms"] > 0
    assert rows[f"{start}/torch eager, tuned"]["error"].startswith("wrong result: entropy is off by")
    assert "median_ms" not in rows[f"{start}/torch eager, tuned"]
    assert "has no attribute 'nothing'" in rows[f"{start}/not there"]["error"]
    assert result["parity"]["failed"] == [
        f"{start}/torch eager, tuned: {rows[f'{start}/torch eager, tuned']['error'].removeprefix('wrong result: ')}"
    ]
    assert rows[start]["eager_ratio"] == 3
    assert rows[start]["bandwidth_tb_s"] == pytest.approx(1e9 / 4e-3 / 1e12)
    assert rows[f"uncertainty-cuda/{TINY_MC.name}"]["error"] is None
    text = uncertainty_cuda.format_table(result)
    assert "Fake H1, driver unknown CUDA 13.0, torch" in text
    saved = Path(result["saved_as"])
    assert saved.parent == tmp_path / "fake-h1"
    assert saved.name.endswith("-uncertainty-quick.json")
    stored = json.loads(saved.read_text(encoding="utf-8"))
    assert list(stored) == sorted(stored)
    with pytest.raises(compare.CompareError, match="the old results are wrong"):
        compare.compare_results(stored, stored)


@pytest.mark.usefixtures("fake_gpu")
def test_one_part_of_the_gpu_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty_cuda, "PEERS", {"single": (), "mc": ()})
    result = uncertainty_cuda.run(True, part="mc", cases=(TINY, TINY_MC))
    assert [row["case"] for row in result["tables"][-1]["rows"]] == [TINY_MC.name]
    with pytest.raises(UsageError, match="part must be one of"):
        uncertainty_cuda.run(True, part="both")


class FakeEvent:
    """Time by a counter of calls instead of a GPU."""

    now = 0.0

    def __init__(self, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = FakeEvent.now

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


def test_gpu_clock_takes_turns_flushes_and_keeps_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(L2_cache_size=512))
    monkeypatch.setattr(cuda_timing, "_FLUSH_BYTES", 1024)
    order: list[str] = []

    def work(name: str, ms: float, failing_at: int | None = None) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            FakeEvent.now += ms
            if failing_at is not None and order.count(name) > failing_at:
                raise RuntimeError("CUDA error: out of memory\nmore")

        return call

    calls = {"a": work("a", 2.0), "b": work("b", 3.0, failing_at=7), "c": work("c", 1.0, failing_at=0)}
    times = cuda_timing.time_in_turns(calls, torch.device("cpu"), quick=True)
    first, failed, never = (times[name] for name in "abc")
    assert isinstance(first, cuda_timing.GpuTimes)
    assert first.device.median == pytest.approx(2e-3)
    assert (first.device.reps, first.wall.reps) == (5, 5)
    assert set(first.milliseconds()) >= {"median_ms", "iqr_ms", "min_ms", "reps", "wall_ms"}
    assert (failed, never) == ("RuntimeError: CUDA error: out of memory",) * 2
    turns = "".join(order).removeprefix("aaaabbbbc")
    assert turns.startswith("aabbaabb")


def test_enough_flushes_hide_the_host() -> None:
    assert cuda_timing.flushes_to_cover(1e-6, 60e-6) == 1
    assert cuda_timing.flushes_to_cover(300e-6, 60e-6) == 10
    assert cuda_timing.flushes_to_cover(1.0, 60e-6) == 200


def test_ceiling_of_exponentials_computes_nothing_else() -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from alseg_fast.benches.baselines import cuda_ceilings

    constants = {"BLOCK": cuda_ceilings.BLOCK, "UNROLLED": cuda_ceilings.UNROLLED}
    signature = {"out_ptr": "*fp32", "n_rounds": "i32", "BLOCK": "constexpr", "UNROLLED": "constexpr"}
    source = ASTSource(cuda_ceilings._exp2_kernel, signature=signature, constexprs=constants)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Triton, about its own defaults
        text = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    body = re.search(r"^(\$L__BB0_\d+):.*?\n(.*?)bra\s+\1;", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    instructions = re.findall(r"^\t(?:@%p\d+ )?([a-z]\w*)[.\w]*", body[2], re.MULTILINE)
    per_thread = cuda_ceilings.BLOCK // 128 * cuda_ceilings.UNROLLED
    assert instructions.count("ex2") == per_thread
    # A minus is a modifier of the operand on the chip; the rest is the loop.
    assert len([name for name in instructions if name not in ("ex2", "neg")]) <= 4
