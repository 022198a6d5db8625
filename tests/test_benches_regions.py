"""The benchmarks of superpixels, CRFs and regions run at tiny sizes, and their gates close. No time is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alseg_fast.benches import (
    crf,
    crf_accuracy,
    crf_cases,
    crf_exact,
    crf_memory,
    pictures,
    pool_images,
    regions,
    regions_hours,
    rivals,
    slic,
    slic_cases,
    slic_quality,
    timing,
)
from alseg_fast.benches import superpixel_quality as quality
from alseg_fast.cli import main as alseg_main
from alseg_fast.errors import UsageError

SIZE = (60, 90)
TWO_HALVES = np.array([[0, 0, 0, 1, 1, 1]] * 2)


@pytest.fixture
def never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "others_busy", lambda window_seconds=0.0: None)


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "DEFAULT_DATA", tmp_path / "absent")


@pytest.fixture(scope="module")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with two drawings each, laid out as BSDS500."""
    io = pytest.importorskip("scipy.io")
    root = tmp_path_factory.mktemp("bsds")
    for folder in ("images", "groundTruth"):
        (root / "test" / folder).mkdir(parents=True)
    for seed in range(2):
        (root / f"test/images/{seed}.jpg").write_bytes(pool_images.make_photo(seed, SIZE, None))
        cells = np.empty((1, 2), object)
        for k in range(2):
            regions_drawn = np.ones(SIZE, np.uint16)
            regions_drawn[:, (k + 1) * SIZE[1] // 3 :] = 2
            cell = np.empty((1, 1), [("Segmentation", object)])
            cell[0, 0]["Segmentation"] = regions_drawn
            cells[0, k] = cell
        io.savemat(root / f"test/groundTruth/{seed}.mat", {"groundTruth": cells})
    return root


def rows_of(result: dict[str, Any]) -> dict[str, Any]:
    return {row["id"]: row for table in result["tables"] for row in table["rows"]}


# Quality measures


def test_boundaries_are_right_or_lower_neighbours_of_another_label() -> None:
    labels = np.array([[0, 0, 1], [0, 2, 2]])
    assert quality.find_boundaries(labels).astype(int).tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("pixels", range(5))
def test_widening_is_by_euclidean_distance(pixels: int) -> None:
    mask = np.zeros((7, 11), bool)
    mask[2, 3] = mask[6, 10] = True
    y, x = np.mgrid[:7, :11]
    near = np.minimum((y - 2) ** 2 + (x - 3) ** 2, (y - 6) ** 2 + (x - 10) ** 2) <= pixels**2
    np.testing.assert_array_equal(quality.widen(mask, pixels), near)


def test_widening_by_more_than_the_picture() -> None:
    mask = np.zeros((2, 3), bool)
    mask[0, 0] = True
    assert quality.widen(mask, 9).all()


def test_recall_counts_drawn_pixels_that_are_reached() -> None:
    drawing = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 4, axis=0)
    for shift, expected in ((0, 1.0), (2, 1.0), (3, 0.0)):
        labels = np.roll(drawing, -shift, axis=1)
        labels[:, -shift or 8 :] = 1
        reached = quality.widen(quality.find_boundaries(labels), 2)
        assert quality.boundary_recall(reached, drawing) == expected
    assert quality.boundary_recall(np.zeros((4, 8), bool), np.zeros((4, 8), int)) == 1.0


def test_errors_and_accuracy_by_hand() -> None:
    # Superpixel 0 has 2 x 2 pixels in the left half, 1 has 2 left and 4 right, 2 has 2 right.
    labels = np.array([[0, 0, 1, 1, 1, 2]] * 2)
    overlaps = quality.count_overlaps(labels, TWO_HALVES)
    assert overlaps.tolist() == [[4, 0], [2, 4], [0, 2]]
    # Superpixel 1 leaks the smaller part, 2 pixels, over both regions.
    assert quality.undersegmentation_error(overlaps) == pytest.approx((2 + 2) / 12)
    assert quality.achievable_accuracy(overlaps) == pytest.approx((4 + 4 + 2) / 12)
    found = quality.measure_quality(labels, [TWO_HALVES, labels])
    assert found.segments == 3
    assert found.undersegmentation == pytest.approx(4 / 12 / 2)
    assert found.accuracy == pytest.approx((10 / 12 + 1) / 2)
    assert quality.mean_quality([found, found]) == pytest.approx(found)


