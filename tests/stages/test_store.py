"""The RUN directory: atomic parts, resume, refusals, several writers."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast import atomic
from alseg_fast.errors import DataError, RunError, UsageError
from alseg_fast.stages import run_finish, run_layout
from alseg_fast.stages.run_pool import pool_digest
from alseg_fast.stages.run_reader import count_run
from alseg_fast.stages.store import RunWriter, open_run

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["road", "sky", "car"]
KEEPS = "make room or fix the access there and run the same command again: finished parts are kept"


def make_pool(count: int = 10) -> pa.Table:
    ids = [f"set{i % 3}/image_{i:04d}.jpg" for i in range(count)]
    return pa.table(
        {
            "image_id": ids,
            "uri": [f"file:///pool/{name}" for name in ids],
            "offset": pa.array([None] * count, pa.int64()),
            "size": pa.array([1000 + i for i in range(count)], pa.int64()),
        }
    )


def open_writer(out: Path, pool: pa.Table | None = None, **changes: Any) -> RunWriter:
    arguments: dict[str, Any] = {
        "pool": make_pool() if pool is None else pool,
        "pool_info": {"source": "pool", "kind": "directory", "skipped_files": 0},
        "config": {"maps": False, "size": [64, 64]},
        "model": {"path": "m.onnx", "sha256": "ab" * 32, "spec": {"resize": "stretch"}},
        "classes": CLASSES,
        "measures": ["entropy"],
        "shard_size": 4,
    }
    return RunWriter.open(out, **{**arguments, **changes})


def row_of(image_id: str, measures: list[str]) -> dict[str, Any]:
    random = np.random.default_rng(list(image_id.encode()))
    row: dict[str, Any] = {"image_id": image_id, "width": 64, "height": 48, "predicted_label": 1}
    for measure in measures:
        row |= {f"{measure}_{end}": np.float32(random.random()) for end in ("mean", "max", "top")}
        row[f"class_{measure}"] = np.array([random.random(), np.nan, 0.25], np.float32)
    row["class_fraction"] = random.random(3).astype(np.float32)
    row["phash"] = int(random.integers(0, 2**64, dtype=np.uint64))
    return row


def score_shard(writer: RunWriter, index: int, broken: tuple[str, ...] = ()) -> None:
    ids = writer.shard_rows(index).column("image_id").to_pylist()
    rows = [row_of(name, writer.info["measures"]) for name in ids if name not in broken]
    failures = [{"image_id": name, "stage": "decode", "error": "not a\njpeg"} for name in ids if name in broken]
    writer.commit(index, rows[::-1], failures)


def score_all(out: Path, broken: tuple[str, ...] = (), **changes: Any) -> RunWriter:
    writer = open_writer(out, **changes)
    for index in writer.pending():
        score_shard(writer, index, broken)
    writer.finish({"cpu_seconds": {"decode": 1.5}})
    return writer


def part_bytes(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for kind in ("scores", "failures")
        for path in sorted((run / kind).glob("part-*"))
    }


def leftovers(run: Path) -> list[str]:
    return [path.name for path in run.rglob("*.alseg-tmp")]


# --- one run, from begin to end ---


def test_a_finished_run_has_the_contract_layout(tmp_path: Path) -> None:
    score_all(tmp_path / "run", broken=("set1/image_0001.jpg",))
    run = open_run(tmp_path / "run")
    assert sorted(os.listdir(run.path)) == [
        "_SUCCESS",
        "failures",
        "pool.arrow",
        "run.json",
        "scores",
        "timings",
    ]
    assert run.complete
    assert run.counts == {"rows": 9, "failures": 1, "parts_done": 3}
    assert run.info["counts"] == run.counts
    assert run.classes == CLASSES
    assert run.measures == ["entropy"]
    assert run.scores().column("image_id").to_pylist() == [
        name for name in make_pool().column("image_id").to_pylist() if name != "set1/image_0001.jpg"
    ]
    assert run.failures().to_pylist() == [
        {
            "image_id": "set1/image_0001.jpg",
            "uri": "file:///pool/set1/image_0001.jpg",
            "stage": "decode",
            "error": "not a jpeg",
        }
    ]


def test_score_columns_have_the_contract_names_types_and_units(tmp_path: Path) -> None:
    score_all(tmp_path / "run", measures=["entropy", "margin"])
    schema = open_run(tmp_path / "run").score_schema()
    assert {field.name: str(field.type) for field in schema} == {
        "image_id": "string",
        "uri": "string",
        "width": "int32",
        "height": "int32",
        "entropy_mean": "float",
        "entropy_max": "float",
        "entropy_top": "float",
        "margin_mean": "float",
        "margin_max": "float",
        "margin_top": "float",
        "predicted_label": "int32",
        "class_fraction": "list<element: float>",
        "class_entropy": "list<element: float>",
        "class_margin": "list<element: float>",
        "phash": "uint64",
    }
    assert schema.field("entropy_mean").metadata[b"unit"] == b"nats, mean over the image"
    assert all(b"unit" in field.metadata for field in schema)
    assert open_run(tmp_path / "run").info["units"]["width"] == "pixels"


def test_values_come_back_as_given_and_absent_classes_are_null(tmp_path: Path) -> None:
    score_all(tmp_path / "run")
    row = open_run(tmp_path / "run").scores().to_pylist()[5]
    given_row = row_of(row["image_id"], ["entropy"])
    assert row["uri"] == "file:///pool/" + row["image_id"]
    assert row["entropy_mean"] == given_row["entropy_mean"]
    assert row["phash"] == given_row["phash"]
    assert row["class_fraction"] == given_row["class_fraction"].tolist()
    assert row["class_entropy"] == [given_row["class_entropy"][0], None, 0.25]


def test_rows_given_as_a_table_make_the_same_file(tmp_path: Path) -> None:
    score_all(tmp_path / "dicts")
    writer = open_writer(tmp_path / "table")
    for index in writer.pending():
        ids = writer.shard_rows(index).column("image_id").to_pylist()
        rows = [row_of(name, ["entropy"]) for name in ids]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns["phash"] = pa.array(columns["phash"], pa.uint64())
        writer.commit(index, pa.table(columns), [])
    writer.finish()
    assert part_bytes(tmp_path / "dicts") == part_bytes(tmp_path / "table")


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    score_all(tmp_path / "a", broken=("set0/image_0003.jpg",))
    score_all(tmp_path / "b", broken=("set0/image_0003.jpg",))
    assert part_bytes(tmp_path / "a") == part_bytes(tmp_path / "b")


def test_a_part_without_rows_is_still_a_finished_part(tmp_path: Path) -> None:
    everything = tuple(make_pool().column("image_id").to_pylist())
    score_all(tmp_path / "run", broken=everything)
    run = open_run(tmp_path / "run")
    assert run.counts == {"rows": 0, "failures": 10, "parts_done": 3}
    assert run.complete
    assert run.scores().num_rows == 0
    assert list(open_writer(tmp_path / "run").pending()) == []


def test_score_batches_give_the_columns_asked_for_in_that_order(tmp_path: Path) -> None:
    score_all(tmp_path / "run")
    run = open_run(tmp_path / "run")
    batches = list(run.score_batches(["entropy_top", "image_id"]))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    assert batches[0].schema.names == ["entropy_top", "image_id"]
    assert run.scores(["phash"]).column_names == ["phash"]
    with pytest.raises(UsageError, match=r"have no column margin_mean; there are image_id, uri, width"):
        run.score_batches(["margin_mean"])


def test_run_json_is_strict_json_and_says_what_was_done(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "run", versions={"numpy": "2"}, map_ranges={"entropy": (0, np.log(3))})
    for index in writer.pending():
        score_shard(writer, index)
    writer.finish({"cpu_seconds": {"decode": float("nan")}, "peak_bytes": np.int64(7)})
    text = (tmp_path / "run/run.json").read_text()
    info = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in run.json"))
    assert list(info) == [
        "format",
        "alseg_version",
        "created",
        "config",
        "config_hash",
        "model",
        "classes",
        "measures",
        "extra_columns",
        "units",
        "region_units",
        "map_ranges",
        "pool",
        "shard_size",
        "parts",
        "versions",
        "counts",
        "timings",
    ]
    assert info["pool"] == {
        "source": "pool",
        "kind": "directory",
        "skipped_files": 0,
        "images": 10,
        "digest": pool_digest(make_pool()),
    }
    assert info["map_ranges"] == {"entropy": [0, float(np.log(3))]}
    assert info["timings"]["cpu_seconds"] == {"decode": None}
    assert info["timings"]["images"] == 10
    assert info["timings"]["peak_bytes"] == 7


def test_timings_of_several_processes_are_added_up(tmp_path: Path) -> None:
    for shard in ((0, 2), (1, 2)):
        writer = open_writer(tmp_path, shard=shard)
        for index in writer.pending():
            score_shard(writer, index)
        writer.finish({"cpu_seconds": {"decode": 1.5}, "wall_seconds": 2.0, "peak_bytes": 5 + shard[0]})
    timings = open_run(tmp_path).info["timings"]
    assert (timings["processes"], timings["images"]) == (2, 10)
    assert (timings["cpu_seconds"], timings["wall_seconds"]) == ({"decode": 3.0}, 4.0)
    assert timings["peak_bytes"] == 6


def test_further_columns_follow_the_fixed_ones(tmp_path: Path) -> None:
    extra = [pa.field("embedding", pa.list_(pa.float16(), 2), metadata={"unit": "1"})]
    writer = open_writer(tmp_path, score_schema_extra=extra)
    for index in writer.pending():
        ids = writer.shard_rows(index).column("image_id").to_pylist()
        writer.commit(index, [row_of(i, ["entropy"]) | {"embedding": np.ones(2, np.float16)} for i in ids], [])
    writer.finish()
    assert open_run(tmp_path).score_schema().names[-1] == "embedding"
    assert open_run(tmp_path).scores().column("embedding").to_pylist()[9] == [1.0, 1.0]
    with pytest.raises(RunError, match=r"was made with extra_columns=\[embedding: .*\], this command asks"):
        open_writer(tmp_path)


# --- resume ---


def test_finished_shards_are_never_scored_again(tmp_path: Path) -> None:
    first = open_writer(tmp_path / "run")
    score_shard(first, 1)
    assert first.finish().complete is False
    assert not (tmp_path / "run/_SUCCESS").exists()
    assert open_run(tmp_path / "run").counts == {"rows": 4, "failures": 0, "parts_done": 1}
    before = (tmp_path / "run/scores/part-00001.parquet").stat().st_mtime_ns
    second = open_writer(tmp_path / "run")
    assert list(second.pending()) == [0, 2]
    score_all(tmp_path / "run")
    assert (tmp_path / "run/scores/part-00001.parquet").stat().st_mtime_ns == before
    score_all(tmp_path / "whole")
    assert part_bytes(tmp_path / "run") == part_bytes(tmp_path / "whole")


def test_a_repeated_command_changes_nothing(tmp_path: Path) -> None:
    score_all(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    score_all(tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_crash_between_failures_and_scores_leaves_no_false_failure(tmp_path: Path) -> None:
    score_all(tmp_path / "run", broken=("set1/image_0001.jpg",))
    (tmp_path / "run/scores/part-00000.parquet").unlink()
    assert list(open_writer(tmp_path / "run").pending()) == [0]
    assert open_run(tmp_path / "run").failures().num_rows == 0, "a part without scores is not finished"
    score_all(tmp_path / "run")
    score_all(tmp_path / "whole")
    assert part_bytes(tmp_path / "run") == part_bytes(tmp_path / "whole")


def test_a_lost_part_takes_the_success_mark_with_it(tmp_path: Path) -> None:
    writer = score_all(tmp_path / "run")
    (tmp_path / "run/scores/part-00002.parquet").unlink()
    assert list(writer.pending()) == [2]
    assert not (tmp_path / "run/_SUCCESS").exists()


@pytest.mark.parametrize("kind", ["scores", "failures"])
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros"])
def test_a_damaged_part_is_scored_again(
    tmp_path: Path, kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ("set1/image_0004.jpg",)
    score_all(tmp_path / "whole", broken=broken)
    score_all(tmp_path / "run", broken=broken)
    part = tmp_path / "run" / kind / "part-00001.parquet"
    content = part.read_bytes()
    part.write_bytes({"empty": b"", "cut": content[:-9], "zeros": bytes(len(content))}[damage])
    assert count_run(tmp_path / "run", 3) == {"rows": 6, "failures": 0, "parts_done": 2}
    with caplog.at_level(logging.WARNING, "alseg"):
        assert list(open_writer(tmp_path / "run").pending()) == [1]
    assert f"{part} is damaged; its images are scored again" in caplog.messages
    assert open_run(tmp_path / "run").counts["parts_done"] == 2
    score_all(tmp_path / "run", broken=broken)
    assert part_bytes(tmp_path / "run") == part_bytes(tmp_path / "whole")


def test_reading_a_damaged_part_names_it_and_the_remedy(tmp_path: Path) -> None:
    score_all(tmp_path)
    part = tmp_path / "scores/part-00001.parquet"
    part.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(RunError) as caught:
        open_run(tmp_path).scores()
    assert str(caught.value).startswith(f"cannot read {part}: ")
    assert str(caught.value).endswith("; run the same alseg score command again, it repairs damaged parts")


def test_a_part_that_another_process_finished_first_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow, quick = open_writer(tmp_path), open_writer(tmp_path)
    score_shard(quick, 0)
    before = part_bytes(tmp_path)
    with caplog.at_level(logging.WARNING, "alseg"):
        score_shard(slow, 0, broken=("set0/image_0000.jpg",))
    assert part_bytes(tmp_path) == before
    assert caplog.messages == [f"part 0 of {tmp_path} was finished by another process; that one stays"]


def test_a_listing_in_another_order_keeps_the_shards(tmp_path: Path) -> None:
    open_writer(tmp_path)
    pool = make_pool().take(list(range(9, -1, -1)))
    assert open_writer(tmp_path, pool=pool).shard_rows(0).equals(make_pool().slice(0, 4))


def test_an_existing_run_keeps_its_shard_size(tmp_path: Path) -> None:
    open_writer(tmp_path, shard_size=4)
    assert open_writer(tmp_path, shard_size=256).shard_size == 4


def test_leftovers_of_dead_writers_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    score_all(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = atomic.temp_name()
    pid = str(os.getpid())
    gone = tmp_path / "scores" / name.replace(f".{pid}.", f".{dead.pid}.")
    live = tmp_path / "scores" / name
    elsewhere = tmp_path / "maps/.tmp" / name.replace("alseg-tmp", "x.alseg-tmp")
    stale = tmp_path / "maps/.tmp" / name.replace("alseg-tmp", "y.alseg-tmp")
    (tmp_path / "maps/.tmp").mkdir(parents=True)
    for path in (gone, live, elsewhere, stale):
        path.write_bytes(b"half a pa")
    os.utime(stale, (time.time() - 4000,) * 2)
    open_writer(tmp_path)
    assert [path.exists() for path in (gone, live, elsewhere, stale)] == [False, True, True, False]


WORKER = """
    import sys
    sys.path[:0] = {paths!r}
    from pathlib import Path
    from test_store import open_writer, score_shard, make_pool
    writer = open_writer(Path({out!r}), pool=make_pool({images}), shard={shard!r})
    for index in writer.pending():
        name = writer.shard_rows(index).column("image_id")[0].as_py()
        writer.write_map("entropy", name, name.encode() * 20)
        score_shard(writer, index, broken=("set1/image_0004.jpg", "set2/image_0008.jpg"))
    print(writer.finish({{}}).complete)
