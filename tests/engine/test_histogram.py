"""Scoring pools with a colour histogram, end to end."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import alseg_fast as alseg
from alseg_fast.cli.main import main
from alseg_fast.errors import RangeError, RunError, UsageError
from alseg_fast.stages.decode import decode_image
from alseg_fast.stages.store import open_run
from support import draw_picture, write_pictures


@pytest.fixture
def pool(tmp_path):
    return write_pictures(tmp_path / "pool", 7)


def jpeg_of(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def rows_of(run):
    return open_run(run).scores().to_pylist()


@pytest.mark.parametrize("spec", ["rgb:32", "hsv:16", "lab:8:joint", "belharbi"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_column_is_the_histogram_of_the_picture(tiny_model, pool, tmp_path, spec, dtype):
    scorer = alseg.Scorer(tiny_model, histogram=spec, histogram_dtype=dtype, workers=2)
    scorer.score_pool(pool, tmp_path / "run", shard_size=3)
    run = open_run(tmp_path / "run")
    parsed = alseg.HistogramSpec.parse(spec)
    assert run.histogram == spec
    kind = run.score_schema().field("histogram").type
    assert kind.list_size == parsed.dim
    assert kind.value_type == {"float16": pa.float16(), "float32": pa.float32()}[dtype]
    assert spec in run.info["units"]["histogram"]
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 7
    for row in rows:
        image = decode_image((pool / row["image_id"]).read_bytes()).image
        expected = alseg.color_histogram(image, parsed.bins, parsed.space, parsed.joint, dtype=dtype)[0]
        np.testing.assert_array_equal(np.array(row["histogram"], dtype), expected)


def test_other_columns_do_not_change(tiny_model, tmp_path):
    large = jpeg_of(draw_picture(3, (600, 800)))  # the model has it decoded at a fraction of its size
    (plain,) = alseg.Scorer(tiny_model).score_images([large])
    (result,) = alseg.Scorer(tiny_model, histogram="hsv:16", histogram_dtype="float32").score_images([large])
    assert plain.histogram is None
    assert result.scores.keys() == plain.scores.keys()
    for name, value in plain.scores.items():
        np.testing.assert_array_equal(result.scores[name], value)
    image = decode_image(large).image
    assert image.shape == (600, 800, 3)
    np.testing.assert_array_equal(result.histogram, alseg.color_histogram(image, 16, "hsv")[0])


def test_arrays_and_turned_pictures(tiny_model):
    image = draw_picture(1)
    buffer = io.BytesIO()
    turned = Image.fromarray(image)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(buffer, "PNG", exif=exif)
    scorer = alseg.Scorer(tiny_model, histogram="rgb:32")
    given, upright, flipped = scorer.score_images([image, buffer.getvalue(), image[::-1, ::-1]])
    assert given.histogram.dtype == np.float16
    np.testing.assert_array_equal(given.histogram, upright.histogram)
    np.testing.assert_array_equal(given.histogram, flipped.histogram)


def test_resume_gives_the_same_rows(tiny_model, pool, tmp_path):
    def scorer():
        return alseg.Scorer(tiny_model, histogram="rgb:32", workers=2)

    scorer().score_pool(pool, tmp_path / "whole", shard_size=3)
    scorer().score_pool(pool, tmp_path / "run", shard_size=3, shard=(1, 2))
    scorer().score_pool(pool, tmp_path / "run", shard_size=3)
    parts = sorted((tmp_path / "whole" / "scores").iterdir())
    assert len(parts) == 3
    for part in parts:
        assert (tmp_path / "run" / "scores" / part.name).read_bytes() == part.read_bytes()


def test_another_histogram_on_a_run_is_an_error_that_names_it(tiny_model, pool, tmp_path):
    out = tmp_path / "run"
    alseg.Scorer(tiny_model, histogram="rgb:32").score_pool(pool, out)
    with pytest.raises(RunError, match=r"histogram=rgb:32.*asks for.*hsv:32"):
        alseg.Scorer(tiny_model, histogram="hsv:32").score_pool(pool, out)
    with pytest.raises(RunError, match=r"histogram_dtype=float16.*float32"):
        alseg.Scorer(tiny_model, histogram="rgb:32", histogram_dtype="float32").score_pool(pool, out)
    with pytest.raises(RunError, match=r"histogram=rgb:32.*\(not set\)"):
        alseg.Scorer(tiny_model).score_pool(pool, out)
    alseg.Scorer(tiny_model, histogram="rgb").score_pool(pool, out)  # 32 bins, said in another way


def test_a_run_without_stays_as_it_was(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model).score_pool(pool, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.histogram is None
    assert "histogram" not in run.score_schema().names
    assert not any(key.startswith("histogram") for key in run.info["config"])


def test_a_picture_that_has_no_histogram_fails_and_the_others_do_not(tiny_model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 2)
    Image.new("RGB", (700, 1)).save(pool / "long.png")
    alseg.Scorer(tiny_model, histogram="belharbi").score_pool(pool, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.counts["rows"] == 2
    (failure,) = run.failures().to_pylist()
    assert (failure["image_id"], failure["stage"]) == ("long.png", "score")
    assert "512 times as wide as high" in failure["error"]


def test_bad_specifications(tiny_model):
    with pytest.raises(UsageError, match=r"8 to 256 bins.*rgb:7"):
        alseg.Scorer(tiny_model, histogram="rgb:7")
    with pytest.raises(RangeError, match="float64"):
        alseg.Scorer(tiny_model, histogram="rgb:8", histogram_dtype="float64")


def test_command_line(tiny_model, pool, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["score", str(pool), "--model", str(tiny_model), "--out", str(out), "--histogram", "lab:8:joint"]
    assert main([*command, "--histogram-dtype", "float32"]) == 0
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "lab:8:joint" in shown
    assert "float32" in shown
    assert len(rows_of(out)[0]["histogram"]) == 512
    assert main([*command[:-1], "lab:999"]) == 2
    assert "2 to 32" not in (error := capsys.readouterr().err)
    assert "lab:999" in error
