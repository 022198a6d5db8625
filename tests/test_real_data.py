"""Published models on real pictures: accuracy that only right preprocessing reaches; broken files by the hundred."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from alseg_fast.stages.store import open_run

pytestmark = pytest.mark.slow


def alseg(*words, **options):
    command = [sys.executable, "-P", "-m", "alseg_fast", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_road_iou_on_camvid(real_data, tmp_path):
    model = real_data / "models" / "road_segmentation_adas_0001_float32.onnx"
    options = ["--scale", "1", "--channel-order", "bgr", "--activation", "probabilities"]
    options += ["--mean", "0", "--std", "1", "--resize", "stretch", "--classes", "background,road,curb,mark"]
    done = alseg(
        "score", real_data / "camvid" / "test", "--model", model, "--maps", "--json", "--out", tmp_path, *options
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 117
    run = open_run(tmp_path)
    both = either = 0
    for row in run.scores(["image_id"]).to_pylist():
        truth = read(real_data / "camvid" / "testannot" / row["image_id"])
        labels = read(run.map_path("labels", row["image_id"]))
        assert labels.shape == truth.shape
        counted = truth != 11
        predicted, road = np.isin(labels, (1, 3)) & counted, (truth == 3) & counted
        both += (predicted & road).sum()
        either += (predicted | road).sum()
    assert both / either >= 0.95


def test_person_iou_on_street_fashion(real_data, tmp_path):
    scipy_io = pytest.importorskip("scipy.io", reason="the masks are MATLAB files, which scipy reads")
    model = real_data / "models" / "deeplab_v3_1_default_1.onnx"
    options = ["--scale", "1/127.5", "--mean", "1", "--std", "1", "--resize", "stretch", "--activation", "softmax"]
    done = alseg("score", real_data / "ccp" / "photos", "--model", model, "--maps", "--out", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path)
    masks = {path.stem: path for path in (real_data / "ccp" / "annotations").rglob("*.mat")}
    both = either = 0
    for row in run.scores(["image_id"]).to_pylist():
        person = scipy_io.loadmat(masks[row["image_id"].removesuffix(".jpg")])["groundtruth"] > 0
        predicted = read(run.map_path("labels", row["image_id"])) == 15
        both += (predicted & person).sum()
        either += (predicted | person).sum()
    assert both / either >= 0.70


def test_hundreds_of_odd_and_hostile_files(real_data, tiny_model, tmp_path):
    """Every file becomes a row or a failure, within 2 GiB of address space for the pictures."""
    words = ("score", real_data / "odd_images", "--model", tiny_model, "--out", tmp_path, "--json")

    def limit_memory():
        # The interpreter with ONNX Runtime maps about 1.5 GiB of address space before the first picture.
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    done = alseg(*words, preexec_fn=limit_memory)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    listed = sum(1 for p in (real_data / "odd_images").rglob("*") if p.is_file() and p.name != "manifest.tsv")
    assert counts["rows"] + counts["failures"] == listed
    assert counts["rows"] > 0.7 * listed
    info = json.loads((tmp_path / "run.json").read_text())
    assert info["timings"]["peak_rss_bytes"] < 2 << 30
    assert alseg(*words, "--strict").returncode == 1
