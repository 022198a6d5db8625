"""Runs cuda_path_interpreted.py in a process whose Triton interprets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="CUDA tensors are torch's")
pytest.importorskip("triton", reason="the Triton back end needs triton")


@pytest.mark.slow
def test_public_function_on_the_path_of_cuda_tensors():
    file = Path(__file__).with_name("cuda_path_interpreted.py")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=file.parents[2], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
