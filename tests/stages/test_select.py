"""Selection: the same picks as a plain sort, whatever the parts, the order and the ties."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.errors import AlsegError, RunError, UsageError
from alseg_fast.stages.run_reader import open_run
from alseg_fast.stages.select import BATCH_SCHEMA, batch_facts, read_batch, select
from alseg_fast.stages.store import RunWriter
from alseg_fast.stages.strategies import STRATEGIES, Candidates, Picks, Request, id_hashes, top


def make_run(
    out: Path,
    scores: dict[str, float | None],
    *,
    shard_size: int = 4,
    measures: tuple[str, ...] = ("entropy",),
    parts: int | None = None,
) -> Path:
    """A RUN whose column `quality` has the given scores; the measures have 0.25, 0.5, ... by position."""
    pool = pa.table({"image_id": pa.array(scores, pa.string()), "uri": [f"file:///{name}" for name in scores]})
    writer = RunWriter.open(
        out,
        pool=pool,
        pool_info={},
        config={},
        model={},
        classes=["a"],
        measures=measures,
        score_schema_extra=[pa.field("quality", pa.float64()), pa.field("note", pa.string())],
        shard_size=shard_size,
    )
    position = {name: index for index, name in enumerate(scores)}
    for index in list(writer.pending())[:parts]:
        rows = []
        for name in writer.shard_rows(index).column("image_id").to_pylist():
            row: dict[str, Any] = {"image_id": name, "width": 8, "height": 8, "quality": scores[name]}
            for measure in measures:
                row |= {f"{measure}_{end}": 0.25 * position[name] for end in ("mean", "max", "top")}
            rows.append(row)
        writer.commit(index, rows, [])
    writer.finish()
    return out


def ids_of(batch: pa.Table) -> list[str]:
    return list(batch.column("image_id").to_pylist())


def plain_hash(name: str, seed: int) -> int:
    """The tie-break as its docstring states it, in integers."""
    mask = (1 << 64) - 1

    def mix(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ value >> 27) * 0x94D049BB133111EB & mask
        return value ^ value >> 31

    data = name.encode()
    state = mix(seed * 0x9E3779B97F4A7C15 + len(data) & mask)
    for start in range(0, len(data), 8):
        state = mix(state ^ int.from_bytes(data[start : start + 8], "little"))
    return state


def plain_select(scores: dict[str, float | None], budget: int, seed: int, excluded: set[str]) -> list[str]:
    usable = [
        (-score, plain_hash(name, seed), name)
        for name, score in scores.items()
        if score is not None and not math.isnan(score) and name not in excluded
    ]
    return [name for _, _, name in sorted(usable)[:budget]]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
values = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, None, math.nan, math.inf, -math.inf]),
    st.floats(allow_nan=True, width=32),
)


@st.composite
def scored_images(draw: st.DrawFn) -> dict[str, float | None]:
    """Up to 60 images whose scores are a few values only, so that most cuts go through a tie."""
    ids = draw(st.lists(names, max_size=5, unique=True))
    ids += [f"images/{i}" for i in range(draw(st.integers(0 if ids else 1, 55)))]
    few = draw(st.lists(values, min_size=1, max_size=4))
    choice = np.random.default_rng(draw(st.integers(0, 1000))).integers(0, len(few), len(ids))
    return {name: few[index] for name, index in zip(ids, choice, strict=True)}


@settings(max_examples=60, deadline=None)
@given(
    scores=scored_images(),
    budget=st.one_of(st.integers(1, 6), st.integers(1, 70)),
    seed=st.integers(-(2**65), 2**65),
    shard_size=st.integers(6, 40),
    slack=st.sampled_from([0, 3, 1 << 17]),
    block=st.sampled_from([1, 7, 1 << 16]),
    data=st.data(),
)
def test_picks_are_those_of_a_plain_sort(
    tmp_path_factory: pytest.TempPathFactory,
    scores: dict[str, float | None],
    budget: int,
    seed: int,
    shard_size: int,
    slack: int,
    block: int,
    data: st.DataObject,
) -> None:
    order = np.random.default_rng(data.draw(st.integers(0, 1000))).permutation(list(scores)).tolist()
    excluded = set(data.draw(st.lists(st.sampled_from(order), max_size=10)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # many runs, none of which must outlive a power cut
        shuffled = {name: scores[name] for name in order}
        run = make_run(tmp_path_factory.mktemp("run"), shuffled, shard_size=shard_size)
        patch.setattr(top, "_SLACK_ROWS", slack)
        patch.setattr("alseg_fast.stages.select._BLOCK_ROWS", block)
        batch = select(run, budget=budget, measure="quality", seed=seed, exclude=[*excluded, "nobody"])
    assert ids_of(batch) == plain_select(scores, budget, seed, excluded)
    assert batch.column("rank").to_pylist() == list(range(1, batch.num_rows + 1))
    assert batch.column("score").to_pylist() == [scores[name] for name in ids_of(batch)]


@settings(max_examples=40, deadline=None)
@given(scores=st.dictionaries(names, values, min_size=1, max_size=30), budget=st.integers(1, 30), seed=st.integers())
def test_a_random_draw_depends_on_ids_and_seed_only(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, float | None], budget: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        run = make_run(tmp_path_factory.mktemp("run"), scores, shard_size=7)
    batch = select(run, budget=budget, strategy="random", seed=seed)
    assert ids_of(batch) == sorted(scores, key=lambda name: (plain_hash(name, seed), name))[:budget]


@given(st.lists(st.text(max_size=40), max_size=20), st.integers(-(2**70), 2**70), st.integers(0, 5), st.integers(0, 5))
def test_id_hashes_are_what_they_say(ids: list[str], seed: int, head: int, tail: int) -> None:
    array = pa.array(["x" * head, *ids, "y" * tail], pa.string()).slice(1, len(ids))
    assert id_hashes(array, seed).tolist() == [plain_hash(name, seed) for name in ids]
    chunked = pa.chunked_array([array.slice(0, head), array.slice(head)])
    assert id_hashes(chunked, seed).tolist() == id_hashes(array, seed).tolist()


def test_a_random_draw_is_fair(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, {f"image_{i:02d}": 0.0 for i in range(10)}))
    counts = dict.fromkeys((f"image_{i:02d}" for i in range(10)), 0)
    for seed in range(400):
        for name in ids_of(select(run, budget=3, strategy="random", seed=seed)):
            counts[name] += 1
    # 400 draws of 3 in 10: mean 120, standard deviation 9.2; five of them either way
    assert all(74 < count < 166 for count in counts.values()), counts


def test_a_shortlist_keeps_hash_collisions_for_the_ids_to_decide() -> None:
    shortlist = top.Shortlist(2.0)
    shortlist._cut_at = 0
    for name in "dcbae":
        table = pa.table(
            {
                "image_id": [name],
                "uri": [name],
                "region_id": pa.nulls(1, pa.int64()),
                "cost": [1.0],
                "tie": pa.array([7], pa.uint64()),
            }
        )
        shortlist.add(table, np.array([0.5]))
        shortlist._cut()
    ranked = shortlist.ranked()
    assert ranked is not None
    assert ranked.column("image_id").to_pylist() == ["a", "b"]


def test_the_shortlist_stays_small(tmp_path: Path) -> None:
    shortlist = top.Shortlist(10.0)
    best: list[float] = []
    for seed in range(50):
        scores = np.random.default_rng(seed).random(10_000)
        best += scores.tolist()
        ids = pa.array([f"{seed}/{i}" for i in range(10_000)])
        table = pa.table(
            {
                "image_id": ids,
                "uri": ids,
                "region_id": pa.nulls(10_000, pa.int64()),
                "cost": np.ones(10_000),
                "tie": id_hashes(ids, 0),
            }
        )
        shortlist.add(table, scores)
        assert shortlist._rows <= top._SLACK_ROWS + 20
    ranked = shortlist.ranked()
    assert ranked is not None
    assert ranked.column("score").to_pylist() == sorted(best, reverse=True)[:10]


def test_costs_are_paid_from_the_budget() -> None:
    shortlist = top.Shortlist(10.0)
    table = pa.table(
        {
            "image_id": list("abcd"),
            "uri": list("abcd"),
            "region_id": [1, 2, 3, 4],
            "cost": [4.0, 5.0, 2.0, 1.0],
            "tie": pa.array([0] * 4, pa.uint64()),
        }
    )
    shortlist.add(table, np.array([4.0, 3.0, 2.0, 1.0]))
    ranked = shortlist.ranked()
    assert ranked is not None
    assert ranked.column("region_id").to_pylist() == [1, 2]


# --- the table that comes out ---


def test_a_batch_has_the_contract_columns_and_says_why(tmp_path: Path) -> None:
    scores = {f"image_{i:04d}": i / 1016 for i in range(1017)}
    run = make_run(tmp_path / "run", scores, shard_size=100)
    batch = select(run, budget=3, measure="quality", out=tmp_path / "batch.parquet")
    assert batch.schema.equals(BATCH_SCHEMA)
    assert batch.to_pylist()[2] == {
        "rank": 3,
        "image_id": "image_1014",
        "uri": "file:///image_1014",
        "region_id": None,
        "score": 1014 / 1016,
        "cost": 1.0,
        "reason": "quality 0.9980, rank 3 of 1017, highest 0.3 %",
        "rle": None,
    }
    assert read_batch(tmp_path / "batch.parquet").equals(batch)
    facts = batch_facts(read_batch(tmp_path / "batch.parquet"))
    assert facts.pop("config_hash") == open_run(run).info["config_hash"]
    assert facts == {
        "strategy": "top",
        "measure": "quality",
        "unit": "images",
        "budget": 3,
        "budget_scope": "pool",
        "bought": 3,
        "pool": 1017,
        "share": 3 / 1017,
        "seed": 0,
        "considered": 1017,
        "excluded": 0,
    }


@pytest.mark.parametrize(
    ("rank", "total", "text"),
    [(1, 1, "100.0 %"), (3, 1017, "0.3 %"), (1, 10_000, "0.01 %"), (1, 10_000_000, "0.00001 %")],
)
def test_a_reason_gives_the_share_as_a_plain_number(rank: int, total: int, text: str) -> None:
    assert top._percent(rank, total) == text


def test_a_random_pick_names_its_number_and_seed(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"a": 0.0, "b": 0.0})
    row = select(run, budget=1, strategy="random", seed=5).to_pylist()[0]
    draws = {name: 1 - plain_hash(name, 5) / 2**64 for name in "ab"}
    assert row["score"] == max(draws.values())
    assert row["reason"] == f"random draw {row['score']:.4f} (seed 5), rank 1 of 2"


def test_the_same_selection_gives_the_same_file(tmp_path: Path) -> None:
    scores = {f"i{i}": float(i % 3) for i in range(50)}
    for name, shard_size in (("a", 3), ("b", 20)):
        run = make_run(tmp_path / name, scores, shard_size=shard_size)
        select(run, budget=20, measure="quality", seed=3, out=tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert ids_of(select(run, budget=20, measure="quality", seed=4)) != ids_of(read_batch(tmp_path / "b.parquet"))


def test_a_measure_name_is_a_strategy(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"a": 3.0, "b": 2.0, "c": 1.0}, measures=("entropy", "margin"))
    assert ids_of(select(run, budget=1, strategy="entropy")) == ["c"]
    assert batch_facts(select(run, budget=1, strategy="margin"))["measure"] == "margin_mean"
    assert batch_facts(select(run, budget=1, strategy="margin", measure="margin_top"))["measure"] == "margin_top"
    assert ids_of(select(run, budget=1, measure="quality")) == ["a"]
    assert ids_of(select(open_run(run), budget=1)) == ["c"], "an opened run will do, too"


# --- exclusions ---


def test_exclusions_come_from_files_of_every_sort(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run", dict.fromkeys(["001", "b,x", "c d", "é", "e", "f"], 1.0))
    first = tmp_path / "first.parquet"
    chosen = ids_of(select(run, budget=2, out=first))
    assert not set(chosen) & set(ids_of(select(run, budget=4, exclude=first)))
    pq.write_table(pa.table({"image_id": ["001", "e"], "n": [1, 2]}), tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text('label,image_id\n1,001\n2,"b,x"\n')
    (tmp_path / "m.jsonl").write_text('{"image_id": "c d"}\n\n{"image_id": "é", "uri": "x"}\n')
    (tmp_path / "m.txt").write_bytes("\ufeffe\r\nf\n\nnobody\n".encode())
    for files, left in (
        (tmp_path / "m.parquet", {"b,x", "c d", "é", "f"}),
        (str(tmp_path / "m.csv"), {"c d", "é", "e", "f"}),
        ([tmp_path / "m.jsonl"], {"001", "b,x", "e", "f"}),
        ([tmp_path / "m.txt", tmp_path / "m.csv", "é"], {"c d"}),
        (["001", "b,x"], {"c d", "é", "e", "f"}),
        ((name for name in ["e"]), {"001", "b,x", "c d", "é", "f"}),
        ([], {"001", "b,x", "c d", "é", "e", "f"}),
    ):
        assert set(ids_of(select(run, budget=6, exclude=files))) == left
    caplog.clear()
    with caplog.at_level(logging.INFO, "alseg"):
        batch = select(run, budget=1, exclude=tmp_path / "m.txt")
    assert caplog.messages == ["exclude: 3 ids, 1 of them not among the scored images"]
    assert batch_facts(batch)["excluded"] == 2


# --- warnings and refusals ---


def test_a_budget_beyond_the_pool_takes_all_and_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path, {"a": 1.0, "b": 2.0, "c": None, "d": math.nan})
    assert ids_of(select(run, budget=9, measure="quality")) == ["b", "a"]
    assert caplog.messages == ["the budget of 9 images is more than the 2 to choose from; all are selected"]
    caplog.clear()
    assert select(run, budget=2, measure="quality").num_rows == 2
    assert caplog.messages == []
    nothing = select(run, budget=1, exclude=["a", "b", "c", "d"])
    assert nothing.schema.equals(BATCH_SCHEMA)
    assert nothing.num_rows == 0


def test_an_unfinished_run_may_be_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores = {f"i{i}": float(i) for i in range(10)}
    run = make_run(tmp_path / "some", scores, parts=2)
    assert ids_of(select(run, budget=1)) == ["i7"]
    assert caplog.messages == [f"{run} is not finished: selecting from 2 of 3 parts"]
    none = make_run(tmp_path / "none", scores, parts=0)
    assert select(none, budget=1).num_rows == 0


def message_of(error: type[AlsegError], run: Any, **arguments: Any) -> str:
    with pytest.raises(error) as caught:
        select(run, **{"budget": 1, **arguments})
    return str(caught.value)


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"a": 1.0})
    for budget in (0, -3, 1.5, True, "7", None):
        assert message_of(UsageError, run, budget=budget) == (
            f"select: budget must be a whole number >= 1; got {budget}."
        )
    assert message_of(UsageError, run, unit="miles") == (
        "select: unit must be one of images, regions, pixels, clicks, seconds; got miles."
    )
    assert message_of(UsageError, run, seed=0.5) == "select: seed must be a whole number; got 0.5."
    assert message_of(UsageError, run, strategy="magic") == (
        "select: strategy must be one of top, random, entropy, superpixel, superpixel-crf, class-superpixel-crf, "
        "random-superpixels, entropy-pixels, entropy-edge, random-pixels; got magic."
    )
    columns = "width, height, entropy_mean, entropy_max, entropy_top, predicted_label, phash, quality"
    for measure in ("margin_mean", "note", "class_fraction", "image_id"):
        assert message_of(UsageError, run, measure=measure) == (
            f"select: measure must be one of {columns} in {run}; got {measure}."
        )
    assert message_of(UsageError, run, strategy="entropy", measure="quality") == (
        "select: measure must be a column of entropy with strategy entropy; got quality. Use strategy top."
    )
    assert message_of(UsageError, run, exclude=[3]) == ("select: exclude must hold ids (str) or files (Path); got int.")
    assert message_of(RunError, tmp_path / "no") == (
        f"RUN {tmp_path}/no does not exist; give the --out of an alseg score command"
    )


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"a": 1.0})
    give = "give a batch, a manifest or a list of ids"
    missing = tmp_path / "no.csv"
    assert message_of(RunError, run, exclude=missing) == f"exclude file {missing} does not exist; {give}"
    (tmp_path / "bad.parquet").write_text("no parquet")
    assert message_of(RunError, run, exclude=tmp_path / "bad.parquet").startswith(
        f"cannot read exclude file {tmp_path}/bad.parquet: "
    )
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    assert message_of(RunError, run, exclude=tmp_path / "bad.txt").endswith(f"; {give}")
    (tmp_path / "bad.csv").write_text("id,uri\n1,2\n")
    assert message_of(UsageError, run, exclude=tmp_path / "bad.csv") == (
        f"exclude file {tmp_path}/bad.csv has no column image_id (it has id, uri); add it"
    )
    pq.write_table(pa.table({"id": [1]}), tmp_path / "ids.parquet")
    assert message_of(UsageError, run, exclude=tmp_path / "ids.parquet") == (
        f"exclude file {tmp_path}/ids.parquet has no column image_id (it has id); add it"
    )
    (tmp_path / "bad.jsonl").write_text('{"image_id": "a"}\n{"id": 3}\n')
    assert message_of(UsageError, run, exclude=tmp_path / "bad.jsonl") == (
        f"exclude file {tmp_path}/bad.jsonl, line 2 has no image_id; add it"
    )
    (tmp_path / "bad.jsonl").write_text("oops\n")
    assert message_of(RunError, run, exclude=tmp_path / "bad.jsonl") == (
        f"exclude file {tmp_path}/bad.jsonl, line 1 is not JSON: Expecting value: line 1 column 1 (char 0); "
        "correct the line"
    )


def test_the_output_is_checked_before_and_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", {"a": 1.0})
    assert message_of(RunError, run, out=tmp_path / "no/b.parquet") == (
        f"cannot write {tmp_path}/no/b.parquet: the directory {tmp_path}/no does not exist; make it or change --out"
    )
    assert message_of(RunError, run, out=tmp_path) == (
        f"cannot write {tmp_path}: it is a directory; give a file name such as {tmp_path}/batch.parquet"
    )
    out = tmp_path / "b.parquet"
    select(run, budget=1, out=out)
    before = out.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert message_of(RunError, run, out=out, strategy="random") == (
        f"cannot write {out}: No space left on device; make room or fix the access there, or change --out"
    )
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.parquet", "run"]


def test_reading_what_is_no_batch_says_so(tmp_path: Path) -> None:
    for name, message in (
        ("no.parquet", f"batch {tmp_path}/no.parquet does not exist; make it with alseg select"),
        ("text.parquet", None),
        (
            "other.parquet",
            (
                f"{tmp_path}/other.parquet is not a batch: it lacks rank, region_id, score, cost, "
                "reason; make it with alseg select"
            ),
        ),
    ):
        (tmp_path / "text.parquet").write_text(json.dumps({}))
        pq.write_table(pa.table({"image_id": ["a"], "uri": ["b"]}), tmp_path / "other.parquet")
        with pytest.raises(RunError) as caught:
            read_batch(tmp_path / name)
        if message:
            assert str(caught.value) == message
        else:
            assert str(caught.value).startswith(f"cannot read batch {tmp_path}/text.parquet: ")


def test_a_new_strategy_needs_only_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Widest:
        name = "widest"

        def columns(self, request: Request) -> tuple[str, ...]:
            return ("width", request.column)

        def pick(self, stream: Any, request: Request) -> Picks:
            blocks: list[Candidates] = list(stream)
            table = blocks[0].table.append_column("score", pa.array(blocks[0].numbers("width")))
            return Picks(table.slice(0, int(request.budget)), ["wide"] * int(request.budget), table.num_rows)

    monkeypatch.setitem(STRATEGIES, "widest", Widest())
    run = make_run(tmp_path, {"a": 1.0, "b": 2.0, "c": 3.0})
    batch = select(run, budget=2, strategy="widest")
    assert batch.column("score").to_pylist() == [8.0, 8.0]
    assert batch.column("reason").to_pylist() == ["wide", "wide"]