"""


def start_worker(out: Path, images: int, shard: tuple[int, int] = (0, 1)) -> subprocess.Popen[str]:
    paths = [str(ROOT), str(Path(__file__).parent)]
    code = textwrap.dedent(WORKER).format(paths=paths, out=str(out), images=images, shard=shard)
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_writer_killed_at_random_moments_ends_with_the_same_rows(tmp_path: Path) -> None:
    images = 120
    broken = ("set1/image_0004.jpg", "set2/image_0008.jpg")
    score_all(tmp_path / "whole", broken=broken, pool=make_pool(images))
    parts = tmp_path / "run/scores"
    kills = 0
    for target in (0, 1, 3, 9, 17, 24):
        worker = start_worker(tmp_path / "run", images)
        while worker.poll() is None and len(list(parts.glob("part-*"))) < target:
            time.sleep(0.001)
        time.sleep(0.0007 * target)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        kills += worker.returncode == -signal.SIGKILL
    assert kills >= 4, "the test must interrupt something"
    last = start_worker(tmp_path / "run", images)
    out, err = last.communicate()
    assert out == "True\n", err
    assert part_bytes(tmp_path / "run") == part_bytes(tmp_path / "whole")
    assert leftovers(tmp_path / "run") == []
    for name in make_pool(images).column("image_id").to_pylist()[::4]:
        assert open_run(tmp_path / "run").map_path("entropy", name).read_bytes() == name.encode() * 20


# --- several writers ---


@settings(max_examples=50, deadline=None)
@given(images=st.integers(0, 60), shard_size=st.integers(1, 9), count=st.integers(1, 7))
def test_shards_cover_every_image_once(
    tmp_path_factory: pytest.TempPathFactory, images: int, shard_size: int, count: int
) -> None:
    out = tmp_path_factory.mktemp("run")
    pool = make_pool(images)
    seen: list[str] = []
    for index in range(count):
        writer = open_writer(out, pool=pool, shard_size=shard_size, shard=(index, count))
        assert all(part % count == index for part in writer.pending())
        for part in writer.pending():
            seen += writer.shard_rows(part).column("image_id").to_pylist()
    assert sorted(seen) == sorted(pool.column("image_id").to_pylist())


def test_processes_that_start_at_once_share_one_run(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path / "run", 80, (index, 3)) for index in range(3)]
    results = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], results
    score_all(tmp_path / "whole", broken=("set1/image_0004.jpg", "set2/image_0008.jpg"), pool=make_pool(80))
    assert part_bytes(tmp_path / "run") == part_bytes(tmp_path / "whole")
    run = open_run(tmp_path / "run")
    assert run.info["counts"] == {"rows": 78, "failures": 2, "parts_done": 20}
    assert run.info["timings"]["processes"] == 3
    assert (tmp_path / "run/_SUCCESS").exists()
    assert leftovers(tmp_path / "run") == []


def test_the_loser_of_the_race_is_checked_against_the_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link_after_a_rival(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "link", real)
        open_writer(tmp_path, measures=["margin"])
        real(source, target)

    monkeypatch.setattr(os, "link", link_after_a_rival)
    with pytest.raises(RunError, match=r"was made with measures=\[margin\], this command asks for \[entropy\]"):
        open_writer(tmp_path)
    assert open_run(tmp_path).measures == ["margin"]
    assert leftovers(tmp_path) == []


def test_a_run_begins_where_hard_links_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    score_all(tmp_path)
    assert open_run(tmp_path).complete
    assert leftovers(tmp_path) == []


def test_counts_are_right_when_a_part_appears_during_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = open_writer(tmp_path, shard=(0, 2)), open_writer(tmp_path, shard=(1, 2))
    for index in one.pending():
        score_shard(one, index)
    real = run_finish.count_run

    def count_then_rival_finishes(run: Path, parts: int) -> dict[str, int]:
        counts = real(run, parts)
        monkeypatch.setattr(run_finish, "count_run", real)
        score_shard(two, 1)
        two.finish({})
        return counts

    monkeypatch.setattr(run_finish, "count_run", count_then_rival_finishes)
    assert one.finish({}).complete
    assert open_run(tmp_path).info["counts"] == {"rows": 10, "failures": 0, "parts_done": 3}
    assert (tmp_path / "_SUCCESS").exists()


# --- refusals ---


def message_of(error: type[Exception], call: Any) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_another_config_is_refused_by_name(tmp_path: Path) -> None:
    open_writer(tmp_path)
    assert message_of(RunError, lambda: open_writer(tmp_path, measures=["entropy", "margin"])) == (
        f"{tmp_path} was made with measures=[entropy], this command asks for [entropy, margin]; "
        "use another --out or --overwrite"
    )
    changed = {"path": "m.onnx", "sha256": "cd" * 32, "spec": {"resize": "letterbox", "scale": 0.5}}
    config = {"maps": True, "size": (64, 64)}
    assert message_of(RunError, lambda: open_writer(tmp_path, model=changed, config=config)) == (
        f"{tmp_path} was made with maps=false, model.sha256={'ab' * 32}, model.spec.resize=stretch, "
        f"model.spec.scale=(not set), this command asks for maps=true, model.sha256={'cd' * 32}, "
        "model.spec.resize=letterbox, model.spec.scale=0.5; use another --out or --overwrite"
    )


def test_the_same_model_at_another_path_is_the_same_model(tmp_path: Path) -> None:
    open_writer(tmp_path)
    model = {"path": "/other/m.onnx", "sha256": "ab" * 32, "spec": {"resize": "stretch"}}
    assert open_writer(tmp_path, model=model).info["model"]["path"] == "m.onnx"


def test_another_pool_is_refused_by_image(tmp_path: Path) -> None:
    open_writer(tmp_path)
    pool = make_pool(15).slice(1)
    assert message_of(RunError, lambda: open_writer(tmp_path, pool=pool)) == (
        f"the pool differs from the one {tmp_path} was made from: added set0/image_0012.jpg, "
        "set1/image_0010.jpg, set1/image_0013.jpg and 2 more; removed set0/image_0000.jpg; "
        "score new images into another --out, or start again with --overwrite"
    )
    sizes = pa.array([1000, 999, *range(1002, 1010)], pa.int64())
    pool = make_pool().set_column(3, "size", sizes)
    assert message_of(RunError, lambda: open_writer(tmp_path, pool=pool)) == (
        f"the pool differs from the one {tmp_path} was made from: changed set1/image_0001.jpg; "
        "score new images into another --out, or start again with --overwrite"
    )
    unknown = make_pool().set_column(3, "size", pa.nulls(10, pa.int64()))
    assert open_writer(tmp_path, pool=unknown).images == 10, "an unknown size contradicts nothing"


def test_a_lost_pool_listing_is_written_again_or_refused(tmp_path: Path) -> None:
    open_writer(tmp_path)
    for content in (None, b"", b"ARROW1 and not much else"):
        (tmp_path / "pool.arrow").unlink()
        if content is not None:
            (tmp_path / "pool.arrow").write_bytes(content)
        assert open_writer(tmp_path).shard_rows(2).equals(make_pool().slice(8, 2))
    (tmp_path / "pool.arrow").unlink()
    assert message_of(RunError, lambda: open_writer(tmp_path, pool=make_pool(11))) == (
        f"{tmp_path} was made from another pool (10 images, this one has 11) and its pool.arrow is missing; "
        "use another --out or --overwrite"
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/part-00000.parquet").write_text("mine")
    assert message_of(RunError, lambda: open_writer(tmp_path, overwrite=overwrite)) == (
        f"{tmp_path} is not empty and not a run (it has scores and no run.json); choose another --out"
    )
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "scores/part-00000.parquet").read_text() == "mine"


def test_a_foreign_run_json_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"scripts": {"test": "jest"}}')
    assert message_of(RunError, lambda: open_writer(tmp_path, overwrite=True)) == (
        f"{tmp_path}/run.json is not the description of a run; score the pool into another --out"
    )


def test_overwrite_removes_what_the_engine_made_and_nothing_else(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "photo.png").write_text("keep")
    writer = score_all(run, broken=("set1/image_0001.jpg",))
    writer.write_map("entropy", "set0/image_0000.jpg", b"png")
    kept = ["notes.txt", "scores/my_table.parquet", "maps/readme.md", "maps/entropy/set0/mine.txt"]
    for name in kept:
        (run / name).write_text("keep")
    (run / "maps/link").symlink_to(outside)
    made = open_writer(run, measures=["margin"], overwrite=True)
    assert list(made.pending()) == [0, 1, 2]
    assert made.info["measures"] == ["margin"]
    assert open_run(run).info == made.info
    left = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert left == sorted([*kept, "pool.arrow", "run.json"])
    assert (outside / "photo.png").read_text() == "keep"


def test_overwrite_of_an_absent_or_empty_directory_just_begins(tmp_path: Path) -> None:
    assert open_writer(tmp_path / "deep/er", overwrite=True).parts == 3
    (tmp_path / "volume/lost+found").mkdir(parents=True)
    assert open_writer(tmp_path / "volume", overwrite=True).parts == 3


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    assert message_of(UsageError, lambda: open_writer(tmp_path, shard=(2, 2))) == (
        "--shard must be I/N with 0 <= I < N; got 2/2."
    )
    assert message_of(UsageError, lambda: open_writer(tmp_path, shard_size=0)) == ("shard_size must be >= 1; got 0.")
    assert message_of(UsageError, lambda: open_writer(tmp_path, shard=(0, 2), overwrite=True)) == (
        "--overwrite with --shard 0/2 would delete the work of the other shards; "
        "remove the RUN once, then start the shards without --overwrite"
    )
    (tmp_path / "file").write_text("")
    assert message_of(RunError, lambda: open_writer(tmp_path / "file")) == (
        f"cannot make the directory {tmp_path}/file: File exists; choose another --out"
    )


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    give = "give the --out of an alseg score command"
    assert message_of(RunError, lambda: open_run(tmp_path / "no")) == f"RUN {tmp_path}/no does not exist; {give}"
    (tmp_path / "file").write_text("")
    assert message_of(RunError, lambda: open_run(tmp_path / "file")) == (
        f"RUN {tmp_path}/file is not a directory; {give}"
    )
    assert message_of(RunError, lambda: open_run(tmp_path)) == (f"{tmp_path} is not a run: it has no run.json; {give}")
    (tmp_path / "run.json").write_text('{"format": 1')
    assert message_of(RunError, lambda: open_run(tmp_path)).startswith(f"cannot read {tmp_path}/run.json: ")
    (tmp_path / "run.json").write_text('{"format": 2}')
    assert message_of(RunError, lambda: open_run(tmp_path)) == (
        f"{tmp_path}/run.json has format 2, this version of alseg-fast reads up to 1; install a newer alseg-fast"
    )
    (tmp_path / "run.json").write_text('{"format": 1, "config": {}}')
    assert message_of(RunError, lambda: open_run(tmp_path)) == (
        f"{tmp_path}/run.json lacks config_hash, model, classes, measures, pool, shard_size, parts; "
        "score the pool into another --out"
    )


def test_no_image_of_a_shard_gets_lost(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, pool=make_pool(2))
    good = [row_of(name, ["entropy"]) for name in ("set0/image_0000.jpg", "set1/image_0001.jpg")]
    failed = {"image_id": "set1/image_0001.jpg", "stage": "decode", "error": "x"}

    def refusal(rows: list[dict[str, Any]], failures: list[dict[str, Any]]) -> str:
        return message_of(UsageError, lambda: writer.commit(0, rows, failures))

    told = "commit: every image of a shard must be in rows or in failures, once; got "
    assert refusal(good[:1], []) == told + "1 in neither ['set1/image_0001.jpg'] and 0 in both []."
    assert refusal(good, [failed]) == told + "0 in neither [] and 1 in both ['set1/image_0001.jpg']."
    assert refusal([*good, good[0]], []) == (
        "commit: image_id must be one of this shard, once; got 0 of other shards [] and 1 repeated."
    )
    assert refusal([{**good[0], "entropie_mean": 1.0}, good[1]], []) == (
        "commit: rows must have columns of the score schema; got entropie_mean."
    )
    assert refusal([{**good[0], "entropy_mean": None}, good[1]], []) == (
        "commit: entropy_mean must be given for every row; got 1 nulls."
    )
    assert refusal([{**good[0], "class_fraction": [0.5]}, good[1]], []) == (
        "commit: class_fraction must have one entry a class [C] = [3]; got lengths [1, 3]."
    )
    assert refusal(good[:1], [{**failed, "stage": "lunch"}]) == (
        "commit: stage must be one of fetch, decode, infer, score, write; got lunch."
    )
    assert list(writer.pending()) == [0]


# --- disk full ---


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    writer = open_writer(tmp_path)
    score_shard(writer, 0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        assert message_of(RunError, lambda: score_shard(writer, 1)) == (
            f"cannot write {tmp_path}/scores/part-00001.parquet: No space left on device; {KEEPS}"
        )
    assert leftovers(tmp_path) == []
    assert list(open_writer(tmp_path).pending()) == [1, 2]
    assert open_run(tmp_path).scores().num_rows == 4


def test_a_file_that_may_not_grow_is_a_clean_error(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import resource, sys
        sys.path[:0] = {paths!r}
        from pathlib import Path
        from test_store import open_writer, score_shard
        from alseg_fast.errors import RunError
        writer = open_writer(Path({out!r}))
        score_shard(writer, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for act in (lambda: score_shard(writer, 1), lambda: writer.write_map("entropy", "a", bytes(2000))):
            try:
                act()
            except RunError as exc:
                print(exc)
        """
    ).format(paths=[str(ROOT), str(Path(__file__).parent)], out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"cannot write {tmp_path}/scores/part-00001.parquet: File too large; {KEEPS}",
        f"cannot write {tmp_path}/maps/entropy/a.png: File too large; {KEEPS}",
    ]
    assert leftovers(tmp_path) == []
    assert list(open_writer(tmp_path).pending()) == [1, 2]


