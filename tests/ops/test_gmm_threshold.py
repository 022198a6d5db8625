"""The threshold of activation maps: against scikit-learn, on the known traps, and where there is none."""

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError
from alseg_fast.kernels.gaussian_mixture.common import crossing


def two_humps(seed=0, n=6000, share=0.6, low=(0.17, 0.06), high=(0.77, 0.08)):
    rng = np.random.default_rng(seed)
    first = rng.normal(*low, int(n * share))
    return np.clip(np.concatenate([first, rng.normal(*high, n - len(first))]), 0, 1).astype(np.float32)


DATA = {
    "apart": two_humps(),
    "near": two_humps(1, low=(0.35, 0.08), high=(0.65, 0.1)),
    "rare": two_humps(2, share=0.95, low=(0.2, 0.06), high=(0.8, 0.08)),
    "narrow": two_humps(3, low=(0.3, 0.008), high=(0.5, 0.02)),
    "bytes": (np.round(two_humps(4) * 255) / 255).astype(np.float32),
    "skewed": np.concatenate([np.random.default_rng(5).beta(2, 9, 4000), np.random.default_rng(6).beta(9, 3, 2000)]),
}


@pytest.mark.parametrize("name", DATA)
def test_crossing_is_that_of_the_converged_mixture_of_scikit_learn(simd_level, name):
    mixture = pytest.importorskip("sklearn.mixture")
    values = DATA[name].astype(np.float32)
    kept = values[values > np.float32(0.05)].astype(np.float64)[:, None]
    model = mixture.GaussianMixture(2, tol=1e-10, max_iter=5000, random_state=0).fit(kept)
    assert model.converged_
    rows = sorted(zip(model.means_[:, 0], model.weights_, model.covariances_[:, 0, 0], strict=True))
    expected = crossing(*[(share, mean, variance) for mean, share, variance in rows])
    got = alseg.gmm_threshold(values)
    assert got.status == "fitted"
    assert got.threshold == pytest.approx(expected, abs=1e-3)
    np.testing.assert_allclose(got.means, [row[0] for row in rows], atol=1e-3)
    np.testing.assert_allclose(got.shares, [row[1] for row in rows], atol=2e-3)
    assert got.n_values == len(kept)
    assert got.low == got.high == got.threshold


def test_the_released_start_stops_where_it_began_and_ours_does_not():
    values = two_humps(n=20000, low=(0.17, 0.1), high=(0.77, 0.12))
    trapped = alseg.gmm_threshold(values, form="released", tolerance=1e-3, max_iter=100)
    assert trapped.n_iter == 3
    assert 0.3 < trapped.means[0] < trapped.means[1] < 0.55
    ours = alseg.gmm_threshold(values)
    np.testing.assert_allclose(ours.means, (0.19, 0.765), atol=0.01)
    assert ours.threshold == pytest.approx(0.442, abs=0.005)
    # The same start with the variance of the data and a tight tolerance arrives too: it is the variance that is wrong.
    far = alseg.gmm_threshold(values, form="released", tolerance=1e-12, max_iter=10000)
    np.testing.assert_allclose(far.means, ours.means, atol=1e-3)


@pytest.mark.parametrize("bins", [32, 64, 256, 1024, 4096])
def test_bins_hardly_matter(bins):
    exact = alseg.gmm_threshold(DATA["near"], bins=4096).threshold
    assert alseg.gmm_threshold(DATA["near"], bins=bins).threshold == pytest.approx(
        exact, abs=2e-5 if bins > 64 else 1e-3
    )


@pytest.mark.parametrize("components", [2, 3])
def test_native_equals_the_reference(simd_level, components):
    values = np.concatenate([two_humps(7, 3000), np.random.default_rng(8).normal(0.45, 0.03, 800)])
    options = {"components": components, "tolerance": 1e-8, "max_iter": 20000}
    got = alseg.gmm_threshold(values, **options)
    with use_backend("reference"):
        expected = alseg.gmm_threshold(values, **options)
    assert got.status == expected.status == "fitted"
    np.testing.assert_allclose(
        [got.low, got.high, *got.means], [expected.low, expected.high, *expected.means], atol=2e-5
    )


