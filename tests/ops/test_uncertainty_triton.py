"""The Triton back end without a GPU: interpreted for its values, compiled ahead of time for its registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alseg_fast.dispatch import use_backend
from alseg_fast.errors import BackendError
from alseg_fast.kernels.uncertainty import uncertainty as op

pytest.importorskip("torch", reason="the Triton back end needs torch")
pytest.importorskip("triton", reason="the Triton back end needs triton")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REPORT = "alseg_fast.kernels.uncertainty.triton_aot"


def run(*arguments, **environment):
    """A fresh interpreter: Triton decides at its import whether it interprets."""
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_interpreted_kernels_equal_the_reference():
    file = str(HERE / "triton_interpreted.py")
    done = run("-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", file, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


@pytest.mark.slow
def test_compiled_kernels_do_not_spill():
    wanted = ("T=1 bf16 entropy", "T=8 C=21 BALD", "T=8 C=59", "sigmoid T=8 all")
    chosen = [part for name in wanted for part in ("--variant", name)]
    done = run("-m", REPORT, "--json", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["chip"] for row in rows} == {"sm_80", "sm_90", "sm_100"}
    assert {row["kernel"] for row in rows} == {"prepare", "single", "passes", "wide", "binary"}
    assert all(row["spilled_bytes"] == 0 for row in rows)
    assert all(0 < row["registers"] <= 255 for row in rows)


def test_tensors_of_the_cpu_stay_with_the_cpu():
    chosen = {
        device: [impl.backend for impl, reason in op.explain(device) if reason is None] for device in ("cpu", "cuda")
    }
    assert chosen["cuda"] == ["triton"]
    assert "triton" not in chosen["cpu"]
    with use_backend("triton"), pytest.raises(BackendError, match="triton: runs on cuda"):
        op.resolve("cpu")