def test_perfect_segments_have_perfect_quality() -> None:
    assert quality.measure_quality(TWO_HALVES, [TWO_HALVES]) == (2, 1.0, 0.0, 1.0)
    assert quality.measure_quality(np.zeros((2, 6), int), [TWO_HALVES]) == (1, 0.0, 1.0, 0.5)


# Superpixels


def test_segments_out_of_order_or_in_parts_are_seen() -> None:
    good = np.array([[0, 0, 1], [2, 2, 1]])
    assert slic_cases.check_segments(good, 3) is None
    assert slic_cases.count_components(np.array([[0, 1, 0], [0, 0, 0]])) == 2
    assert slic_cases.check_segments(np.array([[0, 1, 0], [2, 2, 2]]), 3) == "3 segments have 4 connected parts"
    assert "ids are not" in str(slic_cases.check_segments(np.array([[1, 1, 0], [2, 2, 0]]), 3))
    assert "ids are not" in str(slic_cases.check_segments(np.array([[0, 0, 2], [3, 3, 2]]), 3))
    assert slic_cases.check_segments(good, 4) == "3 segments, 4 were asked for"


def test_components_agree_with_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels = np.random.default_rng(0).integers(0, 3, (40, 50))
    expected = sum(ndimage.label(labels == k)[1] for k in range(3))
    assert slic_cases.count_components(labels) == expected


@pytest.mark.parametrize("peer", slic_cases.PEERS, ids=lambda peer: peer.name)
def test_peers_give_label_maps(peer: slic_cases.Peer, no_data: None) -> None:
    image, source = pictures.get_picture(SIZE, None)
    assert source == "90x60: drawn (shapes and 1/f noise)"
    try:
        call = peer.make(image, 20, 1)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("alseg_fast"):
            raise
        pytest.skip(f"{exc.name} is not installed")
    first = np.array(call())
    assert slic_cases.check_peer(first, image) is None
    np.testing.assert_array_equal(call(), first)  # a kept object must not remember the first call


