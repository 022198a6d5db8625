"""One rule for all implementations of the uncertainty: at most twice the error of the same formula in float32.

An implementation may differ from the float64 reference by twice what the reference's own formula loses when it is
computed in float32, plus two units in the last place. What it loses is the most over the map and over the two ways in
which interpolation is usually written, a (1 - f) + b f and a + f (b - a): on a small map one of them may be lucky.
Labels and votes may differ only where two classes tie within that rounding.
"""

from dataclasses import dataclass

import numpy as np

from alseg_fast.kernels.uncertainty import reference as definition
from alseg_fast.kernels.uncertainty.common import MEASURES, n_labels


def weighted(a, b, f):
    return a * (1 - f) + b * f


def stepped(a, b, f):
    return a + f * (b - a)


def upsample_float32(z, request, between):
    """[..., h, w] float32 -> [..., H, W]: the reference's interpolation, in float32."""
    top, left, height, width = request.box
    y0, y1, fy = definition.axis_positions(z.shape[-2], request.size[0], top, height, request.align_corners)
    x0, x1, fx = definition.axis_positions(z.shape[-1], request.size[1], left, width, request.align_corners)
    fy, fx = fy.astype(np.float32), fx.astype(np.float32)
    z = between(z[..., y0, :], z[..., y1, :], fy[:, None])
    return between(z[..., x0], z[..., x1], fx)


@dataclass
class Truth:
    """The reference's result with what may be off by how much."""

    raw: object
    atol: dict  # measure -> [N, H, W] allowed error of its map
    rank: object  # [N, L, H, W] float64: what the label is the arg-max of
    rank_atol: float
    tied_vote: object  # [N, H, W]: a pass's best two classes tie within rounding


def two_ulp(x):
    return 2 * np.spacing(np.maximum(np.abs(x), 1).astype(np.float32)).astype(np.float64)


def ranks(z, request):
    """[N, T, C, H, W] upsampled scores -> what labels [N, L, ...] and votes [N, T, L, ...] are the arg-max of."""
    p = definition.probabilities(z, request)
    if request.activation == "sigmoid" and z.shape[2] == 1:
        p = np.concatenate([1 - p, p], axis=2)
    if request.activation == "sigmoid" and z.shape[1] == 1 and z.shape[2] > 1:
        return z[:, 0], z
    return p.mean(axis=1), p


def truth_of(inputs):
    """What `assert_parity` compares with; costs two evaluations of the reference's formula."""
    request = inputs.request
    raw = definition.uncertainty(inputs.logits, request, inputs.valid, inputs.segments)
    z64 = definition.upsample(inputs.exact, request)
    with np.errstate(all="ignore"):
        forms = [upsample_float32(inputs.exact.astype(np.float32), request, way) for way in (weighted, stepped)]
        singles = [definition.pixel_measures(z, request)[0].astype(np.float64) for z in forms]
        double, _ = definition.pixel_measures(z64, request)
        assert all(definition.probabilities(z, request).dtype == np.float32 for z in forms)
    atol = {}
    for k, name in enumerate(MEASURES):
        lost = np.concatenate([np.abs(single[:, k] - double[:, k]) for single in singles])
        if name == "variation_ratio":
            lost = lost[lost < 0.5 / inputs.logits.shape[1]]  # a vote at a tie is a matter of its own
        atol[name] = 2 * lost.max(initial=0) + two_ulp(double[:, k])
    # A difference of two results, each of which may be off by its own two units.
    atol["mutual_information"] = atol["mutual_information"] + two_ulp(double[:, MEASURES.index("entropy")])
    rank64, votes64 = ranks(z64, request)
    both = [ranks(z, request) for z in forms]
    lost = max(np.abs(rank.astype(np.float64) - rank64).max() for rank, _ in both)
    vote_atol = 2 * max(np.abs(votes.astype(np.float64) - votes64).max() for _, votes in both) + two_ulp(votes64).max()
    if request.activation == "sigmoid":  # every channel votes
        votes64 = votes64 if z64.shape[2] == 1 else definition.probabilities(z64, request)
        gaps = np.abs(votes64 - (1 - votes64)).min(axis=(1, 2))
    else:
        best = np.sort(votes64, axis=2)
        gaps = (best[:, :, -1] - best[:, :, -2]).min(axis=1)
    return Truth(raw, atol, rank64, 2 * lost + two_ulp(rank64).max(), gaps <= vote_atol)


