"""The benchmark of histograms runs at tiny sizes, and its gate closes on wrong ones. No time is asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.benches import histogram, histogram_cases, pictures, rivals, timing

SIZE = (60, 90)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)
    monkeypatch.setattr(timing, "_SHORTEST_SECONDS", 1e-6)
    monkeypatch.setattr(pictures, "DEFAULT_DATA", tmp_path / "absent")
    monkeypatch.setattr(rivals, "repetitions", lambda quick: {"fewest": 1, "most": 1, "budget_seconds": 0.0})


def test_every_way_gives_the_right_histogram(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    result: dict[str, Any] = histogram.run(quick=True, threads=(1,), sizes=(SIZE,), save_to=tmp_path)
    assert result["parity"] == {"ok": True, "failed": []}
    rows = [row for table in result["tables"] for row in table["rows"]]
    assert [row["error"] for row in rows] == [None] * len(rows)
    assert len(result["goals"]) == len(histogram_cases.SPECS)
    text = histogram.format_table(result)
    assert "OpenCV calcHist" in text
    assert "Pillow and NumPy, as published" in text
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_the_gate_closes() -> None:
    spec = alseg.HistogramSpec.parse("rgb:8")
    right = spec.compute(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    assert histogram_cases.check(right, right, spec, ours=True) is None
    wrong = right.copy()
    wrong[:2] = right[1], right[0] + 1e-3
    assert histogram_cases.check(wrong, right, spec, ours=True) == "not what the reference gives"
    assert "a bin is off by" in str(histogram_cases.check(wrong, right, spec, ours=False))
    assert "float64" in str(histogram_cases.check(right.astype(np.float64), right, spec, ours=False))  # type: ignore[arg-type]
    loose = alseg.HistogramSpec.parse("hsv:8")
    assert "in other bins" in str(histogram_cases.check(np.eye(24, dtype=np.float32)[0], right, loose, ours=False))
