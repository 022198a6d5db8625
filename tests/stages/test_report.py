"""The report: one file, everything escaped, nothing from a network, small, and the same bytes every time."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alseg_fast.errors import DataError, RunError, UsageError
from alseg_fast.stages.report import write_report
from alseg_fast.stages.report_html import MAX_BYTES, content_policy, write_page
from alseg_fast.stages.report_statistics import FINE_BINS, ClassTotals, StreamHistogram, TopRows

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = [
    "</script><script>document.title='owned'</script>.jpg",
    '"><img src=x onerror="document.title=1">',
    "<!--<script>",
    "日本語/ürsprünglich \u2028 & %3Cb%3E.png",
    "'; alert(1) //",
]
CLASSES = ["background", "<b>road</b>", "car"]
MEASURES = ["entropy", "margin"]
RANGES = {"entropy": (0.0, float(np.log(3))), "margin": (0.0, 1.0)}


class FakeRun:
    """A run of n images in memory, with the same reading methods as an opened RUN."""

    def __init__(self, ids: list[str], *, complete: bool = True, failures: int = 3) -> None:
        rng = np.random.default_rng(len(ids))
        n, c = len(ids), len(CLASSES)
        self.path = Path("runs/<i>run</i>")
        self.classes, self.measures, self.complete = CLASSES, MEASURES, complete
        self.counts = {"rows": n, "failures": failures, "parts_done": 1}
        fractions = rng.dirichlet(np.ones(c), n)
        columns: dict[str, Any] = {
            "image_id": ids,
            "uri": [f"https://example.invalid/{i}" for i in range(n)],
            "width": pa.array([64] * n, pa.int32()),
            "height": pa.array([48] * n, pa.int32()),
            "predicted_label": pa.array(fractions.argmax(axis=1), pa.int32()),
            "class_fraction": pa.array(list(fractions.astype(np.float32))),
        }
        for measure in MEASURES:
            for statistic in ("mean", "max", "top"):
                columns[f"{measure}_{statistic}"] = rng.random(n, np.float32)
            columns[f"class_{measure}"] = [[0.5, None, 0.25]] * n
        self.table = pa.table(columns)
        self._failures = failures
        self.info: Mapping[str, Any] = {
            "alseg_version": "0.1.0",
            "created": "2025-01-02T03:04:05Z",
            "config": {"measures": MEASURES, "maps": True, "score_size": "input", "top_fraction": 0.05},
            "config_hash": "c0ffee",
            "model": {"path": "m.onnx", "sha256": "ab" * 32},
            "units": {"entropy_mean": "nats, mean over the image", "margin_mean": "1 (0..1), mean"},
            "map_ranges": RANGES,
            "pool": {"source": "/pools/<u>street</u>", "kind": "directory", "images": n + failures},
            "timings": {"images": n, "wall_seconds": 2.0, "processes": 1},
            "versions": {"python": "3.11"},
        }

    def score_batches(self, columns: list[str], /) -> Iterator[pa.RecordBatch]:
        return iter(self.table.select(columns).to_batches(max_chunksize=7))

    def failures(self) -> pa.Table:
        names = ["image_id", "uri", "stage", "error"]
        rows = [[f"bad{i}", "u", "decode", "truncated <jpeg>"] for i in range(self._failures)]
        return pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)})


def photograph(seed: int, side: int = 256) -> np.ndarray:
    """Smooth shapes with edges and sensor-like noise: about as many JPEG bytes as a street photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (side // 12, side // 12, 3), np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
    smooth[side // 3 : side // 2] //= 2
    return np.clip(smooth + rng.normal(0, 7, smooth.shape), 0, 255).astype(np.uint8)


def picture(image_id: str, uri: str) -> np.ndarray:
    return np.full((48, 64, 3), (200, 30, 60), np.uint8)


def maps(image_id: str, uri: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    labels = np.repeat(np.arange(48, dtype=np.uint8)[:, None] % 3, 64, axis=1)
    heat = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    return labels, {"entropy": heat, "margin": heat[:, ::-1].copy()}


class Scripts(HTMLParser):
    """The elements of a page, as a browser's parser would split it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []  # what follows the start tag, up to the next tag
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self.open = True

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def by_id(self, name: str) -> str:
        return next(text for (_, attrs), text in zip(self.tags, self.texts, strict=True) if attrs.get("id") == name)


def batch_of(ids: list[str], **metadata: Any) -> pa.Table:
    table = pa.table(
        {
            "rank": range(1, len(ids) + 1),
            "image_id": ids,
            "uri": ["u"] * len(ids),
            "region_id": pa.array([None] * len(ids), pa.int64()),
            "score": [1.0 / (i + 1) for i in range(len(ids))],
            "cost": [1.0] * len(ids),
            "reason": ["top </script> entropy_mean"] * len(ids),
        }
    )
    return table.replace_schema_metadata({"alseg.select": json.dumps(metadata)}) if metadata else table


def write(tmp_path: Path, run: FakeRun, batch: pa.Table | None = None, **options: Any) -> Scripts:
    out = tmp_path / "report.html"
    given = {"load_image": picture, "overlay": maps, **options}
    write_report(run, batch, out, **given)
    return Scripts(out.read_text("utf-8"))


def data_of(page: Scripts) -> dict[str, Any]:
    return dict(json.loads(page.by_id("report-data")))


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    run = FakeRun(HOSTILE)
    page = write(tmp_path, run, batch_of(HOSTILE), title="<img src=x> & title")
    assert [card["image_id"] for card in data_of(page)["cards"]] == HOSTILE
    plain = write(tmp_path, FakeRun([f"id{i}" for i in range(len(HOSTILE))]), batch_of(["id0"] * 5), title="x")
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == len(HOSTILE) + 2
    assert "img" not in {tag for tag, _ in page.tags}
    assert data_of(page)["failures"]["groups"] == [["decode", "truncated <jpeg>", 3]]


def test_the_page_asks_nothing_of_a_network(tmp_path: Path) -> None:
    page = write(tmp_path, FakeRun(["a", "b"]))
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
        assert not [name for name in attrs if name.startswith("on") or name == "style"], (tag, attrs)
    code = "".join(
        text
        for (tag, attrs), text in zip(page.tags, page.texts, strict=True)
        if tag == "style" or (tag == "script" and "type" not in attrs)
    )
    assert len(code) > 10_000
    assert not re.search(r"https?:|//\w+\.\w+|url\(|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", code)


def test_the_policy_forbids_the_network_and_allows_exactly_this_code(tmp_path: Path) -> None:
    page = write(tmp_path, FakeRun(["a"]))
    policy = next(attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs)
    style = next(text for (tag, _), text in zip(page.tags, page.texts, strict=True) if tag == "style")
    script = next(
        text
        for (tag, attrs), text in zip(page.tags, page.texts, strict=True)
        if tag == "script" and "type" not in attrs
    )
    assert policy == content_policy(style, script)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert content_policy(style, script + " ") != policy


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    run = FakeRun(HOSTILE)
    for name in ("one.html", "two.html"):
        write_report(run, None, tmp_path / name, load_image=picture, overlay=maps)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_without_a_batch_the_highest_means_are_shown(tmp_path: Path) -> None:
    run = FakeRun([f"id{i:03d}" for i in range(150)])
    values = run.table.column("entropy_mean").to_numpy()
    values = values.copy()
    values[5] = np.nan
    run.table = run.table.set_column(run.table.column_names.index("entropy_mean"), "entropy_mean", pa.array(values))
    data = data_of(write(tmp_path, run, measure="entropy"))
    best = sorted(range(150), key=lambda i: -values[i] if i != 5 else 9)[:100]
    assert [card["image_id"] for card in data["cards"]] == [f"id{i:03d}" for i in best]
    histogram = next(h for h in data["histograms"] if h["column"] == "entropy_mean")
    assert (sum(histogram["pool"]), sum(histogram["selection"]), histogram["missing"]) == (149, 100, 1)


def test_labels_and_heatmaps_survive_the_trip(tmp_path: Path) -> None:
    page = write(tmp_path, FakeRun(["a"]), thumb_side=128)
    facts = data_of(page)["pictures"][0]
    assert facts["planes"] == ["labels", "entropy", "margin"]
    block = json.loads(page.by_id("picture-0"))
    stack = np.asarray(Image.open(io.BytesIO(base64.b64decode(block["png"]))))
    labels, heat, _ = stack.reshape(3, facts["map_height"], facts["map_width"])
    np.testing.assert_array_equal(labels, maps("a", "")[0])
    np.testing.assert_array_equal(heat, maps("a", "")[1]["entropy"])
    above = facts["above"]["entropy"]
    assert (len(above), above[0], above[64]) == (65, 10000, 0)
    assert above[32] == round(10000 * np.mean(heat >= 127.5))
    thumb = Image.open(io.BytesIO(base64.b64decode(block["jpeg"])))
    assert thumb.size == (facts["width"], facts["height"]) == (64, 48)


def test_more_than_256_classes_keep_their_ids(tmp_path: Path) -> None:
    labels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    page = write(tmp_path, FakeRun(["a"]), overlay=lambda i, u: (labels, {}))
    facts = data_of(page)["pictures"][0]
    assert facts["planes"] == ["labels", "labels_high"]
    png = base64.b64decode(json.loads(page.by_id("picture-0"))["png"])
    low, high = np.asarray(Image.open(io.BytesIO(png))).reshape(2, 20, 30).astype(int)
    np.testing.assert_array_equal(low + 256 * high, labels)


def test_missing_pictures_and_maps_are_cards_with_the_reason(tmp_path: Path) -> None:
    def load(image_id: str, uri: str) -> np.ndarray | None:
        if image_id == "gone":
            raise DataError("image not found, /x; restore it")
        return None if image_id == "none" else picture(image_id, uri)

    def overlay(image_id: str, uri: str) -> Any:
        return None if image_id == "gone" else maps(image_id, uri)

    page = write(tmp_path, FakeRun(["here"]), batch_of(["gone", "none"]), load_image=load, overlay=overlay)
    data = data_of(page)
    assert [p["problem"] for p in data["pictures"]] == [
        "image not found, /x; restore it",
        "the source image is not available",
    ]
    assert data["pictures"][0]["planes"] == []
    assert "no maps" in data["pictures"][0]["overlay_problem"]
    assert data["pictures"][1]["planes"][0] == "labels"
    assert {card["note"] for card in data["cards"]} == {"no scores of this image in the run"}
    assert json.loads(page.by_id("picture-0")) == {"jpeg": "", "png": ""}


def test_picks_of_one_image_share_its_picture(tmp_path: Path) -> None:
    batch = batch_of(["a", "b", "a"]).set_column(3, "region_id", pa.array([4, 5, 6], pa.int64()))
    page = write(tmp_path, FakeRun(["a", "b"]), batch)
    data = data_of(page)
    assert [card["picture"] for card in data["cards"]] == [0, 1, 0]
    assert len(data["pictures"]) == 2
    assert sum(data["histograms"][0]["selection"]) == 2


def test_picks_beyond_max_images_are_told(tmp_path: Path) -> None:
    data = data_of(write(tmp_path, FakeRun(["a", "b", "c"]), batch_of(["a", "b", "c"]), max_images=2))
    assert [card["rank"] for card in data["cards"]] == [1, 2]
    assert data["selection_note"] == "The first 2 of 3 picks, by rank."


def test_facts_of_the_run_and_how_to_run_it_again(tmp_path: Path) -> None:
    facts = {"budget": 2, "unit": "images", "strategy": "top", "measure": "entropy_mean", "seed": 7}
    batch = batch_of(["a", "b"], **facts, config_hash="other")
    data = data_of(write(tmp_path, FakeRun(["a", "b"], complete=False, failures=700), batch))
    assert ["Throughput", "1.0 images/s"] in data["facts"]
    assert data["banner"].startswith("This run is not complete: 702 of 702 images so far.")
    assert [column["unit"] for column in data["columns"] if column["name"].endswith("mean")] == ["nats", ""]
    score, select = data["reproduce"]["commands"].splitlines()
    run = "'runs/<i>run</i>'"
    given = "--measures entropy,margin --score-size input --maps"
    assert score == f"alseg score '/pools/<u>street</u>' --model m.onnx --out {run} {given}"
    options = "--unit images --strategy top --measure entropy_mean --seed 7"
    assert select == f"alseg select {run} --budget 2 {options} --out batch.parquet"
    assert "another model, pool or configuration" in data["selection_note"]
    assert (len(data["failures"]["rows"]), data["failures"]["total"]) == (500, 700)


def ccp_photograph(index: int) -> np.ndarray:
    photos = sorted((ROOT / "../shared/data/ccp/photos").glob("*.jpg"))
    if not photos:
        pytest.skip("../shared/data/ccp is not there")
    return np.asarray(Image.open(photos[7 * index]).convert("RGB"))


@pytest.mark.parametrize("take", [lambda i: photograph(i, 512), ccp_photograph], ids=["drawn", "ccp"])
def test_a_thousand_photographs_stay_below_the_limit(tmp_path: Path, take: Callable[[int], np.ndarray]) -> None:
    def overlay(image_id: str, uri: str) -> Any:
        # Blobs at a sixteenth of the size, scaled up: what the maps of a segmentation network look like.
        grey = Image.fromarray(take(int(image_id))).convert("L")
        blobs = grey.resize((grey.width // 16, grey.height // 16), Image.Resampling.BOX)
        heat = np.asarray(blobs.resize(grey.size, Image.Resampling.BICUBIC))
        return (heat // 50).astype(np.uint8), {"entropy": heat, "margin": 255 - heat // 2}

    ids = [str(i) for i in range(12)]
    out = tmp_path / "report.html"
    summary = write_report(FakeRun(ids), None, out, load_image=lambda i, u: take(int(i)), overlay=overlay)
    page = Scripts(out.read_text())
    pictures = sum(len(page.by_id(f"picture-{i}")) for i in range(12))
    assert (summary.images, summary.bytes, summary.thumb_side) == (12, out.stat().st_size, 256)
    assert 1000 / 12 * pictures + (summary.bytes - pictures) < MAX_BYTES
    assert pictures / 12 > 15_000  # a photograph, not a flat colour


def test_a_large_report_gets_smaller_pictures_and_keeps_every_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from alseg_fast.stages.report import collect

    ids = [str(i) for i in range(10)]
    data = collect(FakeRun(ids), None, max_images=10)
    options: dict[str, Any] = {
        "load_image": lambda i, u: photograph(int(i)),
        "overlay": maps,
        "thumb_side": 256,
        "max_bytes": 140_000,
    }
    with caplog.at_level(logging.WARNING, "alseg"):
        summary = write_page(data, tmp_path / "r.html", **options)
    assert summary.bytes <= 140_000
    assert (summary.images, summary.thumb_side < 256) == (10, True)
    assert f"thumbnails are at most {summary.thumb_side} pixels instead of 256" in caplog.text
    page = Scripts((tmp_path / "r.html").read_text())
    facts = data_of(page)["pictures"]
    assert max(facts[0]["width"], facts[0]["height"]) == summary.thumb_side
    png = base64.b64decode(json.loads(page.by_id("picture-9"))["png"])
    labels = np.asarray(Image.open(io.BytesIO(png))).reshape(3, facts[9]["map_height"], -1)[0]
    assert set(np.unique(labels)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"measure": "bald"}, UsageError, "measure must be one of the run (entropy, margin)"),
        ({"max_images": 0}, UsageError, "max_images must be >= 1"),
        ({"batch": pa.table({"rank": [1]})}, UsageError, "image_id, uri missing"),
        ({"out": "no/such/report.html"}, RunError, "does not exist; make it or change --out"),
    ],
)
def test_wrong_requests_are_refused(tmp_path: Path, options: dict[str, Any], error: type[Exception], text: str) -> None:
    batch, out = options.pop("batch", None), tmp_path / options.pop("out", "report.html")
    with pytest.raises(error, match=re.escape(text)):
        write_report(FakeRun(["a"]), batch, out, load_image=picture, overlay=maps, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alseg_fast.atomic.os.fsync", full)
    with pytest.raises(RunError, match="No space left on device; free space or change --out"):
        write_report(FakeRun(["a"]), None, out, load_image=picture, overlay=maps)
    assert (out.read_text(), len(list(tmp_path.iterdir()))) == ("old", 1)


def test_histogram_in_one_pass_equals_numpy_over_all() -> None:
    values = np.random.default_rng(3).gamma(2.0, 0.7, 5000)  # far above the first range
    histogram = StreamHistogram(0.5)
    for part in np.array_split(values, 13):
        histogram.add(part)
    histogram.add(np.array([np.nan, np.inf]))
    shown = histogram.shown(values[:100].tolist())
    edges = np.linspace(shown["low"], shown["high"], len(shown["pool"]) + 1)
    expected, _ = np.histogram(values, edges)
    fine = histogram.high / FINE_BINS
    assert (sum(shown["pool"]), sum(shown["selection"]), histogram.missing) == (5000, 100, 2)
    assert histogram.high == 0.5 * 2 ** np.ceil(np.log2(values.max() / 0.5))
    near_edges = sum(int(np.sum(np.abs(values - edge) < fine * 1e-3)) for edge in edges)
    assert np.abs(expected - shown["pool"]).sum() <= 2 * near_edges


def test_top_rows_break_ties_by_id() -> None:
    top = TopRows("s", 3)
    for ids, scores in ((["d", "b", "x"], [1.0, 1.0, None]), (["c", "a"], [1.0, 0.5])):
        top.add(pa.RecordBatch.from_pydict({"image_id": ids, "s": pa.array(scores, pa.float32())}))
    assert [row["image_id"] for row in top.rows] == ["b", "c", "d"]


def test_class_table_weighs_images_by_their_pixels() -> None:
    totals = ClassTotals(["entropy"])
    rows = {
        "width": [10, 30],
        "height": [10, 10],
        "predicted_label": [0, 1],
        "class_fraction": [[1.0, 0.0], [0.25, 0.75]],
        "class_entropy": [[0.4, None], [0.8, 0.2]],
    }
    totals.add(pa.RecordBatch.from_pydict(rows))
    chosen = {"width": 30, "height": 10, "class_fraction": [0.25, 0.75]}
    first, second = totals.table(["bg"], [chosen])
    assert (first["name"], second["name"]) == ("bg", "class 1")
    assert (first["pool"], first["selection"], first["images"]) == (0.4375, 0.25, 1)
    assert first["means"] == [pytest.approx((100 * 0.4 + 75 * 0.8) / 175, rel=1e-5)]
    assert second["means"] == [pytest.approx(0.2)]


def test_the_script_runs_in_a_browser(tmp_path: Path) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on PATH")
    out = tmp_path / "report.html"
    run = FakeRun([*HOSTILE, "plain"])
    write_report(run, None, out, load_image=picture, overlay=maps)
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            out.as_uri(),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    dom = Scripts(done.stdout.decode())
    classes = [attrs.get("class") for _, attrs in dom.tags]
    assert classes.count("card") == len(HOSTILE) + 1, done.stderr.decode()[-2000:]
    assert dom.by_id("shown") == f"{len(HOSTILE) + 1} of {len(HOSTILE) + 1} shown"
    assert dom.by_id("failure-note") == "3 images could not be scored."
    names = {text for (tag, _), text in zip(dom.tags, dom.texts, strict=True) if tag == "h3"}
    assert names >= {*HOSTILE, "plain"}
    assert "owned" not in {text for (tag, _), text in zip(dom.tags, dom.texts, strict=True) if tag == "title"}
    sources = [attrs.get("src") or "" for tag, attrs in dom.tags if tag == "img"]
    assert any(source.startswith("data:image/jpeg;base64,") for source in sources)