def assert_parity(got, inputs, truth=None):
    """`got`: a Raw of NumPy arrays for `inputs` (a kernels.uncertainty.cases.Inputs), all measures and results."""
    truth = truth or truth_of(inputs)
    expected, request = truth.raw, inputs.request
    counts = np.ones((len(inputs.logits), *request.size), bool) if inputs.valid is None else inputs.valid
    np.testing.assert_array_equal(got.status, expected.status)
    np.testing.assert_array_equal(got.n_valid, expected.n_valid)
    for name in request.measures:
        error = np.abs(got.maps[name].astype(np.float64) - expected.maps[name])
        if name == "variation_ratio":
            error = np.where(truth.tied_vote, 0, error)
        over = ~(error <= truth.atol[name])  # NaN counts
        assert not over.any(), (
            f"{name}: {over.sum()} of {over.size} pixels are off; the worst by {np.max(error)}, "
            f"{np.max(truth.atol[name])} allowed"
        )
        assert (got.maps[name][~counts] == 0).all(), f"{name}: not 0 where a pixel is not valid"
    assert_labels(got, truth, counts)
    assert_image_sums(got, truth, counts, request)
    assert_class_sums(got, counts, request, inputs.logits.shape[2])
    if inputs.segments is not None:
        assert_segment_sums(got, counts, inputs, expected)


def assert_labels(got, truth, counts):
    labels = got.labels.astype(np.int64)
    assert labels.max() < truth.rank.shape[1]
    chosen = np.take_along_axis(truth.rank, labels[:, None], axis=1)[:, 0]
    gap = np.where(counts, truth.rank.max(axis=1) - chosen, 0)
    assert gap.max() <= truth.rank_atol, f"labels differ where the best two classes are {gap.max()} apart"
    tied = truth.rank.max(axis=1) - np.sort(truth.rank, axis=1)[:, -2] <= truth.rank_atol
    np.testing.assert_array_equal(labels[~tied & counts], truth.raw.labels[~tied & counts])


def assert_image_sums(got, truth, counts, request):
    """The reference's within the tolerance of a pixel, and those of the implementation's own maps."""
    for k, name in enumerate(MEASURES):
        if name not in request.measures:
            continue
        atol = truth.atol[name].max()
        if name == "variation_ratio" and truth.tied_vote.any():
            atol = 1.0
        for i in range(len(counts)):
            values = np.sort(got.maps[name][i][counts[i]].astype(np.float64))[::-1]
            for column, own in (
                ("mean", values.mean() if values.size else np.nan),
                ("max", values.max() if values.size else np.nan),
                ("top", values[: request.top_count(values.size)].mean() if values.size else np.nan),
            ):
                ours, theirs = getattr(got, column)[i, k], getattr(truth.raw, column)[i, k]
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=f"{name} {column}")
                np.testing.assert_allclose(ours, own, rtol=0, atol=2.4e-7, err_msg=f"{name} {column} of its map")


def assert_class_sums(got, counts, request, n_classes):
    width = n_labels(n_classes)
    for i in range(len(counts)):
        ids = got.labels[i][counts[i]].astype(np.int64)
        np.testing.assert_array_equal(got.class_count[i], np.bincount(ids, minlength=width))
        for k, name in enumerate(MEASURES):
            if name in request.measures:
                own = np.bincount(ids, got.maps[name][i][counts[i]].astype(np.float64), minlength=width)
                atol = 2.4e-7 * got.class_count[i].max(initial=1)
                np.testing.assert_allclose(got.class_sum[i, k], own, rtol=1e-6, atol=atol, err_msg=name)


def assert_segment_sums(got, counts, inputs, expected):
    request = inputs.request
    np.testing.assert_array_equal(got.segment_area, expected.segment_area)
    for i in range(len(counts)):
        where = inputs.segments[i][counts[i]]
        shares = np.zeros_like(got.segment_class[i])
        np.add.at(shares, (where, got.labels[i][counts[i]].astype(np.int64)), 1)
        np.testing.assert_array_equal(got.segment_class[i], shares)
        for k, name in enumerate(MEASURES):
            if name in request.measures:
                own = np.bincount(where, got.maps[name][i][counts[i]].astype(float), minlength=request.n_segments)
                np.testing.assert_allclose(got.segment_sum[i, k], own, rtol=1e-6, atol=1e-6, err_msg=name)