def test_the_scores_part_is_renamed_last_and_all_else_is_on_disk_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd: int) -> None:
        done.append("fsync " + os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path))
        real_fsync(fd)

    def replace(source: Any, target: Any) -> None:
        done.append("rename " + os.path.relpath(target, tmp_path))
        real_replace(source, target)

    score_shard(writer, 1)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    writer.write_map("labels", "set0/image_0000.jpg", b"x")
    score_shard(writer, 0, broken=("set1/image_0001.jpg",))
    last = done.index("rename scores/part-00000.parquet")
    assert done[last - 1].startswith("fsync scores/.")
    assert done[last + 1 :] == ["fsync scores"]
    for folder in ("set0/image_0000.jpg.png", "set0", "", ".."):
        assert "fsync " + os.path.normpath(f"maps/labels/{folder}") in done[:last]
    failures = done.index("rename failures/part-00000.parquet")
    assert done[failures - 1].startswith("fsync failures/.")
    assert done[failures + 1] == "fsync failures"
    assert failures < last
    assert done.index("rename maps/labels/set0/image_0000.jpg.png") < failures


# --- maps ---


def test_maps_lie_where_the_contract_says(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.write_map("entropy", "set0/image_0000.jpg", b"heat")
    writer.write_map("labels", "https://host/a.jpg", b"labels")
    score_shard(writer, 0)
    assert (tmp_path / "maps/entropy/set0/image_0000.jpg.png").read_bytes() == b"heat"
    assert open_run(tmp_path).map_path("labels", "https://host/a.jpg").read_bytes() == b"labels"


@pytest.mark.parametrize(
    "image_id",
    ["../x", "a/../../x", "/etc/x", "a//b", "./a", "a/.", "", "..", "a\0b", "https:/host/a", "http:///x"],
)
def test_an_image_id_cannot_leave_the_maps(tmp_path: Path, image_id: str) -> None:
    writer = open_writer(tmp_path / "run")
    assert message_of(DataError, lambda: writer.write_map("labels", image_id, b"x")) == (
        f"image_id {image_id!r} cannot name a map file; use ids without empty, '.' or '..' parts"
    )
    assert not list(tmp_path.rglob("*.png"))


@given(first=st.text("a./:hp", max_size=8), second=st.text("a./:hp", max_size=8))
def test_two_ids_never_share_a_map(first: str, second: str) -> None:
    paths = []
    for name in {first, second}:
        try:
            paths.append(os.path.normpath(run_layout.map_path(Path("/run"), "labels", name)))
        except DataError:
            continue
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("/run/maps/labels/") for path in paths)


