"""alseg select on regions and pixels: results, JSON, masks, and what it says when it cannot."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image as Pillow

from alseg_fast.cli import main
from alseg_fast.ops.rle import decode_rle
from alseg_fast.reporting import commands
from alseg_fast.stages.select import batch_facts, read_batch
from alseg_fast.stages.store import open_run
from region_runs import Image, grid, make_region_run, write_png

SIZE = (20, 30)


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    images = {
        f"i{k}.jpg": Image(grid(*SIZE, 5), seed=k, heat=rng.integers(0, 255, SIZE), labels=rng.integers(0, 3, SIZE))
        for k in range(4)
    }
    return make_region_run(tmp_path / "run", images, maps=True)


@pytest.fixture
def alseg(capsys):
    def command(*words):
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.mark.parametrize(
    "strategy",
    [
        "entropy-pixels",
        "entropy-edge",
        "superpixel",
        "superpixel-crf",
        "class-superpixel-crf",
        "random-pixels",
        "random-superpixels",
    ],
)
@pytest.mark.parametrize("scope", [(), ("--per-image",)])
def test_every_strategy_buys_a_tenth_of_the_pixels(alseg, run, tmp_path, strategy, scope):
    out, masks = tmp_path / "b.parquet", tmp_path / "masks"
    words = ("--unit", "pixels", "--budget", "10%", "--strategy", strategy, *scope, "--out", out, "--masks", masks)
    status, text, _ = alseg("select", run, *words, "--json")
    assert status == 0
    told = json.loads(text)
    # Pixels are bought exactly; regions have 25 of them.
    exact = strategy.endswith(("-pixels", "-edge"))
    assert told["bought"] == (240 if exact else 200 if scope else 225)
    assert told["pool"] == 2400
    assert told["share"] == told["bought"] / 2400
    assert (told["unit"], told["budget"], told["strategy"]) == ("pixels", "10%", strategy)
    assert told["budget_scope"] == ("image" if scope else "pool")
    pictures = [np.asarray(Pillow.open(path)) for path in masks.rglob("*.png")]
    assert sum(int((picture == 255).sum()) for picture in pictures) == told["bought"]
    assert {picture.shape for picture in pictures} == {SIZE}
    assert batch_facts(read_batch(out))["bought"] == told["bought"]
    status, text, _ = alseg("select", run, *words)
    assert f"bought {told['bought']} of 2,400 pixels" in text


def test_ignored_and_excluded_pixels_are_not_bought(alseg, run, tmp_path):
    ignored = np.zeros(SIZE)
    ignored[:7] = 1
    write_png(tmp_path / "ignore/i1.png", ignored)
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    common = ("--unit", "pixels", "--ignore", tmp_path / "ignore")
    alseg("select", run, *common, "--budget", 300, "--strategy", "entropy-edge", "--out", first)
    alseg("select", run, *common, "--budget", "100%", "--strategy", "superpixel", "--exclude", first, "--out", second)
    total = {f"i{k}.jpg": np.zeros(SIZE, int) for k in range(4)}
    for row in read_batch(first).to_pylist() + read_batch(second).to_pylist():
        total[row["image_id"]] += decode_rle(row["rle"], SIZE)
    assert np.array_equal(total.pop("i1.jpg"), 1 - ignored)
    assert all((counts == 1).all() for counts in total.values())


def test_settings_reach_the_strategy(alseg, run, tmp_path):
    out = tmp_path / "b.parquet"
    words = ("--unit", "pixels", "--budget", 50, "--out", out)
    edges = ("--edge-mode", "add", "--edge-weight", "2.5", "--edge-dilation", 0)
    alseg("select", run, *words, "--strategy", "entropy-edge", *edges)
    facts = batch_facts(read_batch(out))
    assert (facts["edge_mode"], facts["edge_weight"], facts["edge_dilation"]) == ("add", 2.5, 0)
    alseg("select", run, *words, "--strategy", "class-superpixel-crf", "--class-rule", "exp", "--crf-use", "labels")
    facts = batch_facts(read_batch(out))
    assert (facts["class_rule"], facts["crf_use"], facts["measure"]) == ("exp", "labels", "entropy_mean")
    config = tmp_path / "select.yaml"
    config.write_text(f"unit: clicks\nbudget: 12.5\nstrategy: superpixel\nper_image: true\nout: {out}\n")
    status, text, _ = alseg("select", run, "--config", config)
    assert status == 0
    assert "clicks" in text
    assert batch_facts(read_batch(out))["budget"] == 12.5


@pytest.mark.parametrize("strategy", ["random-pixels", "entropy-edge", "class-superpixel-crf", "random", "entropy"])
def test_a_report_says_how_to_select_again(alseg, run, tmp_path, strategy):
    out, again = tmp_path / "b.parquet", tmp_path / "again.parquet"
    alseg("select", run, "--unit", "pixels", "--budget", "12.5%", "--per-image", "--strategy", strategy, "--out", out)
    batch = read_batch(out)
    info = {**open_run(run).info, "pool": {"source": "POOL"}, "model": {"path": "M.onnx"}}
    (line,) = [line for line in commands(info, batch) if line.startswith("alseg select")]
    words = shlex.split(line.replace("BATCH.parquet", str(again)).replace(" RUN ", f" {run} "))
    assert alseg(*words[1:])[0] == 0
    assert read_batch(again).equals(batch)


def test_wrong_requests_are_one_line(alseg, run, tmp_path):
    for words, status, part in (
        (("--budget", "ten"), 2, "must be a whole number, a number of clicks or seconds, or 10%; got 'ten'"),
        (("--budget", "0"), 2, "budget must be a whole number >= 1; got 0."),
        (("--budget", "0%", "--unit", "pixels"), 2, "budget must be a share above 0 %"),
        (("--budget", "5", "--per-image"), 2, "budget_scope image must have a unit of"),
        (("--budget", "5", "--strategy", "superpixel"), 2, "unit must be regions, pixels, clicks or seconds"),
        (("--budget", "5", "--unit", "pixels", "--class-rule", "fair"), 2, "class_rule must be one of equal, inverse"),
        (("--budget", "5", "--unit", "pixels", "--ignore", tmp_path / "no"), 1, "does not exist"),
    ):
        code, out, err = alseg("select", run, "--out", tmp_path / "b.parquet", *words)
        assert (code, out) == (status, "")
        assert err.count("\n") == 1
        assert part in err
        assert not (tmp_path / "b.parquet").exists()


def test_too_small_a_budget_writes_an_empty_batch_and_says_why(alseg, run, tmp_path):
    out = tmp_path / "b.parquet"
    words = ("--unit", "pixels", "--budget", 24, "--strategy", "superpixel", "--out", out)
    status, text, err = alseg("select", run, *words)
    assert status == 0
    assert read_batch(out).num_rows == 0
    assert "0 picks" in text
    assert "the smallest costs 25 pixels" in err
