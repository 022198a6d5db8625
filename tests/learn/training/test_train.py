"""A whole training on drawn pictures: files, going on after a kill, other configs, bad data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import toy_recipe  # noqa: E402
from alseg_fast.errors import AlsegError, DataError, RunError, UsageError  # noqa: E402
from alseg_fast.learn.training import recipes  # noqa: E402
from alseg_fast.learn.training.config import TrainConfig  # noqa: E402
from alseg_fast.learn.training.train import run_training  # noqa: E402
from tiny_glas import draw_glas  # noqa: E402

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return draw_glas(tmp_path_factory.mktemp("glas") / "pictures")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(recipes.METHODS, "toy", "toy_recipe")


def config_of(pictures, **changes):
    values = {
        "method": "toy",
        "seed": 1,
        "device": "cpu",
        "data": {"dataset": "glas", "root": str(pictures), "size": 32, "labelled": "per-class:2"},
        "network": {"encoder": "light"},
        "stages": {
            "main": {
                "steps": 6,
                "batch_size": 4,
                "evaluate_every": 3,
                "checkpoint_every": 1,
                "log_every": 2,
                "threads": 1,
            }
        },
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        here = values
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return TrainConfig.model_validate(values)


@pytest.fixture(scope="session")
def whole(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    recipes.METHODS["toy"] = "toy_recipe"
    return out, run_training(config_of(pictures, options__export=True), out)


def weights_in(out):
    state = torch.load(max((out / "checkpoints" / "main").glob("step-*.pt")), weights_only=True)
    return b"".join(t.numpy().tobytes() for t in state["method"]["network"].values())


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_files_and_facts(whole):
    out, result = whole
    assert json.loads((out / "result.json").read_text()) == result
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "data.json", "result.json", "metrics.jsonl", "network.onnx", "cam.onnx"),
        *("checkpoints", "tensorboard", "done", "maps.png"),
    }
    assert result["figures"]["segmentation, true tags"]["miou"] == 0.5
    assert result["images"] == {"train": 8, "labelled": 4, "validation": 2, "test": 4}
    assert len(result["labelled"]) == 4
    assert result["files"] == {"network": "network.onnx", "cam": "cam.onnx", "maps": "maps.png"}
    assert result["stages"]["main"]["steps"] == 6
    assert result["versions"]["torch"] == torch.__version__
    assert result["config"]["data"]["size"] == [32, 32]
    assert result["failures"] == {}
    steps = [(e["step"], "figures" in e) for e in lines_of(out)]
    assert steps == [(2, False), (3, True), (4, False), (6, False), (6, True)]
    assert {"loss", "tags", "mask", "rate"} <= set(lines_of(out)[0])


def test_only_the_labelled_images_have_masks(pictures, tmp_path, monkeypatch):
    jobs = []
    run = toy_recipe.run
    monkeypatch.setattr(toy_recipe, "run", lambda job, options: jobs.append(job) or run(job, options))
    run_training(config_of(pictures, stages__main__steps=1), tmp_path / "out")
    data = jobs[0].data
    assert [s.image_id for s in data.train.samples if s.mask is not None] == list(data.labelled)
    assert {t for s in data.train.samples if s.mask is not None for t in s.tags} == {0, 1}
    assert all(s.mask is not None for s in data.truth.samples)
    held = {s.image_id for s in data.validation.samples}
    assert not held & {s.image_id for s in data.train.samples}


def test_exports_score_like_the_network(whole, pictures):
    pytest.importorskip("onnxruntime")
    from alseg_fast import Scorer

    out, _ = whole
    rows = Scorer(str(out / "network.onnx"), measures="entropy").score_pool(str(pictures), out.parent / "run")
    assert rows.scored == 28
    shutil.rmtree(out.parent / "run")


def test_the_records_are_tensorboard_files(whole):
    out, _ = whole
    (events,) = (out / "tensorboard" / "main").iterdir()
    content = events.read_bytes()
    for tag in (b"loss/loss", b"loss/mask", b"rate", b"figures/score"):
        assert tag in content


def test_killed_and_started_again(whole, pictures, tmp_path):
    out = tmp_path / "out"
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "import toy_recipe\n"
        "from alseg_fast.learn.training import recipes\n"
        "from alseg_fast.learn.training.config import TrainConfig\n"
        "from alseg_fast.learn.training.train import run_training\n"
        "recipes.METHODS['toy'] = 'toy_recipe'\n"
        "toy_recipe.KILL_AT = 4\n"
        "run_training(TrainConfig.model_validate_json(sys.argv[1]), sys.argv[2])\n"
    )
    given = config_of(pictures, options__export=True).model_dump_json()
    killed = subprocess.run([sys.executable, "-P", "-c", code, given, str(out)], timeout=120)
    assert killed.returncode == -9
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "main", "step": 6, "loss"')  # torn by the kill
    result = run_training(config_of(pictures, options__export=True), out)
    assert weights_in(out) == weights_in(whole[0])
    assert (out / "network.onnx").read_bytes() == (whole[0] / "network.onnx").read_bytes()
    assert result["figures"] == whole[1]["figures"]
    assert lines_of(out) == lines_of(whole[0])


def test_a_finished_training_returns_at_once(whole, pictures, monkeypatch):
    monkeypatch.setattr(toy_recipe, "run", None)
    assert run_training(config_of(pictures, options__export=True), whole[0]) == whole[1]


def test_another_config_is_refused_with_the_difference(whole, pictures):
    with pytest.raises(RunError, match=r"out was trained with seed = 1, this command asks for 2; use another --out or"):
        run_training(config_of(pictures, options__export=True, seed=2), whole[0])
    with pytest.raises(RunError, match=r"trained with data\.size = \[32, 32\], seed = 1, this command asks for data"):
        run_training(config_of(pictures, options__export=True, seed=2, data__size=64), whole[0])


def test_overwrite_starts_anew_and_leaves_other_files(pictures, tmp_path):
    out = tmp_path / "out"
    run_training(config_of(pictures, stages__main__steps=2), out)
    (out / "notes.txt").write_text("mine")
    result = run_training(config_of(pictures, stages__main__steps=1), out, overwrite=True)
    assert result["stages"]["main"]["steps"] == 1
    assert (out / "notes.txt").read_text() == "mine"
    assert [e["step"] for e in lines_of(out)] == [1, 1]


def test_a_directory_of_something_else_is_refused(pictures, tmp_path):
    (tmp_path / "thing").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"is not empty and not a training \(it has thing and no config\.json\)"):
            run_training(config_of(pictures), tmp_path, overwrite=overwrite)
    assert (tmp_path / "thing").exists()


def test_two_processes_do_not_share_a_directory(pictures, tmp_path):
    from alseg_fast.stages.own_directory import locked

    with locked(tmp_path / "out"), pytest.raises(RunError, match="another process is writing to"):
        run_training(config_of(pictures), tmp_path / "out")


def test_data_that_changed_between_two_starts_is_refused(tmp_path):
    pictures, out = draw_glas(tmp_path / "pictures"), tmp_path / "out"
    with pytest.raises(AlsegError, match=r"main: the loss is not finite: loss = nan, at step 4 with the images"):
        run_training(config_of(pictures, options__nan_at=4), out)
    text = (pictures / "Grade.csv").read_text()
    (pictures / "Grade.csv").write_text(text.replace("train_3, 1, benign", "train_3, 1, malignant"))
    with pytest.raises(RunError, match="was trained with other images, tags or masks than the data set has now"):
        run_training(config_of(pictures, options__nan_at=4), out)


def test_damaged_files_are_told(pictures, tmp_path):
    out = tmp_path / "out"
    run_training(config_of(pictures, stages__main__steps=1), out)
    (out / "result.json").unlink()
    (out / "done" / "drawn.json").write_text("[")
    with pytest.raises(RunError, match=r"drawn\.json is damaged; delete it"):
        run_training(config_of(pictures, stages__main__steps=1), out)
    (out / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"config\.json is damaged; delete"):
        run_training(config_of(pictures, stages__main__steps=1), out)


@pytest.mark.parametrize("check", [True, False])
def test_pictures_that_cannot_be_read_are_counted(tmp_path, check):
    pictures = draw_glas(tmp_path / "pictures")
    (pictures / "train_1.bmp").write_bytes(b"BM no picture")
    wanted = {"data__validation": None, "data__labelled": 0, "stages__main__batch_size": 10, "data__check": check}
    result = run_training(config_of(pictures, **wanted), tmp_path / "out")
    assert list(result["failures"]) == ["train_1"]
    assert result["images"]["train"] == (9 if check else 10)


def test_damaged_test_images_and_masks_are_known_before_the_training(tmp_path):
    pictures = draw_glas(tmp_path / "pictures")
    (pictures / "testA_1.bmp").write_bytes(b"BM no picture")
    (pictures / "testA_2_anno.bmp").write_bytes((pictures / "train_1_anno.bmp").read_bytes()[:200])
    result = run_training(config_of(pictures, stages__main__steps=1), tmp_path / "out")
    assert sorted(result["failures"]) == ["testA_1", "testA_2"]
    assert result["images"]["test"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"method": "toi"}, UsageError, "method must be one of .*; got 'toi'; did you mean toy"),
        (
            {"options": {"pixel_wait": 1.0}},
            UsageError,
            r"config: options\.pixel_wait is not a key; did you mean",
        ),
        (
            {"stages": {}},
            UsageError,
            r"toy needs stages\.main; the config has none; add stages\.main\.s",
        ),
        ({"device": "cuda:99"}, UsageError, "device must be one of this machine's .* CUDA devices; got cuda:99"),
        (
            {"data__train_split": "trian"},
            UsageError,
            "train_split: .* has no image of the split 'trian'",
        ),
        (
            {"data__validation": "split:val"},
            UsageError,
            "validation: .* of the split 'val'; it has test, train",
        ),
        ({"data__labelled": 99}, UsageError, "labelled must be at most the 8 images with a mask; got 99"),
        ({"data__labelled": "file:/no/such"}, UsageError, "labelled: cannot read /no/such: No such file"),
        ({"data__dataset": "glass"}, AlsegError, "glass"),
        ({"data__root": "/no/such/folder"}, AlsegError, "/no/such/folder"),
        ({"data__options": {"brken": 1}}, UsageError, "brken"),
        ({"network__options": {"zzz": 1}}, UsageError, "zzz"),
    ],
)
def test_mistakes(pictures, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_training(config_of(pictures, **changes), tmp_path / "out")


def test_labelled_from_a_file(pictures, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("train_2\n\n")
    config = config_of(pictures, data__labelled=f"file:{ids}", data__validation=None, stages__main__steps=1)
    assert run_training(config, tmp_path / "out")["labelled"] == ["train_2"]
    ids.write_text("train_2\ntestA_1\n")
    with pytest.raises(UsageError, match=r"'testA_1' of .* is no training image with a mask \(1 such ids\)"):
        run_training(config, tmp_path / "other")


def test_one_seed_a_name():
    from types import SimpleNamespace

    from alseg_fast.learn.training.job import Job

    job = SimpleNamespace(config=SimpleNamespace(seed=1))
    seeds = [Job.seed(job, *names) for names in (("a",), ("b",), ("a", "b"), ("ab",), ("a", 1))]
    assert len(set(seeds)) == 5
    assert all(0 <= s < 2**56 for s in seeds)
    assert Job.seed(job, "a") == seeds[0]


def test_all_pictures_unreadable(tmp_path):
    pictures = draw_glas(tmp_path / "pictures")
    for path in pictures.glob("train_*[0-9].bmp"):
        path.write_bytes(b"BM no picture")
    config = config_of(pictures, data__validation=None, data__labelled=0)
    with pytest.raises(DataError, match="no image of the split 'train' of glas can be read, such as train_1"):
        run_training(config, tmp_path / "out")
    for path in pictures.glob("*[0-9].bmp"):
        path.write_bytes(b"BM no picture")
    with pytest.raises(DataError, match="none of the 14 images of glas can be read; the first, train_1: "):
        run_training(config, tmp_path / "out")