def test_an_image_id_that_is_no_file_name_fails_alone(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    long = "x" * 300
    assert message_of(DataError, lambda: writer.write_map("labels", long, b"x")) == (
        f"cannot name a map file after image_id {long!r}: File name too long; "
        "use shorter ids, none of which is a directory of another"
    )
    writer.write_map("labels", "a", b"x")
    with pytest.raises(DataError, match=r"cannot name a map file after image_id 'a\.png/b'"):
        writer.write_map("labels", "a.png/b", b"x")
    assert message_of(UsageError, lambda: writer.write_map("margin", "a", b"x")) == (
        "write_map: measure must be one of labels, entropy; got margin."
    )
    assert leftovers(tmp_path) == []


# --- details ---


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20), st.integers(0, 20), st.data())
def test_the_pool_digest_sees_values_and_order_but_not_layout(ids: list[str], cut: int, data: st.DataObject) -> None:
    cut = min(cut, len(ids))
    uris = [name + "!" for name in ids]
    plain = pa.table({"image_id": ids, "uri": uris})
    chunked = pa.concat_tables([plain.slice(0, cut), plain.slice(cut)])
    assert (
        pool_digest(plain)
        == pool_digest(chunked)
        == pool_digest(chunked.cast(pa.schema({"image_id": pa.large_string(), "uri": pa.large_string()})))
    )
    order = data.draw(st.permutations(range(len(ids))))
    shuffled = plain.take(order)
    assert (pool_digest(shuffled) == pool_digest(plain)) == shuffled.equals(plain)


def test_parts_are_compressed_with_zstd(tmp_path: Path) -> None:
    score_all(tmp_path)
    column = pq.read_metadata(tmp_path / "scores/part-00000.parquet").row_group(0).column(4)
    assert column.compression == "ZSTD"


def test_the_pool_is_read_without_a_copy(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    writer = open_writer(tmp_path, pool=make_pool(20_000))
    rows = writer.shard_rows(3)
    assert rows.num_rows == 4
    assert pa.total_allocated_bytes() - before < 100_000
