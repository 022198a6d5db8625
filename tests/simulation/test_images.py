import json
import logging
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from alseg_fast.cli.main import main
from alseg_fast.errors import RunError, UsageError
from alseg_fast.simulation.results.store import read_rows
from alseg_fast.simulation.run import run_simulation
from tiny_glas import draw_glas
from tiny_simulation import STAGE, config, timeless

STRATEGIES = [
    {"name": "all_foreground"},
    {"name": "wsl"},
    {"name": "random"},
    {"name": "foreground_random"},
    {"name": "entropy"},
    {"name": "mc_dropout_published", "options": {"passes": 3}},
    {"name": "label_prop", "setting": "k=2", "options": {"k": 2}},
    {"name": "full_sup"},
]
SINGLE = ("all_foreground", "wsl", "full_sup")  # points, without rounds


@pytest.fixture(autouse=True)
def own_logging():
    """The command line sets up logging for good."""
    log = logging.getLogger("alseg")
    before = list(log.handlers), log.propagate, log.level
    yield
    log.handlers[:], log.propagate = before[:2]
    log.setLevel(before[2])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_glas(tmp_path_factory.mktemp("data") / "glas", 14, 4)


@pytest.fixture(scope="module")
def made(pictures, tmp_path_factory):
    """(config, directory, rows, what was told)."""
    out = tmp_path_factory.mktemp("sim") / "out"
    told = []
    asked = config("images", pictures, strategies=STRATEGIES, published="belharbi_glas")
    rows = run_simulation(asked, out, tell=told.append)
    return asked, out, rows, told


def of(rows, name):
    return [row for row in rows if row.strategy == name]


def test_every_strategy_has_its_rounds(made):
    _, _, rows, _ = made
    for strategy in STRATEGIES:
        found = of(rows, strategy["name"])
        single = strategy["name"] in SINGLE
        assert [row.round for row in found] == ([0] if single else [0, 1, 2])
        if not single:
            assert [row.images for row in found] == [2, 4, 6]
    assert of(rows, "wsl")[0].images == 0
    assert of(rows, "wsl")[0].pixels == 0
    assert of(rows, "full_sup")[0].labelled_share == 1.0
    assert of(rows, "full_sup")[0].pixel_share == 1.0


def test_the_first_round_is_shared_and_trained_once(made):
    _, _, rows, told = made
    assert sum("start: first:" in text for text in told) == 1
    assert sum("start: first-dropout-0.2-3:" in text for text in told) == 1
    plain = ["random", "foreground_random", "entropy"]
    starts = [timeless(of(rows, name))[0] for name in plain]
    assert all({**row, "strategy": ""} == {**starts[0], "strategy": ""} for row in starts)


def test_purchases_are_balanced_and_hold_the_truth(made):
    asked, out, _rows, _ = made
    labels = dict(line.split(",")[0::2] for line in (out / "start/pool.csv").read_text().splitlines()[1:])
    assert len(labels) == 10
    assert set(labels.values()) == {"benign", "malignant"}
    for strategy in STRATEGIES[2:-1]:
        folder = out / "seed-0" / f"{strategy['name']}{'-k=2' if 'setting' in strategy else ''}"
        bought = list(json.loads((out / "seed-0/start/steps/oracle.json").read_text())["value"]["image_ids"])
        for number in (0, 1):
            ids = json.loads((folder / f"round-{number:02d}/steps/oracle.json").read_text())["value"]["image_ids"]
            assert sorted(labels[i] for i in ids) == ["benign", "malignant"]
            for name in ids:
                written = np.asarray(Image.open(folder / f"round-{number:02d}/labels/{name}.png"))
                native = np.asarray(Image.open(Path(asked.data.root) / f"{Path(name).stem}_anno.bmp")) > 0
                np.testing.assert_array_equal(written, native.astype(np.uint8))
            bought += ids
        assert len(set(bought)) == len(bought) == 6


def test_calling_everything_foreground_is_a_baseline(made, pictures):
    _, _, rows, _ = made
    masks = [np.asarray(Image.open(path)) > 0 for path in sorted(Path(pictures).glob("test*_anno.bmp"))]
    shares = [mask.mean() for mask in masks]
    (row,) = of(rows, "all_foreground")
    assert row.score == pytest.approx(np.mean([2 * share / (1 + share) for share in shares]))
    assert row.figures["miou"] == pytest.approx(sum(mask.sum() for mask in masks) / sum(m.size for m in masks) / 2)
    assert (row.images, row.pixels, row.clicks) == (0, 0, 0)


def test_costs_are_sums_over_the_bought_masks(made):
    _, out, rows, _ = made
    costs = json.loads((out / "start/steps/truth.json").read_text())["value"]["costs"]
    first = json.loads((out / "seed-0/start/steps/oracle.json").read_text())["value"]["image_ids"]
    row = of(rows, "random")[0]
    assert row.pixels == sum(costs[i]["pixels"] for i in first) == 2 * 40 * 48
    assert row.seconds == sum(costs[i]["seconds"] for i in first) == 2 * 78.0
    assert row.clicks == pytest.approx(sum(costs[i]["clicks"] for i in first))
    assert of(rows, "random")[2].seconds == 6 * 78.0


def test_pseudo_masks_are_used_and_judged(made):
    _asked, _, rows, _ = made
    random, spread = of(rows, "random"), of(rows, "label_prop")
    assert all(row.pseudo_score is None and row.pseudo_images == 0 for row in random)
    assert all(row.pseudo_score is not None and 0 <= row.pseudo_score <= 1 for row in spread)
    assert all(0 <= row.figures["pseudo_foreground"] <= 1 for row in spread)
    assert all("pseudo_foreground" not in row.figures for row in random)
    # With the same seed both draw the same images: only the pseudo-masks differ.
    assert [row.pixels for row in random] == [row.pixels for row in spread]


