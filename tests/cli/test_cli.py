"""The command line: results, JSON, exit statuses, and one-line errors."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from alseg_fast import atomic
from alseg_fast.cli import main
from support import build_model, draw_picture, write_pictures

COMMANDS = ("demo", "inspect", "doctor", "score", "select", "index", "propagate", "report", "bench")


@pytest.fixture
def pool(tmp_path):
    return write_pictures(tmp_path / "pool", 9)


@pytest.fixture
def alseg(capsys):
    """Run a command; returns (status, stdout, stderr)."""

    def run(*words):
        status = main([str(w) for w in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def error_of(result, status=1):
    """The one error line, checked for the contract's form."""
    code, out, err = result
    lines = [line for line in err.splitlines() if not line.startswith("alseg: warning:")]
    assert code == status, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("alseg: error: ")
    return lines[0].removeprefix("alseg: error: ")


def test_score_select_report(alseg, tiny_model, pool, tmp_path):
    run, batch, report = tmp_path / "run", tmp_path / "batch.parquet", tmp_path / "report.html"
    status, out, _ = alseg("score", pool, "--model", tiny_model, "--out", run, "--measures", "entropy,margin", "--json")
    assert status == 0
    assert json.loads(out)["rows"] == 9
    status, out, _ = alseg("select", run, "--budget", 4, "--out", batch)
    assert status == 0
    assert "4 picks" in out
    scores = {r["image_id"]: r["entropy_mean"] for r in pq.read_table(run / "scores").to_pylist()}
    picks = pq.read_table(batch).to_pylist()
    assert [p["image_id"] for p in picks] == sorted(scores, key=scores.get, reverse=True)[:4]
    assert [p["rank"] for p in picks] == [1, 2, 3, 4]
    status, out, _ = alseg("report", run, "--batch", batch, "--out", report)
    assert status == 0
    page = report.read_text(encoding="utf-8")
    assert all(p["image_id"] in page for p in picks)
    assert "<html" in page


def test_inspect_model_run_and_pool(alseg, tiny_model, pool, tmp_path):
    status, out, _ = alseg("inspect", tiny_model)
    assert status == 0
    assert "1/255" in out
    assert "metadata" in out
    alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run")
    status, out, _ = alseg("inspect", tmp_path / "run", "--json")
    assert json.loads(out)["counts"]["rows"] == 9
    status, out, _ = alseg("inspect", pool)
    assert "9" in out
    assert "directory" in out


def test_doctor(alseg):
    status, out, _ = alseg("doctor", "--json")
    data = json.loads(out)
    assert status == 0
    assert data["simd_level"] in data["simd_levels"]
    assert data["operations"]["uncertainty"]["native"] == "available (cpu)"
    assert data["operations"]["js_knn"]["faiss"] in ("available (cpu, cuda)", "faiss is not installed")


def test_config_file_gives_options_and_the_command_line_wins(alseg, tiny_model, pool, tmp_path):
    config = tmp_path / "score.yaml"
    config.write_text(f"model: {tiny_model}\nmeasures: [entropy, margin]\nmaps: true\nbatch_size: 2\n")
    status, _, _ = alseg("score", pool, "--config", config, "--out", tmp_path / "run", "--measures", "margin")
    assert status == 0
    assert pq.read_schema(tmp_path / "run" / "scores" / "part-00000.parquet").names.count("margin_mean") == 1
    assert "entropy_mean" not in pq.read_schema(tmp_path / "run" / "scores" / "part-00000.parquet").names
    assert (tmp_path / "run" / "maps" / "labels").is_dir()
    config.write_text("no_such_option: 1\n")
    text = error_of(alseg("score", pool, "--config", config, "--model", tiny_model, "--out", tmp_path / "x"), 2)
    assert "--no-such-option" in text


def test_strict_turns_failures_into_status_1(alseg, tiny_model, pool, tmp_path):
    (pool / "bad.jpg").write_bytes(b"")
    assert alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run")[0] == 0
    assert alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run", "--strict")[0] == 1
    _, out, _ = alseg("inspect", tmp_path / "run")
    assert "file is empty" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "COMMAND"),
        (["score"], "POOL"),
        (["fly"], "fly"),
        (["score", "p", "--model", "m.onnx", "--out", "r", "--batch-size", "0"], "at least 1"),
        (["score", "p", "--model", "m.onnx", "--out", "r", "--shard", "2/2"], "0 <= I < N"),
        (["score", "p", "--model", "m.onnx", "--out", "r", "--wat"], "--wat"),
        (["select", "r", "--budget", "many", "--out", "b"], "whole number"),
        (["score", "p", "--config", "/no/such.yaml"], "/no/such.yaml"),
    ],
)
def test_wrong_usage_is_status_2(alseg, words, part):
    assert part in error_of(alseg(*words), 2)


def test_wrong_option_values_are_status_2(alseg, tiny_model, pool, tmp_path):
    base = ("score", pool, "--model", tiny_model, "--out", tmp_path / "run")
    assert "activation" in error_of(alseg(*base, "--activation", "relu"), 2)
    alseg(*base)
    assert "images" in error_of(alseg("select", tmp_path / "run", "--budget", 1, "--unit", "miles", "--out", "b"), 2)
    assert "entropy_mean" in error_of(
        alseg("select", tmp_path / "run", "--budget", 1, "--measure", "beauty", "--out", tmp_path / "b"), 2
    )