def test_three_components_give_a_band():
    rng = np.random.default_rng(9)
    values = np.concatenate([rng.normal(c, 0.04, 3000) for c in (0.2, 0.5, 0.85)]).clip(0, 1)
    got = alseg.gmm_threshold(values, components=3)
    assert 0.3 < got.low < 0.4
    assert 0.6 < got.high < 0.75
    assert got.threshold == (got.low + got.high) / 2
    np.testing.assert_allclose(got.means, (0.2, 0.5, 0.85), atol=0.01)
    # The released reading: the largest value of the first, the smallest of the last component, known to a bin.
    released = alseg.gmm_threshold(values, components=3, form="released", tolerance=1e-12, max_iter=10000)
    assert released.low == pytest.approx(values[values <= got.low].max(), abs=1 / 256)
    assert released.high == pytest.approx(values[values >= got.high].min(), abs=1 / 256)


def test_largest_activation_of_the_classes_counts():
    rng = np.random.default_rng(10)
    cams = two_humps(10, 4 * 3 * 13 * 11)[rng.permutation(4 * 3 * 13 * 11)].reshape(4, 3, 13, 11)
    expected = alseg.gmm_threshold(cams.max(axis=1).ravel())
    assert alseg.gmm_threshold(cams) == expected
    assert alseg.gmm_threshold(cams.max(axis=1)) == expected
    assert alseg.gmm_threshold(np.asfortranarray(cams)) == expected
    assert alseg.gmm_threshold(cams[0, 0]).n_values == (cams[0, 0] > 0.05).sum()
    half = alseg.gmm_threshold(cams.astype(np.float16))
    assert half.threshold == pytest.approx(expected.threshold, abs=2e-3)


def test_weights_count_like_copies():
    values = two_humps(11, 3000)
    copies = np.random.default_rng(12).integers(0, 4, len(values))
    expected = alseg.gmm_threshold(np.repeat(values, copies))
    got = alseg.gmm_threshold(values, weights=copies.astype(np.float32))
    assert got.threshold == pytest.approx(expected.threshold, abs=1e-9)
    assert got.n_values == expected.n_values
    scaled = alseg.gmm_threshold(values, weights=copies.astype(np.float32) * np.float32(1e-6))
    assert scaled.status == "fitted"
    assert scaled.threshold == pytest.approx(expected.threshold, abs=1e-6)
    maps = values.reshape(2, 3, 20, 25)
    mass = np.random.default_rng(13).random((2, 20, 25))
    flat = alseg.gmm_threshold(maps.max(axis=1).ravel(), weights=mass.ravel())
    assert alseg.gmm_threshold(maps, weights=mass).threshold == pytest.approx(flat.threshold, abs=1e-12)


def test_same_bits_for_any_number_of_threads_and_order_of_values(simd_level):
    values = two_humps(14, 100_000)
    expected = alseg.gmm_threshold(values, num_threads=1)
    for threads in (2, 5, None):
        assert alseg.gmm_threshold(values, num_threads=threads) == expected
    assert alseg.gmm_threshold(np.random.default_rng(0).permutation(values)) == expected


