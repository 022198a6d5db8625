"""The benchmark of thresholds runs at tiny sizes, and its gate closes on wrong ones. No time is asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alseg_fast.benches import gmm, gmm_cases, rivals, timing


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)
    monkeypatch.setattr(timing, "_SHORTEST_SECONDS", 1e-6)
    monkeypatch.setattr(rivals, "repetitions", lambda quick: {"fewest": 1, "most": 1, "budget_seconds": 0.0})


def test_every_way_finds_the_crossing(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    kinds = gmm_cases.KINDS[::3]
    result: dict[str, Any] = gmm.run(quick=True, threads=(1,), save_to=tmp_path, n_values=3000, kinds=kinds)
    assert result["parity"] == {"ok": True, "failed": []}
    rows = [row for table in result["tables"] for row in table["rows"]]
    assert [row["error"] for row in rows] == [None] * len(rows)
    assert len(result["goals"]) == len(kinds)
    text = gmm.format_table(result)
    assert "scikit-learn, as released" in text
    assert "update with a fit of 200 images" in text
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("kind", gmm_cases.KINDS, ids=lambda kind: kind.name)
def test_values_are_above_the_background_and_drawn_again_the_same(kind: gmm_cases.Kind) -> None:
    values = kind.make(5000)
    assert values.dtype == np.float32
    assert len(values) == 5000
    assert values.min() > np.float32(gmm_cases.LEAST)
    assert values.max() <= 1
    np.testing.assert_array_equal(values, kind.make(5000))


def test_the_gate_closes() -> None:
    assert gmm_cases.check((0.5, 0.5), (0.5009, 0.5)) is None
    assert gmm_cases.check((0.5, 0.5), (0.5, 0.5011)) == "0.50000, 0.50000 instead of 0.50000, 0.50110"
    with pytest.raises(ValueError, match="do not cross"):
        gmm_cases.cross([0.999, 0.001], [0.4, 0.5], [0.04, 0.04])
