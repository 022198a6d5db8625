import json
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from alseg_fast.cli.main import main
from alseg_fast.errors import UsageError
from alseg_fast.simulation.run import run_simulation
from drawn_datasets import blocks, picture, save
from tiny_simulation import config, timeless

SIZE = (40, 60)
VOID = 11
REGIONS = {"options": {"regions": "slic:20"}}
STRATEGIES = [
    {"name": "full"},
    {"name": "random-pixels"},
    {"name": "entropy-pixels"},
    {"name": "entropy-edge", "options": {"edge_weight": 2.0}},
    {"name": "superpixel", **REGIONS},
    {"name": "superpixel-crf", **REGIONS},
    {"name": "class-superpixel-crf", **REGIONS},
]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "camvid"
    for split, n in (("train", 6), ("val", 1), ("test", 2)):
        for i in range(n):
            save(root / split / f"0001TP_{i:06d}.png", picture(i, SIZE))
            save(root / f"{split}annot" / f"0001TP_{i:06d}.png", blocks(0, 3, VOID, 10, size=SIZE))
    return root


@pytest.fixture(scope="module")
def made(frames, tmp_path_factory):
    out = tmp_path_factory.mktemp("sim") / "out"
    told = []
    rows = run_simulation(config("pixels", frames, strategies=STRATEGIES), out, tell=told.append)
    return out, rows, told


def of(rows, name):
    return [row for row in rows if row.strategy == name]


def truth(out, image_id):
    return np.asarray(Image.open(out / "start/truth" / f"{image_id}.png"))


def test_rounds_add_images_and_a_tenth_of_their_pixels(made):
    _, rows, told = made
    known = SIZE[0] * SIZE[1] * 3 // 4  # of an image, without the void
    for strategy in STRATEGIES:
        found = of(rows, strategy["name"])
        assert [row.images for row in found] == [2, 4, 6]
        assert found[0].pixels == 2 * known
        added = np.diff([row.pixels for row in found])
        if strategy["name"] == "full":
            assert added.tolist() == [2 * known, 2 * known]
            assert found[2].pixel_share == 1.0
            assert found[2].labelled_share == 1.0
        elif "superpixel" in strategy["name"]:
            assert ((added > 0) & (added <= 2 * known // 10)).all()
            assert found[2].labelled_share is None
        else:
            assert added.tolist() == [2 * (known // 10)] * 2
    assert sum("start: first:" in text for text in told) == 1


def test_the_start_is_shared(made):
    _, rows, _ = made
    starts = [{**row, "strategy": ""} for row in timeless(rows) if row["round"] == 0]
    assert len(starts) == len(STRATEGIES)
    assert all(row == starts[0] for row in starts)


def test_all_strategies_see_the_same_images(made):
    out, _, _ = made
    pools = {(out / f"seed-0/{s['name']}/round-00/pool.csv").read_text() for s in STRATEGIES[1:]}
    assert len(pools) == 1


@pytest.mark.parametrize("name", [s["name"] for s in STRATEGIES[1:]])
def test_labels_are_the_truth_where_bought_and_never_void(made, name):
    out, _, _ = made
    folder = out / "seed-0" / name / "round-01"
    paths = list((folder / "labels").rglob("*.png"))
    assert len(paths) == 2
    for path in paths:
        written = np.asarray(Image.open(path))
        right = truth(out, path.relative_to(folder / "labels").with_suffix("").as_posix())
        bought = written != 255
        assert bought.any()
        np.testing.assert_array_equal(written[bought], right[bought])


def test_costs_come_from_the_columns_of_the_run(made):
    out, rows, _ = made
    folder = out / "seed-0/superpixel/round-00"
    batch = pq.read_table(folder / "batch.parquet").to_pylist()
    regions = pq.read_table(folder / "RUN/regions").to_pylist()
    clicks = {(r["image_id"], r["region_id"]): r["cost_clicks"] for r in regions}
    wanted = sum(clicks[b["image_id"], b["region_id"]] for b in batch)
    found = of(rows, "superpixel")
    assert found[1].clicks - found[0].clicks == pytest.approx(wanted, rel=1e-6)
    single = of(rows, "random-pixels")
    assert single[1].clicks - single[0].clicks == single[1].pixels - single[0].pixels
    assert single[1].seconds - single[0].seconds == pytest.approx(2.4 * (single[1].pixels - single[0].pixels))


@pytest.mark.parametrize("name", ["entropy-edge", "class-superpixel-crf"])
def test_a_reader_can_replay_a_round(made, tmp_path, capsys, name):
    out, _, _ = made
    lines = (out / "seed-0" / name / "round-01/commands.txt").read_text().splitlines()
    (score, select) = (shlex.split(line) for line in lines)
    run, batch = tmp_path / "RUN", tmp_path / "batch.parquet"
    theirs = select[select.index("--out") + 1]
    score[score.index("--out") + 1] = str(run)
    assert main(score[1:]) == 0
    select[2], select[select.index("--out") + 1] = str(run), str(batch)
    assert main(select[1:]) == 0
    capsys.readouterr()
    assert pq.read_table(batch).drop_columns(["uri"]).equals(pq.read_table(theirs).drop_columns(["uri"]))


def test_steps_are_noted_with_their_time(made):
    out, rows, _ = made
    step = json.loads((out / "seed-0/superpixel/round-01/steps/score.json").read_text())
    assert step["seconds"] > 0
    assert set(of(rows, "superpixel")[1].step_seconds) == {"train", "evaluate", "score", "select", "oracle"}


def test_listed_order_pool_scope_and_void(frames, tmp_path):
    asked = {"first": 2, "step": 2, "budget": 300, "scope": "pool", "order": "listed", "skip_void": False}
    strategies = [{"name": "random-pixels"}]
    rows = run_simulation(config("pixels", frames, pixels=asked, rounds=2, strategies=strategies), tmp_path / "out")
    pool = (tmp_path / "out/seed-0/random-pixels/round-00/pool.csv").read_text().splitlines()[1:]
    assert [Path(line.split(",")[1]).name for line in pool] == ["0001TP_000002.png", "0001TP_000003.png"]
    # Pixels that have no class in the truth were paid for and give no label.
    assert rows[1].clicks - rows[0].clicks == 300 > rows[1].pixels - rows[0].pixels > 0


def test_more_images_than_there_are(frames, tmp_path):
    with pytest.raises(UsageError, match=r"must be at most the 6 training images; got 8"):
        run_simulation(config("pixels", frames, rounds=4), tmp_path / "out")


def test_a_start_from_the_weights_of_another_simulation(made, frames, tmp_path):
    out, rows, _ = made
    asked = {"first": 0, "step": 2, "budget": "10%"}
    weights = str(out / "seed-0/full/round-02/network.pt")
    few = {"pixels": asked, "rounds": 2, "initial": weights, "strategies": [{"name": "superpixel", **REGIONS}]}
    found = run_simulation(config("pixels", frames, **few), tmp_path / "out")
    assert [row.images for row in found] == [0, 2]
    assert found[0].pixels == 0
    assert found[0].score == of(rows, "full")[2].score
