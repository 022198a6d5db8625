"""results.parquet and the text for a terminal."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alseg_fast.errors import RangeError, RunError
from alseg_fast.simulation.results.store import in_order, read_rows, write_rows
from alseg_fast.simulation.results.tables import summary_text
from round_rows import comparison, row, run


def test_rows_survive(tmp_path):
    rows = comparison(seeds=2, rounds=3)
    rows.append(row("late", labelled_share=None, threshold=0.4, figures={"b": 0.1, "a": 0.2}))
    write_rows(tmp_path / "results.parquet", rows)
    assert read_rows(tmp_path / "results.parquet") == in_order(rows)


def test_a_missing_score_survives(tmp_path):
    write_rows(tmp_path / "r.parquet", [row(score=math.nan)])
    assert math.isnan(read_rows(tmp_path / "r.parquet")[0].score)


def test_no_rows_yet_are_a_file_too(tmp_path):
    write_rows(tmp_path / "r.parquet", [])
    assert read_rows(tmp_path / "r.parquet") == []


def test_the_order_of_seeds_and_rounds_does_not_matter(tmp_path):
    rows = run("a", [0.1, 0.2], 0) + run("a", [0.1, 0.2], 1) + run("b", [0.3, 0.2], 0)
    write_rows(tmp_path / "one", rows)
    write_rows(tmp_path / "other", [rows[i] for i in (3, 1, 0, 2, 5, 4)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_row_twice_is_refused_and_the_old_file_stays(tmp_path):
    write_rows(tmp_path / "r.parquet", [row()])
    with pytest.raises(RunError, match="two rows of random, seed 0, round 0"):
        write_rows(tmp_path / "r.parquet", [row(), row()])
    assert read_rows(tmp_path / "r.parquet") == [row()]


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(RunError, match="there are no results in"):
        read_rows(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(RunError, match="cannot read the results"):
        read_rows(tmp_path / "text.parquet")
    pq.write_table(pa.table({"strategy": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(RunError, match="not a file of results: no column setting"):
        read_rows(tmp_path / "other.parquet")


def test_the_text_says_what_was_found():
    text = summary_text(comparison(), source="belharbi_glas")
    first = text.splitlines()[0]
    assert "AUC of Dice" in first
    assert "published AUC" in first
    assert "81.48 +- 1.03" in text
    assert "comes out: label_prop k=40 lambda=0.1 is" in text
    assert "score + select + propagate" in text
    assert "quality of the pseudo-masks" in text
    assert all(
        len(line) < 160 for line in text.split("The noise of a difference")[0].splitlines() if "paper" not in line
    )


def test_the_text_needs_little():
    assert summary_text([]) == "no rounds yet"
    text = summary_text([row("random")])
    assert "AUC of score" in text
    assert "50.00" in text
    assert "of full" in text
    assert summary_text(run("a", [0.1] * 25)).count("\n") < 12
    with pytest.raises(RangeError, match="got 'nothing'"):
        summary_text([row()], source="nothing")
