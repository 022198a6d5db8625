"""alseg index: from tables, runs and pools, labels, failures, queries, kills, and what it says when it cannot."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alseg_fast as alseg
from alseg_fast.cli import main
from alseg_fast.indexing import Filling, build_index
from brute_force import make_histograms
from support import write_pictures

N = 120
HIST = make_histograms(np.random.default_rng(0), N, 12, 3)


@pytest.fixture
def command(capsys):
    def run(*words):
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def write_table(path, ids, hist, **columns):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(hist).reshape(-1)), hist.shape[1])
    pq.write_table(pa.table({"image_id": ids, "histogram": lists, **columns}), path)
    return path


@pytest.fixture
def table(tmp_path):
    labels = [("cat", "dog", "cow")[i % 3] for i in range(N)]
    return write_table(tmp_path / "rows.parquet", [f"{i}.jpg" for i in range(N)], HIST, label=labels)


def test_build_and_query_a_table(command, table, tmp_path):
    out = tmp_path / "index"
    status, text, err = command("index", "build", table, "--out", out, "--channels", 3, "--commit-every", 50, "--json")
    assert status == 0
    told = json.loads(text)
    assert (told["added"], told["failed"], told["skipped"], told["rows"]) == (N, 0, 0, N)
    assert told["classes"] == [{"label": c, "rows": 40} for c in ("cat", "dog", "cow")]
    assert "alseg: index: 120 images committed" in err
    index = alseg.HistogramIndex.load(out)
    assert index.blocks == {c: [40] for c in ("cat", "dog", "cow")}
    expected = index.search(HIST[4:5], "dog", 3, exclude=["4.jpg"])
    status, text, _ = command("index", "query", out, "--id", "4.jpg", "-k", 3, "--json")
    told = json.loads(text)
    assert (status, told["label"], told["certified"], told["rows"]) == (0, "dog", True, 39)
    assert [n["id"] for n in told["neighbours"]] == expected.ids[0].tolist()
    assert [n["distance"] for n in told["neighbours"]] == expected.distances[0].tolist()
    status, text, _ = command("index", "query", out, "--id", "4.jpg", "--label", "cow", "--approximate", "-k", 2)
    assert text.count("\n") == 4
    assert "certified" in text
    status, text, _ = command("index", "--json", "query", out, "--id", "4.jpg", "--within", "1e-9")
    assert len(json.loads(text)["neighbours"]) < 10


def test_add_refuses_or_skips_what_is_there(command, table, tmp_path):
    out = tmp_path / "index"
    first = write_table(tmp_path / "first.parquet", [f"{i}.jpg" for i in range(70)], HIST[:70], label=["cat"] * 70)
    command("index", "build", first, "--out", out, "--histogram", "rgb:8", "--channels", 3)
    status, _, err = command("index", "build", first, "--out", out)
    assert (status, err.count("\n")) == (2, 1)
    status, _, err = command("index", "add", out, table)
    assert status == 2
    assert "70 images of" in err
    assert "such as '0.jpg'; give --skip-existing to leave them out" in err
    assert len(alseg.HistogramIndex.load(out)) == 70
    status, text, _ = command("index", "add", out, table, "--skip-existing", "--json")
    told = json.loads(text)
    assert (status, told["added"], told["skipped"], told["rows"]) == (0, 50, 70, N)
    status, text, _ = command("index", "add", out, table, "--skip-existing", "--json")
    assert json.loads(text)["added"] == 0
    status, text, _ = command("index", "build", table, "--out", out, "--channels", 3, "--overwrite", "--json")
    assert json.loads(text)["rows"] == N


def test_rows_without_a_usable_histogram_or_label_are_recorded(command, tmp_path):
    hist = HIST[:8].copy()
    hist[1, 0], hist[2, 3], hist[3, 4:8] = np.nan, -1, 0
    labels = ["a", "a", "a", "a", None, "b", "b", "b"]
    source = write_table(tmp_path / "rows.parquet", list(range(8)), hist, label=labels)
    out = tmp_path / "index"
    status, text, _ = command("index", "build", source, "--out", out, "--channels", 3, "--json")
    told = json.loads(text)
    assert (status, told["added"], told["failed"]) == (0, 4, 4)
    failures = pq.read_table(out / "failures.parquet").to_pylist()
    assert [(row["image_id"], row["stage"]) for row in failures] == [
        ("1", "histogram"), ("2", "histogram"), ("3", "histogram"), ("4", "label"),
    ]  # fmt: skip
    status, text, _ = command("inspect", out, "--json")
    shown = json.loads(text)
    assert (shown["rows"], shown["ids"], sum(f["images"] for f in shown["failures"])) == (4, "int", 4)
    assert command("inspect", out)[1].count("\n") > 8
    assert command("index", "build", source, "--out", out, "--channels", 3, "--overwrite", "--strict")[0] == 1
    # Images that succeed later are failures no more.
    whole = write_table(tmp_path / "whole.parquet", list(range(8)), HIST[:8], label=["a"] * 8)
    status, text, _ = command("index", "add", out, whole, "--skip-existing", "--json")
    assert json.loads(text)["added"] == 4
    assert not (out / "failures.parquet").exists()


def test_labels_come_from_where_they_are_asked_for(command, table, tmp_path):
    manifest = tmp_path / "labels.parquet"
    names = [f"{i}.jpg" for i in reversed(range(N))]
    pq.write_table(pa.table({"image_id": names, "label": list(reversed(range(N)))}), manifest)
    for words, classes in (
        ((), 3),
        (("--labels", "none"), 1),
        (("--labels", manifest), N),
    ):
        status, text, _ = command(
            "index", "build", table, "--out", tmp_path / "index", "--channels", 3, "--overwrite", "--json", *words
        )
        told = json.loads(text)
        assert (status, len(told["classes"]), told["failed"]) == (0, classes, 0)
    status, text, _ = command("index", "query", tmp_path / "index", "--id", "7.jpg", "--label", "9", "--json")
    assert [n["id"] for n in json.loads(text)["neighbours"]] == ["9.jpg"]


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (("build", "no-such-pool", "--out", "OUT"), 1, "no-such-pool"),
        (("build", "TABLE", "--out", "OUT", "--histogram", "cmyk"), 2, "histogram must be"),
        (("build", "TABLE", "--out", "OUT", "--histogram", "rgb:4:joint", "--channels", 3), 2, "--channels must be 1"),
        (("build", "TABLE", "--out", "OUT", "--channels", 5), 1, "dim must be a multiple of channels; got 12 and 5"),
        (("build", "TABLE", "--out", "OUT", "--weights", "some"), 2, "must be equal, published or numbers"),
        (("build", "TABLE", "--out", "OUT", "--weights", "1,2"), 1, "weights must be None"),
        (("build", "TABLE", "--out", "OUT", "--max-memory", "10"), 2, "must be a size of at least 1M"),
        (("build", "TABLE", "--out", "OUT", "--labels", "predicted"), 2, "--labels predicted needs a RUN"),
        (("build", "TABLE", "--out", "OUT", "--labels", "TABLE2"), 2, "has none of the images"),
        (("build", "TABLE", "--out", "FOLDER"), 1, "is not empty and no index"),
        (("add", "FOLDER", "TABLE"), 1, "is not an index"),
        (("add", "INDEX", "TABLE2"), 2, "have 6 numbers, those of"),
        (("add", "INDEX", "FOLDER"), 2, "does not say which histogram it holds"),
        (("query", "INDEX", "--id", "x"), 2, "x is not in "),
        (("query", "INDEX", "--id", "1.jpg", "--label", "x"), 1, "labels must be classes of the index: 'cat'"),
        (("query", "INDEX", "--image", "TABLE"), 2, "does not say which histogram it holds"),
        (("query", "INDEX"), 2, "one of the arguments --id --image is required"),
        (("query", "FOLDER", "--id", "x"), 1, "is not an index"),
        ((), 2, "ACTION"),
    ],
)
def test_wrong_requests_are_one_line(command, table, tmp_path, words, status, part):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    other = write_table(tmp_path / "other.parquet", [f"z{i}" for i in range(3)], HIST[:3, :6], label=[1, 2, 3])
    places = {"TABLE": table, "TABLE2": other, "FOLDER": folder, "OUT": tmp_path / "out", "INDEX": tmp_path / "index"}
    if "INDEX" in words:
        build_index(table, tmp_path / "index", channels=3)
    code, out, err = command("index", *[places.get(word, word) for word in words])
    assert (code, out) == (status, "")
    assert err.count("\n") == 1
    assert part in err


def test_options_from_a_file(command, table, tmp_path):
    config = tmp_path / "index.yaml"
    config.write_text(f"out: {tmp_path / 'index'}\nchannels: 3\nlabels: none\njson: true\nweights: [1, 2, 3]\n")
    status, text, _ = command("index", "build", table, "--config", config)
    assert (status, json.loads(text)["classes"]) == (0, [{"label": None, "rows": N}])
    assert alseg.HistogramIndex.load(tmp_path / "index").weights.tolist() == [1, 2, 3]


def test_memory_bounds_the_blocks(table, tmp_path):
    whole = build_index(table, tmp_path / "whole", channels=3)
    reports = []
    filling = Filling(max_memory=12 * 4 * 6 * 16, on_commit=lambda *report: reports.append(report))
    cut = build_index(table, tmp_path / "cut", channels=3, filling=filling)
    assert whole.rows == cut.rows == N
    assert len(reports) >= 7
    loaded = [alseg.HistogramIndex.load(tmp_path / name) for name in ("whole", "cut")]
    assert max(max(sizes) for sizes in loaded[1].blocks.values()) < 49
    found = [ix.search(HIST[:9], ["cat", "dog", "cow"] * 3, 40) for ix in loaded]
    assert np.array_equal(found[0].ids, found[1].ids)
    assert np.array_equal(found[0].distances, found[1].distances)


def test_a_pool_of_pictures(command, tmp_path):
    pool = write_pictures(tmp_path / "pool", 12)
    (pool / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "index"
    status, text, _ = command("index", "build", pool, "--out", out, "--histogram", "rgb:16", "--workers", 2, "--json")
    told = json.loads(text)
    assert (status, told["added"], told["failed"], told["rows"]) == (0, 12, 1, 12)
    assert pq.read_table(out / "failures.parquet").column("image_id").to_pylist() == ["broken.jpg"]
    status, text, _ = command("index", "query", out, "--image", pool / "img-0003.jpg", "-k", 1, "--json")
    told = json.loads(text)["neighbours"]
    assert [(n["id"], n["distance"]) for n in told] == [("img-0003.jpg", 0.0)]
    assert alseg.HistogramIndex.load(out).info == {"histogram": "rgb:16"}
    write_pictures(pool, 3, first=12)
    status, text, _ = command("index", "add", out, pool, "--skip-existing", "--json")
    told = json.loads(text)
    assert (told["added"], told["failed"], told["skipped"]) == (3, 1, 12)


def test_a_run_and_the_labels_of_its_pool(command, tiny_model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 9)
    manifest = tmp_path / "pool.csv"
    rows = [f"img-{i:04d}.jpg,pool/img-{i:04d}.jpg,{'ab'[i % 2]}" for i in range(9)]
    manifest.write_text("\n".join(["image_id,uri,label", *rows, ""]))
    run, out = tmp_path / "run", tmp_path / "index"
    command("score", manifest, "--model", tiny_model, "--out", run, "--histogram", "rgb:16")
    status, text, err = command("index", "build", run, "--out", out, "--json")
    assert (status, err.count("error")) == (0, 0)
    assert json.loads(text)["classes"] == [{"label": "a", "rows": 5}, {"label": "b", "rows": 4}]
    index = alseg.HistogramIndex.load(out)
    assert (index.dim, index.channels, index.info) == (48, 3, {"histogram": "rgb:16"})
    status, text, _ = command("index", "query", out, "--image", pool / "img-0002.jpg", "--label", "a", "--json")
    nearest = json.loads(text)["neighbours"][0]
    assert nearest["id"] == "img-0002.jpg"
    assert nearest["distance"] < 1e-6  # the RUN holds histograms as float16
    status, text, _ = command("index", "build", run, "--out", out, "--overwrite", "--labels", "predicted", "--json")
    assert {c["label"] for c in json.loads(text)["classes"]} <= {"sky", "road", "tree", "car"}
    status, _, err = command("index", "build", run, "--out", out, "--overwrite", "--histogram", "rgb:8")
    assert (status, err.count("\n")) == (2, 1)
    plain = tmp_path / "plain"
    command("score", manifest, "--model", tiny_model, "--out", plain)
    status, _, err = command("index", "build", plain, "--out", out, "--overwrite")
    assert status == 1
    assert "has no histograms; score the pool with --histogram" in err


@pytest.mark.parametrize("fixed", [True, False])
def test_lists_of_every_kind_and_with_nulls(command, tmp_path, fixed):
    rows = [HIST[0].tolist(), None, [*HIST[1].tolist()[:-1], None], HIST[2].tolist()]
    if not fixed:
        rows.append([1.0, 2.0])
    kind = pa.list_(pa.float64(), 12) if fixed else pa.large_list(pa.float64())
    source = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"image_id": list(range(len(rows))), "histogram": pa.array(rows, kind)}), source)
    status, text, _ = command("index", "build", source, "--out", tmp_path / "index", "--channels", 3, "--json")
    assert (status, json.loads(text)["added"]) == (0, 2)
    assert alseg.HistogramIndex.load(tmp_path / "index").ids().tolist() == [0, 3]


def test_kills_of_add_lose_nothing_that_was_reported(tmp_path):
    n = 2400
    hist = make_histograms(np.random.default_rng(1), n, 12, 3)
    ids = [f"{i:05d}.jpg" for i in range(n)]
    source = write_table(tmp_path / "all.parquet", ids, hist, label=[i % 3 for i in range(n)])
    first = write_table(tmp_path / "first.parquet", ids[:1], hist[:1], label=[0])
    out = tmp_path / "index"
    build_index(first, out, channels=3)
    words = [sys.executable, "-P", "-m", "alseg_fast", "index", "add", str(out), str(source)]
    words += ["--skip-existing", "--commit-every", "60"]
    rng = random.Random(0)
    kills = 0
    while True:
        before = len(alseg.HistogramIndex.load(out, verify=True))
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [process.stderr.readline()]
        if kills < 8:
            time.sleep(rng.uniform(0.0, 0.03))
            process.send_signal(signal.SIGKILL)
        _, rest = process.communicate()
        index = alseg.HistogramIndex.load(out, verify=True)
        committed = [line.split()[2] for line in [*lines, *rest.splitlines()] if line.endswith((b"committed", b"ed\n"))]
        reported = int(committed[-1].replace(b",", b"")) if committed else 0
        # What was reported is there; what was in the making when the kill came may be.
        assert before + reported <= len(index) <= before + reported + 60
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, rest.decode()
        kills += 1
    assert kills >= 4
    assert index.ids().tolist() == ids
    assert np.array_equal(index.rows(ids), hist)
    assert index.labels_of(ids) == [i % 3 for i in range(n)]
