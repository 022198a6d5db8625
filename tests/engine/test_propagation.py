"""`propagate` over pictures: pairs, masks, what is kept between calls, and what survives a kill."""

import json
import logging
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import alseg_fast as alseg
from alseg_fast.errors import ModelError, PoolError, RangeError, RunError, UsageError
from alseg_fast.stages import propagate_class, propagate_gate
from alseg_fast.stages.own_directory import locked
from alseg_fast.stages.pool import open_pool
from alseg_fast.stages.pseudo_masks import VOC_PALETTE
from support import build_model, draw_picture, write_pictures

FILES = ("pairs.parquet", "manifest.parquet", "failures.parquet", "summary.json")
CLASSES = ("bird", "fish")


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 24)


def manifest_of(folder, path, label=lambda i: CLASSES[i % 2]):
    """A manifest of the folder's pictures; returns (its path, the ids)."""
    ids = sorted(p.name for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
    table = pa.table(
        {"image_id": ids, "uri": [str(folder / i) for i in ids], "label": [label(i) for i in range(len(ids))]}
    )
    pq.write_table(table, path)
    return path, ids


def read(path):
    """(mode, pixels) of a picture."""
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def contents(out):
    """The results and every mask, byte for byte."""
    found = {name: (out / name).read_bytes() for name in FILES}
    return found | {str(p.relative_to(out)): p.read_bytes() for p in sorted((out / "masks").rglob("*.png"))}


def propagate(pool, labelled, out, k=3, **options):
    return alseg.propagate(pool, labelled, k=k, out=out, histogram="rgb:8", **options)


def test_pairs_are_the_sorted_scan(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    labelled = {ids[0]: "a/0.png", ids[1]: None, ids[2]: "2.png"}
    done = propagate(pool, labelled, tmp_path / "out", weights="equal")
    assert (tmp_path / "out" / "_SUCCESS").exists()
    hist = {i: alseg.color_histogram(read(pictures / i)[1], 8)[0] for i in ids}
    expected = {}
    for n, u in enumerate(ids):
        if u in labelled:
            continue
        others = [v for v in ids[n % 2 :: 2] if v != u]
        d = {v: float(alseg.js_divergence(hist[u], hist[v], channels=3)) for v in others}
        order = sorted(others, key=lambda v: (d[v], v not in labelled, v))
        partner = next((v for v in order[:3] if v in labelled), None)
        if partner is not None:
            expected[u] = (partner, labelled[partner], order.index(partner), pytest.approx(d[partner]))
    rows = done.pairs().to_pylist()
    assert {r["image_id"]: (r["partner_id"], r["partner_mask_uri"], r["rank"], r["distance"]) for r in rows} == expected
    assert all(
        r["certified"] and r["mask_uri"] is None and r["label"] == CLASSES[ids.index(r["image_id"]) % 2] for r in rows
    )
    assert 0 < len(rows) < 21
    counts = done.summary["passing_at"]
    assert list(counts) == [1, 3, 5, 10, 20, 40]
    assert list(counts.values()) == sorted(counts.values())
    assert (counts[3], counts[20], counts[40]) == (len(rows), 21, 21)


def test_the_result_is_a_pool(pictures, tmp_path, tiny_model):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    propagate(pool, ids[:4], tmp_path / "out", masks=alseg.MaskOptions(tiny_model, threshold=0.3))
    for name in ("pairs.parquet", "manifest.parquet"):
        found = open_pool(tmp_path / "out" / name)
        assert all(read(uri)[0] == "P" for uri in found.table.column("mask_uri").to_pylist())
        assert set(found.table.column("image_id").to_pylist()) <= set(ids[4:])


def test_labels_that_arrive_give_the_files_of_a_new_start(pictures, tmp_path, tiny_model, monkeypatch):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    masks = alseg.MaskOptions(tiny_model, threshold=0.3)
    out = tmp_path / "out"
    for direction in ("unlabelled", "labelled"):
        for labelled in ([], ids[:3], [*ids[:3], ids[9], ids[12]], ids):
            done = propagate(pool, labelled, out, direction=direction, masks=masks)
            fresh = propagate(
                pool, labelled, tmp_path / f"{direction}-{len(labelled)}", direction=direction, masks=masks
            )
            assert contents(out) == contents(fresh.path)
            assert set(fresh.computed) == {"new"}
        assert done.computed == {"labels added": 2}
        assert not list((out / "masks").rglob("*.png"))  # nothing is unlabelled any more
        again = propagate(pool, labelled, out, direction=direction, masks=masks)
        assert again.computed == {"kept": 2}
        fewer = propagate(pool, ids[:3], out, direction=direction, masks=masks)
        assert fewer.computed == {"labels removed": 2}
        assert contents(out) == contents(tmp_path / f"{direction}-3")


def test_what_is_done_is_not_done_again(pictures, tmp_path, tiny_model, monkeypatch):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    masks = alseg.MaskOptions(tiny_model)
    counted = {}

    def stage(what, total, done):
        counted[what] = total - done

    first = propagate(pool, ids[:4], tmp_path / "out", masks=masks, on_stage=stage)
    passing = len(set(first.pairs().column("image_id").to_pylist()))
    assert counted == {"histograms": 24, "gate": 24, "masks": passing}
    propagate(pool, ids[:4], tmp_path / "out", masks=masks, on_stage=stage)
    assert counted == {"histograms": 0, "gate": 24, "masks": 0}
    propagate(pool, ids[:4], tmp_path / "out", masks=alseg.MaskOptions(tiny_model, threshold=0.6), on_stage=stage)
    assert counted["masks"] == passing
    write_pictures(pictures, 2, first=24)
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    done = propagate(pool, ids[:4], tmp_path / "out", masks=masks, on_stage=stage)
    assert counted["histograms"] == 2
    assert done.computed == {"images changed": 2}
    fresh = propagate(pool, ids[:4], tmp_path / "fresh", masks=masks)
    assert contents(done.path) == contents(fresh.path)


def test_pictures_that_cannot_be_read_take_no_part(pictures, tmp_path, tiny_model):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    gone = {"image_id": "gone.jpg", "uri": str(pictures / "gone.jpg"), "label": "fish"}
    table = [*pq.read_table(pool).to_pylist(), gone]
    pq.write_table(pa.Table.from_pylist(table), pool)
    done = propagate(pool, [i for i in ids if i.startswith("img")][:3], tmp_path / "out", k=40)
    failed = pq.read_table(done.path / "failures.parquet").to_pylist()
    assert [(r["image_id"], r["stage"]) for r in failed] == [("broken.jpg", "decode"), ("gone.jpg", "fetch")]
    assert done.summary["failures"] == 2
    assert not {"broken.jpg", "gone.jpg"} & set(done.pairs().column("image_id").to_pylist())


def test_small_and_unlabelled_classes(pictures, tmp_path, caplog):
    names = ["alone", "unlabelled", *["many"] * 22]
    names[2] = "unlabelled"
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet", lambda i: names[i])
    with caplog.at_level(logging.WARNING, "alseg"):
        done = propagate(pool, [ids[0], ids[5]], tmp_path / "out", k=40)
    facts = {row["class"]: row for row in done.summary["classes"]}
    assert (facts["alone"]["size"], facts["alone"]["passing"], facts["alone"]["vacuous"]) == (1, 0, False)
    assert (facts["unlabelled"]["size"], facts["unlabelled"]["passing"], facts["unlabelled"]["vacuous"]) == (
        2,
        0,
        False,
    )
    assert (facts["many"]["size"], facts["many"]["passing"], facts["many"]["vacuous"]) == (21, 20, True)
    warning = "k = 40 is at least the number of unlabelled same-class images of 1 of 2 classes with labels"
    assert done.summary["warning"].startswith(warning)
    assert "90.9 % of the pool" in done.summary["warning"]
    assert warning in caplog.text


def test_vacuous_k_lets_everything_pass_without_counting_to_it(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    done = propagate(pool, ids[:2], tmp_path / "out", k=1000, table=(2,))
    assert done.summary["passing"] == 22
    assert {row["counted_to"] for row in done.summary["classes"]} == {2}
    assert max(done.pairs().column("rank").to_pylist()) == 2


def test_max_distance_and_claims(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    everything = propagate(pool, ids[:6], tmp_path / "a", direction="labelled", claims="many").pairs().to_pylist()
    assert len(everything) == 6 * 3
    one = propagate(pool, ids[:6], tmp_path / "b", direction="labelled").pairs().to_pylist()
    nearest = {}
    for row in sorted(everything, key=lambda r: (r["distance"], r["partner_id"])):
        nearest.setdefault(row["image_id"], row["partner_id"])
    assert {r["image_id"]: r["partner_id"] for r in one} == nearest
    limit = sorted(r["distance"] for r in everything)[5]
    near = propagate(pool, ids[:6], tmp_path / "a", direction="labelled", claims="many", max_distance=limit)
    assert sorted(r["distance"] for r in near.pairs().to_pylist()) == sorted(r["distance"] for r in everything)[:6]
    assert near.computed == {"kept": 2}
    manifest = pq.read_table(tmp_path / "a" / "manifest.parquet").column("image_id").to_pylist()
    assert len(manifest) == len(set(manifest))
    zero = propagate(pool, ids[:6], tmp_path / "c", k=40, max_distance=0.0)
    assert zero.summary["passing"] == 0
    assert zero.summary["warning"] is None  # the distance decides


def test_several_classes_an_image(pictures, tmp_path):
    def tags(i):
        return [t for t, there in (("even", i % 2 == 0), ("third", i % 3 == 0), ("all", i != 5)) if there]

    lists, ids = manifest_of(pictures, tmp_path / "lists.parquet", tags)
    with pytest.raises(PoolError, match="add --multi-label"):
        propagate(lists, ids[:3], tmp_path / "none")
    done = propagate(lists, ids[:3], tmp_path / "a", multi_label=True)
    facts = {row["class"]: row["size"] for row in done.summary["classes"]}
    assert facts == {"all": 23, "even": 12, "third": 8}
    rows = done.pairs().to_pylist()
    assert all(
        r["label"] in tags(ids.index(r["image_id"])) and r["label"] in tags(ids.index(r["partner_id"])) for r in rows
    )
    assert len({r["image_id"] for r in rows}) == done.summary["passing"] < len(rows)
    manifest = pq.read_table(tmp_path / "a" / "manifest.parquet").to_pylist()
    assert {r["image_id"]: r["label"] for r in manifest} == {
        name: [r["label"] for r in rows if r["image_id"] == name] for name in {r["image_id"] for r in rows}
    }
    text, _ = manifest_of(pictures, tmp_path / "text.parquet", lambda i: " , ".join([*tags(i), *tags(i)]))
    again = propagate(text, ids[:3], tmp_path / "b", multi_label=True)
    assert again.pairs() == done.pairs()


def test_binary_masks_follow_the_threshold(pictures, tmp_path):
    model = build_model(tmp_path / "two.onnx", classes=("ground", "thing"))
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    done = propagate(pool, ids[:2], tmp_path / "out", k=40, masks=alseg.MaskOptions(model, threshold=0.7))
    rows = done.pairs().to_pylist()
    assert len(rows) == 22
    scorer = alseg.Scorer(model)
    row = rows[3]
    logits = logits_of(scorer, row["uri"])
    z = logits[0, 1] - logits[0, 0]
    size = read(row["uri"])[1].shape[:2]
    u = alseg.uncertainty(np.stack([np.zeros_like(z), z])[None], size, measures=("least_confidence",), labels=True)
    p = np.where(u.labels[0] == 1, 1 - u.maps["least_confidence"][0], u.maps["least_confidence"][0])
    with Image.open(done.path / row["mask_uri"]) as image:
        assert image.mode == "P"
        assert image.palette.getdata()[1] == VOC_PALETTE[: len(image.palette.getdata()[1])]
        mask = np.asarray(image)
    assert mask.shape == size
    clear = np.abs(p - 0.7) > 1e-4
    assert np.array_equal((mask == 1)[clear], (p >= 0.7)[clear])
    assert row["named_share"] == (mask == 1).mean()
    assert row["reliability"] == pytest.approx(p[mask == 1].mean(), abs=1e-4)
    assert set(np.unique(mask)) <= {0, 1}


def logits_of(scorer, uri):
    """The network's output for a picture, by way of the engine."""

    class Keep:
        def reduce(self, logits, placement, image_size, *, maps, regions=None):
            return np.array(logits)

    (picture,) = scorer.reduce_pool([(uri, uri, None, None)], Keep)
    return picture.scored


def test_masks_of_several_classes_ignore_what_is_unsure(pictures, tmp_path, tiny_model):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    unsure = propagate(pool, ids[:2], tmp_path / "a", k=40, masks=alseg.MaskOptions(tiny_model, threshold=0.999))
    sure = propagate(pool, ids[:2], tmp_path / "b", k=40, masks=alseg.MaskOptions(tiny_model, threshold=0.01))
    scores = alseg.Scorer(tiny_model).score_images([r["uri"] for r in sure.pairs().to_pylist()], maps=True)
    for a, b, score in zip(unsure.pairs().to_pylist(), sure.pairs().to_pylist(), scores, strict=True):
        masks = [read(d.path / r["mask_uri"])[1] for d, r in ((unsure, a), (sure, b))]
        assert np.array_equal(masks[1], score.maps["labels"])
        named = masks[0] != 255
        assert np.array_equal(masks[0][named], masks[1][named])
        assert a["named_share"] == named.mean()
        assert b["named_share"] == 1
        assert a["reliability"] is None or a["reliability"] >= 0.999
    assert sure.summary["masks"]["full"] == 22 > unsure.summary["masks"]["full"]


def test_a_threshold_from_known_masks(pictures, tmp_path):
    model = build_model(tmp_path / "two.onnx", classes=("ground", "thing"))
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    truth = tmp_path / "truth"
    truth.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30, 34):
        picture = draw_picture(i)
        Image.fromarray(picture).save(truth / f"{i}.png")
        Image.fromarray((rng.random(picture.shape[:2]) < 0.3).astype(np.uint8) * 9).save(truth / f"{i}-mask.png")
        rows.append({"image_id": str(i), "uri": f"{i}.png", "mask_uri": f"{i}-mask.png"})
    pq.write_table(pa.Table.from_pylist(rows), truth / "validation.parquet")
    masks = alseg.MaskOptions(model, validation=truth / "validation.parquet")
    done = propagate(pool, ids[:2], tmp_path / "out", masks=masks)
    known = json.loads((done.path / "threshold.json").read_text())
    assert done.summary["masks"]["threshold"] == known["threshold"] in np.round(np.arange(5, 100) / 100, 2)
    assert known["images"] == 4
    with pytest.raises(UsageError, match="foreground and a background only"):
        propagate(
            pool, ids[:2], tmp_path / "x", masks=alseg.MaskOptions(build_model(tmp_path / "f.onnx"), validation=pool)
        )
    with pytest.raises(PoolError, match="must have a mask_uri"):
        propagate(pool, ids[:2], tmp_path / "y", masks=alseg.MaskOptions(model, validation=pool))


def test_a_picture_the_model_cannot_take_has_no_mask(pictures, tmp_path):
    Image.new("RGB", (60, 40), (255, 255, 255)).save(pictures / "white.png")
    model = build_model(tmp_path / "poison.onnx", poison=250)
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    done = propagate(pool, ids[:2], tmp_path / "out", k=40, masks=alseg.MaskOptions(model))
    (failed,) = pq.read_table(done.path / "failures.parquet").to_pylist()
    assert (failed["image_id"], failed["stage"]) == ("white.png", "score")
    rows = {r["image_id"]: r for r in done.pairs().to_pylist()}
    assert rows["white.png"]["mask_uri"] is None
    assert sum(r["mask_uri"] is not None for r in rows.values()) == len(rows) - 1


def test_the_example_model_makes_masks(tmp_path):
    from importlib.resources import files

    pictures = write_pictures(tmp_path / "p", 4)
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet", lambda i: "scene")
    example = files("alseg_fast") / "demo" / "example.onnx"
    done = propagate(pool, ids[:1], tmp_path / "out", masks=alseg.MaskOptions(str(example)))
    assert done.summary["masks"]["masks"] == 3


def test_wrong_requests_are_refused(pictures, tmp_path, tiny_model):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    out = tmp_path / "out"
    with pytest.raises(RangeError, match="k must be an integer >= 1; got 0"):
        propagate(pool, ids[:1], out, k=0)
    with pytest.raises(UsageError, match="claims must be 'one' with direction 'unlabelled'"):
        propagate(pool, ids[:1], out, claims="many")
    with pytest.raises(UsageError, match="has none of the 1 labelled images, such as nobody"):
        propagate(pool, ["nobody"], out)
    with pytest.raises(UsageError, match=r"threshold must be in \(0, 1\]; got 0"):
        alseg.MaskOptions(tiny_model, threshold=0)
    with pytest.raises(RunError, match=r"labelled .* does not exist"):
        propagate(pool, tmp_path / "nothing.csv", out)
    with pytest.raises(PoolError, match="has no column label"):
        propagate(pictures, ids[:1], out)
    with pytest.raises(ModelError):
        propagate(pool, ids[:1], out, masks=alseg.MaskOptions(tmp_path / "none.onnx"))
    with pytest.raises(UsageError, match="max_memory must hold the histograms of class bird"):
        propagate(pool, ids[:1], out, max_memory=100)
    holes, _ = manifest_of(pictures, tmp_path / "holes.parquet", lambda i: None if i == 3 else "x")
    with pytest.raises(PoolError, match="1 images have no label, the first is img-0003"):
        propagate(holes, ids[:1], out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and no propagation"):
        propagate(pool, ids[:1], foreign, overwrite=True)


def test_other_histograms_need_another_directory(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    propagate(pool, ids[:2], tmp_path / "out")
    with pytest.raises(RunError, match="made with histograms spec=rgb:8, this command asks for spec=hsv:8"):
        alseg.propagate(pool, ids[:2], k=3, out=tmp_path / "out", histogram="hsv:8")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    done = alseg.propagate(pool, ids[:2], k=3, out=tmp_path / "out", histogram="hsv:8", overwrite=True)
    assert done.computed == {"new": 2}
    assert (tmp_path / "out" / "notes.txt").exists()


def test_threads_and_memory_change_nothing(pictures, tmp_path, tiny_model):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    masks = alseg.MaskOptions(tiny_model, threshold=0.3)
    expected = contents(propagate(pool, ids[:4], tmp_path / "whole", masks=masks).path)
    for workers in (1, 2, 5):
        limits = {"workers": workers, "max_memory": 24 * 24 * 4 * 4}
        masks = alseg.MaskOptions(tiny_model, threshold=0.3, workers=workers, batch_size=workers)
        done = propagate(pool, ids[:4], tmp_path / f"{workers}", masks=masks, **limits)
        assert contents(done.path) == expected


def test_a_pool_in_memory(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    table = pq.read_table(pool)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    done = propagate(shuffled, dict.fromkeys(ids[:4]), tmp_path / "a")
    assert contents(done.path) == contents(propagate(open_pool(pool), ids[:4], tmp_path / "b").path)
    with pytest.raises(PoolError, match="has an image_id twice"):
        propagate(pa.concat_tables([table, table]), ids[:4], tmp_path / "c")


def test_one_process_at_a_time(pictures, tmp_path):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    with locked(tmp_path / "out"), pytest.raises(RunError, match="another process is writing to"):
        propagate(pool, ids[:2], tmp_path / "out")
    assert propagate(pool, ids[:2], tmp_path / "out").computed == {"new": 2}


def test_labelled_images_the_pool_lacks_are_told(pictures, tmp_path, caplog):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    with caplog.at_level(logging.WARNING, "alseg"):
        done = propagate(pool, [ids[0], "stranger"], tmp_path / "out")
    assert done.summary["unknown_labelled"] == ["stranger"]
    assert "1 labelled images are not in the pool and do not count, such as stranger" in caplog.text


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "txt"])
def test_labelled_manifests(pictures, tmp_path, kind):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    path = tmp_path / f"labelled.{kind}"
    if kind == "csv":
        path.write_text(f"image_id,mask_uri\n{ids[0]},m/0.png\n{ids[1]},\n")
    elif kind == "jsonl":
        path.write_text(
            json.dumps({"image_id": ids[0], "mask_uri": "m/0.png"}) + "\n" + json.dumps({"image_id": ids[1]}) + "\n"
        )
    elif kind == "parquet":
        pq.write_table(pa.table({"image_id": ids[:2], "mask_uri": ["m/0.png", None]}), path)
    else:
        path.write_text("\n".join(ids[:2]))
    done = propagate(pool, path, tmp_path / "out", k=40)
    found = {r["partner_id"]: r["partner_mask_uri"] for r in done.pairs().to_pylist()}
    assert found == {ids[0]: None if kind == "txt" else str(tmp_path / "m" / "0.png"), ids[1]: None}


def test_damaged_files_are_made_again(pictures, tmp_path, tiny_model):
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    masks = alseg.MaskOptions(tiny_model)
    out = tmp_path / "out"
    propagate(pool, ids[:2], out, masks=masks)
    expected = contents(out)
    for pattern in (
        "state/*.parquet",
        "mask_parts/*.parquet",
        "histograms/*.parquet",
        "histograms/*.npy",
        "masks/*.png",
    ):
        victim = sorted(out.glob(pattern))[0]
        if pattern.endswith("png"):
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:50])
        propagate(pool, ids[:2], out, masks=masks)
        assert contents(out) == expected, pattern


def test_a_class_stopped_half_way_goes_on(pictures, tmp_path, monkeypatch):
    """What was found so far is in the state, and the next call asks only for the rest."""
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet", lambda i: "one")
    expected = contents(propagate(pool, ids[:4], tmp_path / "whole").path)
    original = propagate_gate.ClassSearch.search
    asked = []

    def search(self, rows, *args, **options):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(len(rows))
        return original(self, rows, *args, **options)

    monkeypatch.setattr(propagate_gate, "_MOST_BLOCK", 4)
    monkeypatch.setattr(propagate_gate, "_LEAST_BLOCK", 4)
    monkeypatch.setattr(propagate_class.SearchSettings, "__init__", partialmethod_without_waiting())
    monkeypatch.setattr(propagate_gate.ClassSearch, "search", search)
    calls = 0
    while not (tmp_path / "out" / "_SUCCESS").exists():
        asked.clear()
        calls += 1
        with suppress(KeyboardInterrupt):
            propagate(pool, ids[:4], tmp_path / "out")
    assert calls in (3, 4)  # 5 blocks of the nearest, 5 of the counts at most
    assert contents(tmp_path / "out") == expected


def partialmethod_without_waiting():
    original = propagate_class.SearchSettings.__init__

    def init(self, *args, **options):
        original(self, *args, **{**options, "save_seconds": 0.0})

    return init


def kill_command(pool, labelled, model, out):
    code = (
        "import sys, alseg_fast as alseg\n"
        "from alseg_fast import histogram_pass\n"
        "from alseg_fast.stages import mask_files\n"
        "import alseg_fast.mask_pass as mask_pass\n"
        "histogram_pass.PART_IMAGES, mask_pass.PART_MASKS = 5, 4\n"
        "print('ready', flush=True)\n"
        "alseg.propagate(sys.argv[1], sys.argv[2], k=40, out=sys.argv[4], histogram='rgb:8',\n"
        "    masks=alseg.MaskOptions(sys.argv[3], threshold=0.3))\n"
    )
    return [sys.executable, "-P", "-c", code, *map(str, (pool, labelled, model, out))]


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_and_changes_nothing(pictures, tmp_path, tiny_model):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    write_pictures(pictures, 60, first=24)
    pool, ids = manifest_of(pictures, tmp_path / "pool.parquet")
    labelled = tmp_path / "labelled.txt"
    labelled.write_text("\n".join(i for i in ids if i.startswith("img-000")))
    start = time.monotonic()
    subprocess.run(kill_command(pool, labelled, tiny_model, tmp_path / "whole"), check=True, capture_output=True)
    spent = time.monotonic() - start
    expected = contents(tmp_path / "whole")
    rng = random.Random(0)
    out, kills, done_before = tmp_path / "out", 0, {}
    while kills < 8:
        process = subprocess.Popen(
            kill_command(pool, labelled, tiny_model, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, max(0.3, spent / 2)))
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), error.decode()
        kills += 1
        now = {
            p.relative_to(out): p.read_bytes()
            for kind in ("histograms", "mask_parts")
            for p in (out / kind).glob("part-*.parquet")
        }
        assert done_before.items() <= now.items()  # what was reported done stays as it is
        done_before = now
        if process.returncode == 0:
            break
    subprocess.run(kill_command(pool, labelled, tiny_model, out), check=True, capture_output=True)
    assert contents(out) == expected
    assert (out / "_SUCCESS").exists()