@pytest.mark.parametrize(
    ("cams", "options", "reason"),
    [
        (np.zeros((2, 3, 4, 4)), {}, "no value is above drop_below"),
        (np.full((5, 5), 0.04), {}, "no value is above drop_below"),
        (np.full((5, 5), 0.5), {"weights": np.zeros((5, 5))}, "no value is above drop_below"),
        (np.array([0.0, 0.9]), {}, "1 values are fewer than 2 components"),
        (np.array([0.2, 0.9]), {"components": 3}, "2 values are fewer than 3 components"),
        (np.full((2, 5, 5), 0.7), {}, "all values are equal to 0.7"),
        (np.random.default_rng(0).normal(0.5, 0.1, 5000).clip(0, 1), {"form": "released"}, "do not cross"),
    ],
)
def test_without_a_fit_the_previous_threshold_is_kept(cams, options, reason):
    for previous, band in ((None, None), (0.3, (0.3, 0.3)), ((0.2, 0.6), (0.2, 0.6))):
        got = alseg.gmm_threshold(cams, previous=previous, **options)
        assert got.status == "kept"
        assert reason in got.reason
        if band is None:
            band = (0.25, 0.7) if options.get("components") == 3 else (0.45, 0.45)
        assert (got.low, got.high) == pytest.approx(band)
        assert got.threshold == pytest.approx(sum(band) / 2)
        assert alseg.gmm_threshold(cams, previous=got, **options).low == got.low


def test_unequal_humps_without_a_crossing_keep_the_previous():
    rng = np.random.default_rng(15)
    # A narrow component in the flank of a wide one: at its own mean the wide one is still the likelier.
    values = np.concatenate([rng.normal(0.5, 0.15, 20000), rng.normal(0.6, 0.1, 300)]).clip(0.06, 0.99)
    got = alseg.gmm_threshold(values, previous=0.33)
    if got.status == "kept":
        assert got.threshold == 0.33
        assert "do not cross between their means" in got.reason
        assert len(got.means) == 2
    else:
        assert got.means[0] < got.threshold < got.means[1]


def test_an_empty_component_keeps_the_previous():
    # Two values, far apart and many times: three components cannot all hold one.
    values = np.repeat([0.2, 0.8], 500).astype(np.float32)
    got = alseg.gmm_threshold(values, components=3, previous=(0.3, 0.6))
    assert got.status in ("kept", "fitted")
    if got.status == "kept":
        assert (got.low, got.high) == (0.3, 0.6)
    two = alseg.gmm_threshold(values)
    assert two.status == "fitted"
    assert two.threshold == pytest.approx(0.5, abs=1e-6)


def test_thresholds_are_cut_to_the_bounds():
    values = two_humps(16)
    free = alseg.gmm_threshold(values).threshold
    assert alseg.gmm_threshold(values, bounds=(0.6, 0.9)).threshold == 0.6
    assert alseg.gmm_threshold(values, bounds=(0.05, free - 0.1)).threshold == free - 0.1
    assert alseg.gmm_threshold(np.zeros(9), previous=0.01).threshold == 0.05


def test_drop_below_leaves_small_values_out():
    values = np.concatenate([two_humps(17), np.zeros(50_000, np.float32), np.full(7, 0.05, np.float32)])
    expected = alseg.gmm_threshold(two_humps(17))
    assert alseg.gmm_threshold(values) == expected
    assert alseg.gmm_threshold(values, drop_below=0).n_values > expected.n_values
    assert alseg.gmm_threshold(values, drop_below=None).n_values == len(values)


def test_torch_tensors_give_the_same():
    torch = pytest.importorskip("torch")
    cams = two_humps(18, 4 * 2 * 14 * 14).reshape(4, 2, 14, 14)
    expected = alseg.gmm_threshold(cams)
    assert alseg.gmm_threshold(torch.from_numpy(cams).requires_grad_()) == expected
    assert alseg.gmm_threshold(torch.from_numpy(cams).permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)) == expected
    weights = torch.rand(4, 14, 14, generator=torch.Generator().manual_seed(0))
    assert alseg.gmm_threshold(torch.from_numpy(cams), weights=weights) == alseg.gmm_threshold(
        cams, weights=weights.numpy()
    )
    assert alseg.gmm_threshold(torch.from_numpy(cams).bfloat16()).status == "fitted"


