"""What is installed: nothing outside alseg_fast, everything inside it that runs need."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import alseg_fast

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    build = ["-C", f"build-dir={out / 'build'}", "--wheel-dir", str(out), str(ROOT)]
    done = subprocess.run([*command, *build], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return {name: archive.getinfo(name).file_size for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_has_one_package_with_all_its_parts(wheel):
    tops = {name.split("/", 1)[0] for name in wheel}
    assert tops == {"alseg_fast", f"alseg_fast-{PROJECT['version']}.dist-info"}
    for part in (
        "py.typed",
        "__init__.pyi",
        "_native.pyi",
        "kernels/uncertainty/reference.py",
        "benches/uncertainty.py",
        "stages/assets/report.html",
        "stages/assets/report.js",
        "stages/assets/report.css",
        "simulation/results/assets/results.html",
        "demo/example.onnx",
    ):
        assert f"alseg_fast/{part}" in wheel
    for config in (ROOT / "alseg_fast" / "learn" / "configs").glob("*.yaml"):
        assert f"alseg_fast/learn/configs/{config.name}" in wheel
    assert any(name.startswith("alseg_fast/_native.") and name.endswith(".so") for name in wheel)
    assert not [name for name in wheel if "/benches/results/" in name or "__pycache__" in name]


def test_the_example_model_is_small():
    assert (ROOT / "alseg_fast" / "demo" / "example.onnx").stat().st_size < 1_500_000


def test_one_version():
    assert alseg_fast.__version__ == PROJECT["version"]


def test_the_core_needs_neither_torch_nor_triton():
    core = " ".join(PROJECT["dependencies"])
    assert "torch" not in core
    assert "triton" not in core
    assert "onnxruntime" not in core


def test_every_dependency_is_pinned_for_the_make_targets():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["cpu"], *extras["dev"], *extras["train"], *extras["bench"]]
    names = {w.split(">=")[0].split(";")[0].strip().lower().replace("_", "-") for w in wanted}
    assert names <= pinned


def test_public_names_are_there():
    import ast

    stub = ast.parse((ROOT / "alseg_fast" / "__init__.pyi").read_text(encoding="utf-8"))
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(n for n in alseg_fast.__all__)
    for name in names:
        assert getattr(alseg_fast, name).__doc__, name