def test_models_that_cannot_be_used(alseg, pool, tmp_path):
    onnx = pytest.importorskip("onnx", reason="building broken models needs onnx")
    from onnx import TensorProto, helper

    out = ("--out", tmp_path / "run")
    assert "/no/model.onnx does not exist" in error_of(alseg("score", pool, "--model", "/no/model.onnx", *out))
    (tmp_path / "text.onnx").write_text("hello, I am no model")
    assert "text.onnx" in error_of(alseg("score", pool, "--model", tmp_path / "text.onnx", *out))
    flat = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["y"], axes=[2, 3], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(
        helper.make_model(flat, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "flat.onnx"
    )
    assert "(N,C,h,w)" in error_of(alseg("score", pool, "--model", tmp_path / "flat.onnx", *out)).replace(", ", ",")
    model = build_model(tmp_path / "tiny.onnx")
    text = error_of(alseg("score", pool, "--model", model, *out, "--classes", "a,b,c"))
    assert "3" in text
    assert "4" in text
    assert not (tmp_path / "run").exists()


def test_pools_that_cannot_be_used(alseg, tiny_model, tmp_path):
    base = ("--model", tiny_model, "--out", tmp_path / "run")
    assert "/no/pool" in error_of(alseg("score", "/no/pool", *base))
    (tmp_path / "empty").mkdir()
    assert "empty" in error_of(alseg("score", tmp_path / "empty", *base))
    pool = write_pictures(tmp_path / "pool", 2)
    manifest = tmp_path / "twice.csv"
    manifest.write_text(f"image_id,uri\na,{pool}/img-0000.jpg\na,{pool}/img-0001.jpg\n")
    assert "duplicate" in error_of(alseg("score", manifest, *base)).lower()
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_model_is_refused(alseg, tiny_model, pool, tmp_path):
    alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run")
    other = build_model(tmp_path / "other.onnx", classes=("a", "b", "c"))
    text = error_of(alseg("score", pool, "--model", other, "--out", tmp_path / "run"))
    assert "--overwrite" in text
    text = error_of(alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run", "--measures", "margin"))
    assert "entropy" in text
    assert "margin" in text


def test_a_folder_that_is_no_run_is_never_overwritten(alseg, tiny_model, pool, tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("years of work")
    error_of(alseg("score", pool, "--model", tiny_model, "--out", precious, "--overwrite"))
    assert (precious / "chapter1.tex").read_text() == "years of work"


def test_disk_full_stops_with_one_line_and_keeps_what_is_finished(alseg, tiny_model, tmp_path, monkeypatch):
    pool = write_pictures(tmp_path / "pool", 600)
    real, calls = os.fsync, []

    def full(descriptor):
        if str(os.readlink(f"/proc/self/fd/{descriptor}")).find("scores") >= 0:
            calls.append(descriptor)
            if len(calls) > 2:  # the file and its directory of the first part, then no more room
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", full)
    text = error_of(alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run"))
    assert "No space left on device" in text
    monkeypatch.setattr(atomic.os, "fsync", real)
    assert (tmp_path / "run" / "scores" / "part-00000.parquet").exists()
    first = (tmp_path / "run" / "scores" / "part-00000.parquet").stat().st_mtime_ns
    assert alseg("score", pool, "--model", tiny_model, "--out", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "scores" / "part-00000.parquet").stat().st_mtime_ns == first
    assert pq.read_table(tmp_path / "run" / "scores").num_rows == 600


def test_every_command_has_help(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        text = capsys.readouterr().out
        assert "--json" in text
        assert "--config" in text


def test_debug_shows_the_traceback(tiny_model, tmp_path):
    words = ["score", str(tmp_path / "none"), "--model", str(tiny_model), "--out", str(tmp_path / "run")]
    plain, debug = (
        subprocess.run([sys.executable, "-P", "-m", "alseg_fast", *words, *more], capture_output=True, text=True)
        for more in ([], ["--debug"])
    )
    assert (plain.returncode, debug.returncode) == (1, 1)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, alseg_fast; "
        "print([m for m in ('torch','triton','onnxruntime','pyarrow','PIL','numba','numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scoring_needs_neither_torch_nor_onnx(tiny_model, pool, tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'triton', 'onnx', 'cv2', 'scipy', 'matplotlib'): sys.modules[name] = None\n"
        "from alseg_fast.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["score", str(pool), "--model", str(tiny_model), "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_that_print_leave_stderr_clean(tiny_model, tmp_path):
    """libtiff writes to descriptor 2 by itself."""
    from PIL import Image

    pool = tmp_path / "pool"
    pool.mkdir()
    Image.fromarray(draw_picture(1)).save(pool / "whole.tif", compression="tiff_lzw")
    data = bytearray((pool / "whole.tif").read_bytes())
    data[len(data) // 2 :] = np.random.default_rng(0).bytes(len(data) - len(data) // 2)
    (pool / "broken.tif").write_bytes(bytes(data[: len(data) - 40]))
    words = ["score", str(pool), "--model", str(tiny_model), "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-P", "-m", "alseg_fast", *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
