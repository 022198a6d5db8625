"""Pooling heads against plain NumPy, and their gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from alseg_fast.errors import RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.networks.heads import AverageHead, MaxHead  # noqa: E402
from alseg_fast.learn.networks.wildcat import WildcatHead, wildcat_pool  # noqa: E402


def plain(maps, kmax, kmin, alpha, form):
    b, k, h, w = maps.shape
    scores = np.empty((b, k))
    for i in range(b):
        for j in range(k):
            s = np.sort(maps[i, j].ravel())[::-1]
            high = s[: max(1, round(kmax * h * w))].mean()
            low = s[len(s) - max(1, round(kmin * h * w)) :].mean() if kmin > 0 else 0.0
            scores[i, j] = high if form == "published" or kmin == 0 or alpha == 0 else (high + alpha * low) / 2
    return scores


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    kmax=st.floats(0.01, 1),
    kmin=st.floats(0, 1),
    alpha=st.floats(0, 1),
    form=st.sampled_from(["corrected", "published"]),
)
def test_pool_is_the_mean_of_highest_and_lowest(h, w, kmax, kmin, alpha, form):
    maps = np.random.default_rng(h * 10 + w).normal(size=(2, 3, h, w))
    got = wildcat_pool(torch.from_numpy(maps), kmax=kmax, kmin=kmin, alpha=alpha, form=form)
    np.testing.assert_allclose(got.numpy(), plain(maps, kmax, kmin, alpha, form), atol=1e-12)


def test_published_form_loses_the_lowest_activations():
    maps = torch.tensor([[[[4.0, 2.0], [0.0, -6.0]]]])
    assert wildcat_pool(maps, kmax=0.5, kmin=0.5, form="published").item() == 3.0
    assert wildcat_pool(maps, kmax=0.5, kmin=0.5).item() == pytest.approx((3.0 + 0.6 * -3.0) / 2)
    # Maps too small for a share of 10 % take one activation; the published code divides by 0 there.
    assert wildcat_pool(maps, form="published").item() == 4.0


@pytest.mark.parametrize("form", ["corrected", "published"])
def test_gradients(form):
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: wildcat_pool(m, kmax=0.3, kmin=0.2, form=form), (maps,))


def test_dropout_is_active_in_training_only():
    head = WildcatHead(4, 2, pooling_dropout=0.5)
    head.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(1, 4, 10, 10, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    first, second = head.train()(x), head(x)
    assert not torch.equal(first.tag_logits, second.tag_logits)
    assert torch.equal(first.cams, second.cams)
    assert torch.equal(head.eval()(x).tag_logits, head(x).tag_logits)


def test_map_is_the_mean_of_the_modalities():
    head = WildcatHead(6, 3, modalities=5).eval()
    x = torch.randn(2, 6, 4, 7)
    every = torch.nn.functional.conv2d(x, head.to_maps.weight, head.to_maps.bias)
    cams = torch.stack([every[:, 5 * i : 5 * i + 5].mean(1) for i in range(3)], 1)
    out = head(x)
    torch.testing.assert_close(out.cams, cams)
    torch.testing.assert_close(out.tag_logits, wildcat_pool(cams))


def test_a_flat_map_has_finite_scores_and_gradients():
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    wildcat_pool(maps).sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"kmax": 0}, "kmax must be above 0 and at most 1; got 0"),
        ({"kmax": 1.5}, "kmax must be above 0 and at most 1; got 1.5"),
        ({"kmin": -0.1}, "kmin must be in 0..1; got -0.1"),
        ({"dropout": 1.0}, "dropout must be in .0, 1.; got 1.0"),
        ({"form": "printed"}, "form must be one of corrected, published; got 'printed'"),
    ],
)
def test_bad_numbers_are_refused(keywords, message):
    with pytest.raises(RangeError, match=message):
        wildcat_pool(torch.zeros(1, 1, 2, 2), **keywords)


def test_bad_heads_and_maps_are_refused():
    with pytest.raises(RangeError, match="modalities must be an integer >= 1; got 0"):
        WildcatHead(4, 2, modalities=0)
    with pytest.raises(RangeError, match="kmax must be above 0"):
        WildcatHead(4, 2, kmax=float("nan"))
    with pytest.raises(ShapeError, match=r"maps must be \[B, K, h, w\], not empty; got \[1, 2, 0, 3\]"):
        wildcat_pool(torch.zeros(1, 2, 0, 3))


def test_average_head_is_the_mean_of_its_map_plus_a_bias():
    head = AverageHead(6, 3)
    with torch.no_grad():
        head.classifier.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    x = torch.randn(2, 6, 4, 5)
    out = head(x)
    torch.testing.assert_close(out.tag_logits, out.cams.mean((2, 3)) + head.classifier.bias)
    torch.testing.assert_close(out.tag_logits, head.classifier(x.mean((2, 3), keepdim=True))[..., 0, 0])


def test_max_head_takes_each_channel_where_it_is_strongest():
    head = MaxHead(2, 1)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor([1.0, 1.0]).view(1, 2, 1, 1))
    x = torch.tensor([[[[3.0, 0.0]], [[0.0, 5.0]]]], requires_grad=True)
    out = head(x)
    assert out.tag_logits.item() == 8.0
    assert out.cams.max() == 5.0
    assert head.classifier.bias is None
    out.tag_logits.sum().backward()
    assert x.grad.tolist() == [[[[1.0, 0.0]], [[0.0, 1.0]]]]
