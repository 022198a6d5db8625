"""The threshold that follows a training: what it remembers, when it fits, and what a checkpoint keeps."""

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.errors import DataError, RangeError


def batch(seed, high=0.77, n=3):
    rng = np.random.default_rng(seed)
    maps = np.where(
        rng.random((n, 16, 18)) < 0.6, rng.normal(0.2, 0.05, (n, 16, 18)), rng.normal(high, 0.07, (n, 16, 18))
    )
    return maps.clip(0, 1).astype(np.float32)


def test_fits_what_it_remembers():
    running = alseg.RunningThreshold(memory=5, period=1, momentum=0.0)
    seen = []
    for seed in range(5):
        seen.append(batch(seed))
        got = running.update(seen[-1])
        expected = alseg.gmm_threshold(np.concatenate(seen)[-5:])  # the latest five images
        assert got.status == "fitted"
        assert got == expected
        assert running.threshold == expected.threshold


def test_average_follows_the_latest_fit():
    running = alseg.RunningThreshold(memory=6, period=1, momentum=0.9)
    first = running.update(batch(0)).threshold
    second = alseg.gmm_threshold(np.concatenate([batch(0), batch(1, 0.6)])).threshold
    got = running.update(batch(1, 0.6))
    assert got.threshold == pytest.approx(0.9 * first + 0.1 * second, abs=1e-12)
    assert got.means == alseg.gmm_threshold(np.concatenate([batch(0), batch(1, 0.6)])).means
    started = alseg.RunningThreshold(memory=6, period=1, momentum=0.9, initial=0.3)
    assert started.update(batch(0)).threshold == pytest.approx(0.9 * 0.3 + 0.1 * first, abs=1e-12)


def test_fits_at_powers_of_two_then_once_a_period():
    running = alseg.RunningThreshold(memory=4, period=12)
    fitted = [i for i in range(1, 40) if running.update(batch(i, n=1)).status == "fitted"]
    assert fitted == [1, 2, 4, 8, 12, 24, 36]
    assert running.updates == 39


def test_between_fits_the_average_still_moves_towards_the_latest_fit():
    running = alseg.RunningThreshold(memory=9, period=100, momentum=0.5, initial=0.1)
    target = alseg.gmm_threshold(np.concatenate([batch(0), batch(1)])).threshold
    running.update(batch(0))
    before = running.update(batch(1)).threshold
    got = running.update(batch(2))
    assert got.status == "kept"
    assert got.threshold == pytest.approx((before + target) / 2, abs=1e-12)


def test_empty_maps_change_nothing():
    running = alseg.RunningThreshold(memory=3, period=1)
    assert running.threshold == 0.45
    got = running.update(np.zeros((2, 3, 4, 4)))
    assert (got.status, got.threshold) == ("kept", 0.45)
    assert "no value" in got.reason
    fitted = running.update(batch(0)).threshold
    for _ in range(3):
        got = running.update(np.zeros((3, 4, 4)))  # they push the values out of the memory
    assert got.status == "kept"
    assert running.threshold == pytest.approx(fitted, abs=1e-12)


def test_a_batch_larger_than_the_memory_leaves_its_last_images():
    running = alseg.RunningThreshold(memory=4, period=1)
    many = batch(3, n=11)
    assert running.update(many).threshold == alseg.gmm_threshold(many[-4:]).threshold


def test_three_components_follow_a_band():
    rng = np.random.default_rng(0)
    maps = np.stack([rng.normal(c, 0.04, (20, 20)) for c in (0.2, 0.5, 0.85)]).clip(0, 1)
    running = alseg.RunningThreshold(components=3, period=1, initial=(0.25, 0.7), momentum=0.99)
    fit = alseg.gmm_threshold(maps, components=3)
    got = running.update(maps)
    assert got.low == running.low == pytest.approx(0.99 * 0.25 + 0.01 * fit.low, abs=1e-12)
    assert got.high == running.high == pytest.approx(0.99 * 0.7 + 0.01 * fit.high, abs=1e-12)
    assert running.threshold == pytest.approx((got.low + got.high) / 2)


def test_released_beginning_fills_the_memory_with_noise():
    noisy = alseg.RunningThreshold(memory=8, period=1, momentum=0.0, beginning="uniform", pixels=500, seed=3)
    clean = alseg.RunningThreshold(memory=8, period=1, momentum=0.0)
    assert noisy.update(batch(0)).n_values > clean.update(batch(0)).n_values + 5 * 400
    for seed in range(1, 3):
        noisy.update(batch(seed))
        clean.update(batch(seed))
    assert noisy.update(batch(3, n=8)).threshold == clean.update(batch(3, n=8)).threshold  # now all noise has left


def test_state_goes_on_with_the_same_bits():
    first = alseg.RunningThreshold(memory=5, period=3, momentum=0.9)
    for seed in range(5):
        first.update(batch(seed, n=2))
    second = alseg.RunningThreshold(memory=5, period=3, momentum=0.9)
    second.load_state_dict(first.state_dict())
    assert second.threshold == first.threshold
    for seed in range(5, 12):
        assert second.update(batch(seed, n=2)) == first.update(batch(seed, n=2))
    assert second.state_dict() == first.state_dict()


def test_torch_saves_the_state_without_pickled_code(tmp_path):
    torch = pytest.importorskip("torch")
    first = alseg.RunningThreshold(memory=5, period=2)
    first.update(torch.from_numpy(batch(0)))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = alseg.RunningThreshold(memory=5, period=2)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.update(batch(1)) == first.update(batch(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [6, 256, 3]}, "must have"),
        ({"components": 3}, "must have"),
        ({"memory": b"1234567"}, "damaged"),
        ({"memory": b"\0" * (6 * 256 * 3 * 8)}, "damaged: 6 images"),
        ({"next": 5}, "damaged"),
        ({"band": [0.1]}, "damaged"),
        ({"latest": {"colour": 1}}, "damaged"),
        ({"updates": None}, "damaged"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused(change, message):
    running = alseg.RunningThreshold(memory=5)
    running.update(batch(0))
    before = running.state_dict()
    with pytest.raises(DataError, match=message):
        running.load_state_dict({**before, **change})
    with pytest.raises(DataError):
        running.load_state_dict({})
    assert running.state_dict() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 0}, "memory must be an integer"),
        ({"period": 1.5}, "period must be an integer"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"beginning": "random"}, "beginning must be one of empty, uniform"),
        ({"components": 5}, "components must be 2 or 3"),
        ({"initial": 2.0}, "initial must be"),
        ({"bins": 255}, "bins must be a power of 2"),
    ],
)
def test_errors(options, message):
    with pytest.raises(RangeError, match=f"RunningThreshold: .*({message})"):
        alseg.RunningThreshold(**options)


def test_bad_values_leave_the_memory_as_it_is():
    running = alseg.RunningThreshold(memory=3, period=1)
    running.update(batch(0))
    before = running.state_dict()
    for bad, kind in ((batch(1) * np.nan, DataError), (batch(1) * 3, RangeError)):
        with pytest.raises(kind, match="RunningThreshold: cams must be"):
            running.update(bad)
    assert running.state_dict() == before