def test_the_number_to_ask_for_is_found() -> None:
    asked: list[int] = []

    def count(n: int) -> float:
        asked.append(n)
        return 0.8 * n + 3

    assert slic_quality.search_count(193.0, count) in (237, 238)
    assert len(asked) == len(set(asked)) <= 8
    assert slic_quality.search_count(50.0, lambda n: 50.0) == 50
    assert slic_quality.search_count(10.0, lambda n: float(n // 7 * 7)) in range(7, 21)


@pytest.mark.usefixtures("never_wait")
def test_slic_bench_measures_speed_and_quality(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drawn_data: Path
) -> None:
    absent = slic_cases.Peer(slic_cases.SKIMAGE, "slic_of_nobody:slic")
    fast = next(p for p in slic_cases.PEERS if p.name == slic_cases.FAST)
    for module in (slic, slic_quality):
        monkeypatch.setattr(module, "PEERS", (fast, absent))
    monkeypatch.setattr(slic_cases, "COUNT_SLACK", 0.5)  # two dozen segments are few
    case = slic_cases.Case(SIZE, (24,))
    result = slic.run(True, (1, 2), tmp_path, data=drawn_data, cases=(case,), pictures=2, counts=(20,))
    rows = rows_of(result)
    ours = rows["slic/90x60/K24/1t/alseg"]
    assert result["parity"] == {"ok": True, "failed": []}
    assert ours["error"] is None
    assert abs(ours["segments"] - 24) <= 12
    assert ours["median_ratio"] == 1
    assert "slic_of_nobody" in rows[f"slic/90x60/K24/2t/{slic_cases.SKIMAGE}"]["error"]
    assert rows["slic/90x60/K24/2t"]["skimage_ratio"] is None
    assert rows["slic/quality/K20/alseg"]["recall"] > 0
    assert 0.5 < rows["slic/quality/K20/alseg"]["accuracy"] <= 1
    assert "slic_of_nobody" in rows[f"slic/quality/K20/{slic_cases.SKIMAGE}"]["error"]
    same = rows[f"slic/quality/K20/{slic_quality.SAME_COUNT}"]
    if rows[f"slic/quality/K20/{slic_cases.FAST}"]["error"] is None:
        assert same["error"] is None
        assert len([g for g in result["goals"] if "K = 20" in g["goal"]]) == 3
        assert all(g["value"] is not None for g in result["goals"] if "K = 20" in g["goal"])
    else:
        assert same["error"] == f"{slic_cases.FAST} was not measured"
    assert "BSDS500 test 0" in result["method"]["pictures"]
    assert "Quality at K = 20, means over 2 test pictures" in slic.format_table(result)
    assert json.loads(Path(result["saved_as"]).read_text(encoding="utf-8"))["bench"] == "slic"


@pytest.mark.usefixtures("never_wait", "no_data")
def test_segments_that_are_not_sound_have_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    striped = np.tile(np.arange(SIZE[1], dtype=np.int32) % 24, (SIZE[0], 1))
    monkeypatch.setattr(slic, "our_calls", lambda image, asked, threads: {slic_cases.OURS: lambda: striped})
    monkeypatch.setattr(slic, "PEERS", ())
    result = slic.run(True, (1,), cases=(slic_cases.Case(SIZE, (24,)),))
    row = rows_of(result)["slic/90x60/K24/1t/alseg"]
    assert row["error"] == "wrong result: 24 segments have 90 connected parts"
    assert "median_ms" not in row
    assert not result["parity"]["ok"]
    assert all(not g["met"] for g in result["goals"])
    assert "no pictures of BSDS500 here" in rows_of(result)["slic/quality"]["error"]


@pytest.mark.usefixtures("no_data")
def test_quality_alone_needs_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="the quality part needs the pictures of BSDS500"):
        slic.run(True, (1,), part="quality")
    for module in (slic, crf, regions):
        with pytest.raises(UsageError, match=r"part must be one of .*, all; got 'half'"):
            module.run(True, (1,), part="half")
    assert alseg_main(["bench", "slic", "--data", str(tmp_path / "nowhere")]) == 2
    assert "--data must be a folder of BSDS500" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slic", "--part", "mc"], "--part must be one of speed, quality, all; got 'mc'"),
        (["memory", "--part", "mc"], "--part must be all; got 'mc'. It is an option of alseg bench uncertainty, slic"),
        (["all", "--part", "mc"], "bench all: --part must be all"),
        (["pipeline", "--data", "x"], "--data must be absent; got 'x'. It is an option of alseg bench slic, crf"),
        (["all", "--device", "cuda"], "bench all: --device must be cpu"),
    ],
)
def test_each_benchmark_has_its_own_options(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert alseg_main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_pictures_are_found_cut_or_enlarged(drawn_data: Path) -> None:
    folder = pictures.find_pictures(drawn_data)
    assert folder is not None
    whole, source = pictures.get_picture(SIZE, folder)
    np.testing.assert_array_equal(whole, pictures.read_picture(folder.pictures[0]))
    assert (whole.shape, source) == ((*SIZE, 3), "90x60: BSDS500 test 0")
    part, source = pictures.get_picture((20, 30), folder, 1)
    np.testing.assert_array_equal(part, pictures.read_picture(folder.pictures[1])[:20, :30])
    assert source == "30x20: cut out of BSDS500 test 1"
    large, source = pictures.get_picture((100, 200), folder)
    assert large.shape == (100, 200, 3)
    assert source == "200x100: BSDS500 test 0, enlarged 2.22 times (bicubic) and cut"
    assert [d.max() for d in pictures.read_drawings(folder, folder.pictures[0])] == [1, 1]


# Dense CRF


def test_exact_mean_field_of_two_pixels_by_hand() -> None:
    image = np.array([[[0, 0, 0], [13, 0, 0]]], np.uint8)
    gaussian, bilateral = crf_exact.Gaussian(1.0, 2.0), crf_exact.Bilateral(1.0, 13.0, 3.0)
    near, both = np.exp(-1 / 2), np.exp(-2 / 2)
    weights = crf_exact.pair_weights(image, gaussian, bilateral)
    expected = [[2 / (1 + near) + 3 / (1 + both), 2 * near / (1 + near) + 3 * both / (1 + both)]]
    np.testing.assert_allclose(weights, [*expected, expected[0][::-1]])
    probs = np.array([[[0.9, 0.2]], [[0.1, 0.8]]])
    scores = np.log(probs[:, 0]) + probs[:, 0] @ weights
    found = crf_exact.mean_field(image, probs, 1, gaussian, bilateral)[:, 0]
    np.testing.assert_allclose(found, np.exp(scores) / np.exp(scores).sum(axis=0), rtol=1e-6)
    energy = -np.log(0.9) - np.log(0.8) + expected[0][1]
    assert crf_exact.gibbs_energy(weights, probs, np.array([[0, 1]])) == pytest.approx(energy)
    assert crf_exact.gibbs_energy(weights, probs, np.array([[0, 0]])) == pytest.approx(-np.log(0.9) - np.log(0.2))
    certain = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert crf_exact.free_energy(weights, probs, certain) == pytest.approx(energy)


def test_mean_field_lowers_the_energies() -> None:
    image, _ = pictures.get_picture((12, 16), None)
    probs = crf_cases.picture_probs(image, 3, step=4)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-5)
    weights = crf_exact.pair_weights(image, crf_cases.GAUSSIAN, crf_cases.BILATERAL)
    q = crf_exact.mean_field(image, probs, 5, crf_cases.GAUSSIAN, crf_cases.BILATERAL)
    given, found = (crf_exact.gibbs_energy(weights, probs, p.argmax(axis=0)) for p in (probs, q))
    assert found <= given
    assert crf_exact.free_energy(weights, probs, q) < crf_exact.free_energy(weights, probs, probs)