def test_torch_bins_on_a_device_equal_those_of_the_cpu():
    torch = pytest.importorskip("torch")
    from alseg_fast.kernels.gaussian_mixture import value_moments
    from alseg_fast.ops.value_moments import _with_torch

    rng = np.random.default_rng(19)
    values = rng.random((2, 3, 4, 500), np.float32)
    weights = rng.random((2, 3, 500), np.float32)
    native = value_moments.implementation("native")
    least = float(np.nextafter(np.float32(0.05), np.float32(1)))
    np.testing.assert_array_equal(
        _with_torch(torch.from_numpy(values), None, 8, least)[0], native(values, None, 8, least)[0]
    )
    np.testing.assert_allclose(
        _with_torch(torch.from_numpy(values), torch.from_numpy(weights), 8, least)[0],
        native(values, weights, 8, least)[0],
        rtol=1e-12,
    )
    values[0, 0, 0, 0] = np.nan
    assert _with_torch(torch.from_numpy(values), None, 8, least)[1] == native(values, None, 8, least)[1] == 1


GOOD = two_humps(20, 600)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.gmm_threshold(GOOD * np.nan), DataError, "cams must be finite; it holds NaN or inf"),
        (lambda: alseg.gmm_threshold(np.array([0.5, np.inf])), DataError, "cams must be finite"),
        (lambda: alseg.gmm_threshold(np.array([1e300, 0.5])), DataError, "cams must be finite"),
        (lambda: alseg.gmm_threshold(GOOD * 7), RangeError, r"cams must be in 0\.\.1; got"),
        (lambda: alseg.gmm_threshold(GOOD - 0.5), RangeError, r"cams must be in 0\.\.1; got -0"),
        (lambda: alseg.gmm_threshold(np.zeros((2, 3, 4, 5, 6))), ShapeError, r"cams must have shape \[N, K, h, w\]"),
        (lambda: alseg.gmm_threshold(np.zeros((0, 4, 4))), ShapeError, "cams must not be empty"),
        (lambda: alseg.gmm_threshold(np.zeros(4, np.uint8)), DtypeError, "cams must be float16 or float32"),
        (lambda: alseg.gmm_threshold(GOOD, components=4), RangeError, "components must be 2 or 3; got 4"),
        (lambda: alseg.gmm_threshold(GOOD, bins=100), RangeError, "bins must be a power of 2 in 32..4096; got 100"),
        (lambda: alseg.gmm_threshold(GOOD, drop_below=1), RangeError, r"drop_below must be None or in \[0, 1\)"),
        (lambda: alseg.gmm_threshold(GOOD, previous=1.5), RangeError, "previous must be"),
        (lambda: alseg.gmm_threshold(GOOD, previous=(0.7, 0.2)), RangeError, "previous must be"),
        (lambda: alseg.gmm_threshold(GOOD, bounds=(0.9, 0.1)), RangeError, r"bounds must be \(low, high\)"),
        (lambda: alseg.gmm_threshold(GOOD, tolerance=-1), RangeError, "tolerance must be in"),
        (lambda: alseg.gmm_threshold(GOOD, tolerance=np.nan), RangeError, "tolerance must be in"),
        (lambda: alseg.gmm_threshold(GOOD, variance_floor=0), RangeError, "variance_floor must be in"),
        (lambda: alseg.gmm_threshold(GOOD, max_iter=0), RangeError, "max_iter must be an integer"),
        (lambda: alseg.gmm_threshold(GOOD, form="seed"), RangeError, "form must be one of crossing, released"),
        (lambda: alseg.gmm_threshold(GOOD, num_threads=0), RangeError, "num_threads must be None"),
        (lambda: alseg.gmm_threshold(GOOD, weights=np.ones(3)), ShapeError, "weights must have shape"),
        (lambda: alseg.gmm_threshold(GOOD, weights=-np.ones(600)), RangeError, r"weights must be in 0\.\.1e30; got -1"),
        (lambda: alseg.gmm_threshold(GOOD, weights=np.ones(600, int)), DtypeError, "weights must be float16"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=f"gmm_threshold: .*{message}"):
        call()