def test_results_are_on_disk(made):
    _, out, rows, _ = made
    assert timeless(read_rows(out / "results.parquet")) == sorted(
        timeless(rows), key=lambda r: timeless(read_rows(out / "results.parquet")).index(r)
    )
    assert "<html" in (out / "index.html").read_text()
    for row in rows:
        if row.strategy not in SINGLE:
            assert {"train", "evaluate"} <= set(row.step_seconds)


def test_a_finished_simulation_does_nothing_again(made):
    asked, out, rows, _ = made
    told = []
    again = run_simulation(asked, out, tell=told.append)
    assert again == rows
    assert not [text for text in told if "score" not in text]


def test_more_rounds_and_strategies_go_on(made, pictures):
    _, out, rows, _ = made
    told = []
    entropy = {"name": "entropy", "setting": "top", "options": {"reduce": "top"}}
    wider = config("images", pictures, strategies=[STRATEGIES[2], entropy], rounds=4)
    again = run_simulation(wider, out, tell=told.append)
    assert timeless(of(again, "random"))[:3] == timeless(of(rows, "random"))
    assert len(of(again, "random")) == 4
    assert len(of(again, "entropy")) == 4
    assert not any("start: " in text for text in told)


def test_another_config_is_refused(made, pictures):
    _, out, _, _ = made
    with pytest.raises(RunError, match="is a simulation with start = "):
        run_simulation(config("images", pictures, start="tuned"), out)
    other = [{"name": "label_prop", "setting": "k=2", "options": {"k": 3}}]
    with pytest.raises(RunError, match="is a strategy with options = "):
        run_simulation(config("images", pictures, strategies=other), out)


def commands(folder):
    return [shlex.split(line) for line in (folder / "commands.txt").read_text().splitlines()]


def replay(words, tmp_path, number):
    """Run a noted command with another --out, from the given RUN where its own was made again."""
    at = words.index("--out") + 1
    out = tmp_path / f"{number}-{Path(words[at]).name}"
    changed = [*words[:at], str(out), *words[at + 1 :]]
    return changed, out


@pytest.mark.parametrize("name", ["entropy", "mc_dropout_published", "foreground_random"])
def test_a_reader_can_replay_a_round(made, tmp_path, capsys, name):
    _, out, _, _ = made
    folder = out / "seed-0" / name / "round-01"
    made_again = {}
    checked = 0
    for number, words in enumerate(commands(folder)):
        changed, target = replay(words, tmp_path, number)
        changed = [made_again.get(word, word) for word in changed]
        assert main(changed[1:]) == 0
        if words[1] == "score":
            made_again[words[words.index("--out") + 1]] = str(target)
        elif words[1] == "select":
            mine, theirs = pq.read_table(target), pq.read_table(words[words.index("--out") + 1])
            for column in ("image_id", "score", "rank"):
                assert mine.column(column).to_pylist() == theirs.column(column).to_pylist()
            checked += 1
    capsys.readouterr()
    assert made_again
    assert checked == 2


def test_a_reader_can_replay_the_propagation(made, tmp_path, capsys):
    _, out, _, _ = made
    folder = out / "seed-0/label_prop-k=2/round-01"
    found = [words for words in commands(folder) if words[1] == "propagate"]
    assert len(found) == 2
    for number, words in enumerate(found):
        changed, target = replay(words, tmp_path, number)
        assert main(changed[1:]) == 0
        theirs = Path(words[words.index("--out") + 1])
        wanted = pq.read_table(theirs / "pairs.parquet").drop_columns(["mask_uri"])
        assert pq.read_table(target / "pairs.parquet").drop_columns(["mask_uri"]).equals(wanted)
        assert len(wanted)
        for path in (theirs / "masks").rglob("*.png"):
            assert (target / "masks" / path.name).read_bytes() == path.read_bytes()
    capsys.readouterr()


def test_too_few_images_of_a_class(pictures, tmp_path):
    with pytest.raises(UsageError, match=r"images.first must be at most 5, the images of benign; got 6"):
        run_simulation(config("images", pictures, images={"first": 6, "step": 1}), tmp_path / "out")


def test_the_oracle_runs_dry(pictures, tmp_path):
    asked = config("images", pictures, images={"first": 4, "step": 3}, rounds=5, strategies=[{"name": "label_prop"}])
    rows = run_simulation(asked, tmp_path / "out")
    assert [row.images for row in rows] == [8, 10]
    assert rows[-1].pseudo_score is None
    assert rows[-1].pseudo_images == 0


def test_tuned_start_and_one_cycle(pictures, tmp_path):
    strategies = [{"name": "label_prop", "options": {"k": 3, "cycles": 1}}]
    stages = {"classifier": STAGE, "first": {**STAGE, "steps": 6}, "segmentation": STAGE}
    changes = {"start": "tuned", "stages": stages, "rounds": 2, "strategies": strategies, "threshold": 0.4}
    rows = run_simulation(config("images", pictures, **changes), tmp_path / "out")
    seed = tmp_path / "out/seed-0"
    steps = [
        json.loads((folder / "steps" / name).read_text())["value"]["steps"]
        for folder, name in ((seed / "start", "first.json"), (seed / "label_prop/round-01", "cycle-0.json"))
    ]
    assert steps == [6, 4]
    assert [row.threshold for row in rows] == [0.4, 0.4]
    assert rows[0].pseudo_images == 0
    assert rows[1].pseudo_images > 0
    assert not (tmp_path / "out/seed-0/label_prop/round-01/cycle-1.onnx").exists()