def test_marginals_are_checked() -> None:
    probs = np.full((2, 3, 4), 0.5, np.float32)
    assert crf_cases.check_marginals(probs, probs) is None
    assert "sums differ" in str(crf_cases.check_marginals(probs * 1.1, probs))
    assert "shape" in str(crf_cases.check_marginals(probs[:, :2], probs))
    assert crf_cases.check_marginals(np.zeros((3, 4)), probs) is None


@pytest.mark.usefixtures("never_wait", "no_data")
def test_crf_bench_measures_speed_and_memory(tmp_path: Path) -> None:
    result = crf.run(True, (1,), tmp_path, cases=(crf_cases.Case(3, (24, 32)),), iterations=(2,), part="speed")
    rows = rows_of(result)
    prefix = "crf/C3-32x24/2it/1t"
    assert result["parity"] == {"ok": True, "failed": []}
    for name in (crf_cases.OURS, crf_cases.FRESH, crf_cases.REUSED, crf_cases.LATTICE):
        assert rows[f"{prefix}/{name}"]["error"] is None
        assert rows[f"{prefix}/{name}"]["median_ms"] > 0
    assert rows[f"{prefix}/{crf_cases.FRESH}"]["memory_error"] is None
    assert "memory_mib" not in rows[f"{prefix}/{crf_cases.OURS}"]
    peer = rows[f"{prefix}/{crf_cases.PYDENSECRF}"]
    assert peer["error"] is None or "pydensecrf" in peer["error"]
    assert (peer["error"] is None) == (rows[prefix]["peer_ratio"] is not None)
    assert "MiB beyond inputs" in crf.format_table(result)
    assert Path(result["saved_as"]).is_file()


@pytest.mark.usefixtures("never_wait", "no_data")
def test_crf_bench_is_near_the_exact_mean_field(monkeypatch: pytest.MonkeyPatch) -> None:
    result = crf.run(True, (1,), part="accuracy")
    blocks = [t["rows"] for t in result["tables"] if t["title"].startswith("Accuracy")]
    assert len(blocks) == 3
    for rows in blocks:
        named = {row["backend"]: row for row in rows}
        exact, ours, given = (named[k] for k in (crf_accuracy.EXACT, crf_cases.OURS, crf_accuracy.GIVEN))
        assert exact["mean_off"] == 0
        assert ours["error"] is None
        assert ours["mean_off"] < given["mean_off"] / 2
    assert crf_accuracy.mean_error(blocks, crf_cases.OURS) == pytest.approx(
        np.mean([row["mean_off"] for rows in blocks for row in rows if row["backend"] == crf_cases.OURS])
    )
    assert len(result["goals"]) == 1
    monkeypatch.setitem(crf_cases.WAYS, crf_cases.PYDENSECRF, lambda *given: 1 / 0)
    broken = crf_accuracy.compare_with_exact(crf_accuracy.small_cases(None, True)[0])
    assert "ZeroDivisionError" in next(r["error"] for r in broken if r["backend"] == crf_cases.PYDENSECRF)
    assert crf_accuracy.list_goals([broken])[0]["value"] is None


@pytest.mark.usefixtures("never_wait", "no_data")
def test_wrong_marginals_have_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(crf_cases.WAYS):
        monkeypatch.setitem(crf_cases.WAYS, name, lambda image, probs, n_iter, threads: lambda: probs * 2)
    result = crf.run(True, (1,), cases=(crf_cases.Case(3, (24, 32)),), iterations=(1,), part="speed")
    row = rows_of(result)[f"crf/C3-32x24/1it/1t/{crf_cases.OURS}"]
    assert row["error"].startswith("wrong result: mean |Q - exact| is")
    row = rows_of(result)[f"crf/C3-32x24/1it/1t/{crf_cases.PYDENSECRF}"]
    assert row["error"].startswith("wrong result: sums differ from 1")
    assert "median_ms" not in row
    assert not result["parity"]["ok"]
    assert all(g["value"] is None and not g["met"] for g in result["goals"])


def test_a_process_that_fails_is_a_reason(tmp_path: Path) -> None:
    assert "exit status 1" in crf_memory.call_in_process(crf_cases.OURS, tmp_path / "absent", 1, 1)["error"]


# Regions


@pytest.mark.usefixtures("never_wait", "no_data")
def test_regions_bench_adds_up_its_steps(tmp_path: Path) -> None:
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    from alseg_fast.benches.regions_steps import CRF_STEPS, PLAIN, POOLED, ROW_STEPS, Case

    result = regions.run(True, (1,), tmp_path, part="steps", cases=(Case((64, 64), 16, by_network=True),))
    rows = rows_of(result)
    prefix = "regions/64x64-K16/1t"
    medians = {row["backend"]: row["median_ms"] for row in rows.values() if "backend" in row}
    total = rows[prefix]
    assert total["error"] is None
    assert total["crf_ms"] == pytest.approx(sum(medians[name] for name in CRF_STEPS))
    assert total["row_ms"] == pytest.approx(sum(medians[name] for name in ROW_STEPS))
    assert total["pool_ms"] == pytest.approx(max(0, medians[POOLED] - medians[PLAIN]))
    both = total["pool_ms"] + total["crf_ms"]
    assert total["share"] == pytest.approx(both / medians[regions.INFERENCE])
    assert total["row_share"] == pytest.approx((both + total["row_ms"]) / medians[regions.INFERENCE])
    assert [goal["value"] for goal in result["goals"]] == [total["share"], total["row_share"]]
    assert "pooling + CRF / inference" in regions.format_table(result)
    assert Path(result["saved_as"]).is_file()


@pytest.mark.usefixtures("never_wait", "no_data")
def test_core_hours_are_extrapolated_from_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "QUICK_HOURS_SIZE", (64, 96))
    monkeypatch.setattr(regions, "QUICK_HOURS_PICTURES", 3)
    monkeypatch.setattr(regions_hours, "SLIC_PEERS", slic_cases.PEERS)
    result = regions.run(True, (1,), part="core-hours")
    named = {row["backend"]: row for row in result["tables"][-1]["rows"]}
    for name in ("slic, K = 1000", "region_crf", regions_hours.DENSE, "edge_map", regions_hours.SELECTION):
        assert named[name]["error"] is None
        share = 64 * 96 / (1024 * 2048)
        assert named[name]["core_hours"] == pytest.approx(named[name]["median_ms"] / share * 1e6 / 3.6e6)
    assert named[regions_hours.DENSE]["usual"] == "pydensecrf, 10 iterations"
    parts = ("slic, K = 1000", regions_hours.POOLED, *regions_hours.ROW_STEPS, *regions_hours.CRF_STEPS)
    whole = sum(named[name]["core_hours"] for name in (*parts, regions_hours.SELECTION))
    assert named[regions_hours.ALL_STEPS]["core_hours"] == pytest.approx(whole)


def test_hours_of_what_could_not_run_are_unknown() -> None:
    rows = [
        {"backend": "slic, K = 1000", "role": rivals.OURS, "median_ms": 36.0},
        {"backend": "skimage slic, K = 1000", "role": rivals.PEER, "error": "ModuleNotFoundError"},
    ]
    ours, whole, theirs = regions_hours.add_hours(rows, 0.5)
    assert whole["core_hours"] is None
    assert ours["core_hours"] == pytest.approx(20.0)
    assert theirs["core_hours"] is ours["usual_hours"] is ours["times"] is None


@pytest.mark.usefixtures("never_wait")
def test_rivals_take_their_turns_or_say_why_not() -> None:
    def refuse() -> Any:
        raise ModuleNotFoundError("No module named 'nobody'")

    right = rivals.Rival("right", rivals.OURS, lambda: lambda: 1, facts=lambda result: {"value": result})
    listed = [
        right,
        replace(right, name="wrong", check=lambda result: "is 1"),
        replace(right, name="absent", make=refuse),
    ]
    rows, wrong = rivals.time_rivals("x", listed, True, timing.Quiet())
    assert [row["error"] for row in rows] == [
        None,
        "wrong result: is 1",
        "ModuleNotFoundError: No module named 'nobody'",
    ]
    assert rows[0]["value"] == 1
    assert wrong == ["x/wrong: is 1"]
    assert [row["median_ratio"] for row in rivals.add_ratios(rows, "right", 100)] == [1, None, None]
