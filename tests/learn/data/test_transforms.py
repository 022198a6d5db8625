"""Views and augmentations: picture and mask in one geometry, padding, colours, the strong view."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("torch")

import torch

from alseg_fast.errors import DtypeError, RangeError, ShapeError
from alseg_fast.learn.data.belharbi import Recipe, belharbi_augment, belharbi_view
from alseg_fast.learn.data.colour import STRONG, StrongRanges, jitter, strong_view
from alseg_fast.learn.data.geometry import draw_span, nearest_indices, resize_nearest
from alseg_fast.learn.data.transforms import Augment, View

GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def blob_picture(size=(90, 120), seed=0):
    """A smooth picture whose red channel is above 127 exactly in the mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    red = np.zeros(size)
    for _ in range(4):
        a, b = rng.uniform(0.1, 0.9, 2)
        red += np.exp(-((y - a) ** 2 + (x - b) ** 2) / 0.03)
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = np.clip(red * 200, 0, 255)
    image[..., 1] = (x * 255).astype(np.uint8)
    image[..., 2] = (y * 255).astype(np.uint8)
    return image, (image[..., 0] > 127).astype(np.uint8)


def disagreement(view, margin=6):
    """Share of pixels where the picture's red channel says clearly something else than the mask."""
    red, mask, inside = view.rgb[0].numpy().astype(int), view.mask.numpy(), view.valid.numpy()
    clear = inside & (abs(red - 127) > 40)
    return ((red > 127) != (mask == 1))[clear].mean() if clear.any() else 0.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    fit=st.sampled_from(["stretch", "cover", "contain", "native"]),
    low=st.floats(0.3, 1.0),
    more=st.floats(0.0, 1.5),
    height=st.integers(20, 130),
    width=st.integers(20, 130),
    place=st.sampled_from(["random", "centre"]),
)
def test_picture_and_mask_have_the_same_geometry(seed, fit, low, more, height, width, place):
    image, mask = blob_picture(seed=seed)
    augment = Augment((height, width), scale=(low, low + more), fit=fit, place=place, hflip=True, vflip=0.5, **GREY)
    view = augment(image, mask, np.random.default_rng(seed))
    assert view.rgb.shape == (3, height, width)
    assert disagreement(view) < 0.02
    assert ((view.mask == 255) == ~view.valid).all()
    assert (view.rgb[:, ~view.valid] == 128).all()
    # Where the position is drawn as a colour, both coordinates of the mask's own pixels can be read from the picture.
    again = augment(image, image[..., 1].copy(), np.random.default_rng(seed))
    step = image.shape[1] / 255 * 3 + 255 / width * 2
    inside = view.valid.numpy()
    assert np.abs(again.rgb[1].numpy().astype(int) - again.mask.numpy())[inside].max() <= max(8, step)


def test_a_mask_that_is_not_flipped_would_be_seen():
    image, mask = blob_picture(seed=3)
    view = Augment((60, 80), hflip=1.0, **GREY)(image, mask, np.random.default_rng(0))
    wrong = view._replace(mask=view.mask.flip(-1))
    assert disagreement(view) < 0.02 < disagreement(wrong)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([(90, 120), (450, 500), (433, 440)]))
def test_the_published_view_has_the_same_geometry(seed, size):
    image, mask = blob_picture(size, seed=seed)
    view = belharbi_augment()(image, mask, np.random.default_rng(seed))
    assert view.rgb.shape == (3, 374, 374)
    assert view.valid.all()
    assert disagreement(view) < 0.02


def test_the_published_sizes():
    recipe = Recipe()
    assert recipe.enlarged((430, 567)) == (432, 570)
    assert recipe.enlarged((522, 775)) == (522, 775)
    assert recipe.padding((522, 775)) == (5, 8)
    assert recipe.reduced((416, 416)) == (374, 374)
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    large = np.asarray(Image.fromarray(image).resize((648, 432), Image.Resampling.LANCZOS))
    prepared = recipe.prepare(image)
    assert prepared.shape == (440, 660, 3)
    np.testing.assert_array_equal(prepared[4:-4, 6:-6], large)
    np.testing.assert_array_equal(prepared[:4], prepared[5:9][::-1])
    with pytest.raises(RangeError, match="min_side >= crop"):
        Recipe(crop=500)


def test_the_published_evaluation_goes_there_and_back():
    image, mask = blob_picture((433, 601), seed=1)
    view = belharbi_view()
    tensor, ids = view.tensor(image), view.mask(mask)
    assert tensor.shape[1:] == ids.shape == (int(0.9 * 441), int(0.9 * 613))
    logits = (tensor[None, :1] * 0.5 + 0.5) * 255
    back = view.restore(logits, (433, 601))[0, 0].numpy()
    assert np.abs(back - image[..., 0]).mean() < 3
    assert ((back > 127) == mask).mean() > 0.99


def test_view_is_the_stretched_picture():
    image, mask = blob_picture((37, 53))
    view = View((20, 30), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    smaller = np.asarray(Image.fromarray(image).resize((30, 20), Image.Resampling.BILINEAR)).astype(float) / 255
    want = (smaller - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    got = view.tensor(image)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want.transpose(2, 0, 1), atol=1 / 255 / 0.5)
    ids = view.mask(mask)
    rows, columns = ((np.arange(20) + 0.5) * 37 / 20).astype(int), ((np.arange(30) + 0.5) * 53 / 30).astype(int)
    np.testing.assert_array_equal(ids.numpy(), mask[rows][:, columns])
    assert ids.dtype == torch.int64
    assert view.restore(torch.zeros(2, 1, 5, 6), (37, 53)).shape == (2, 1, 37, 53)


def test_without_chance_an_augmentation_is_the_view():
    image, mask = blob_picture((37, 53))
    made = Augment((20, 30), hflip=False)(image, mask, np.random.default_rng(0))
    view = View((20, 30))
    # the picture is rounded to 8 bits in between
    assert (made.image - view.tensor(image)).abs().max() <= 0.5 / 255 / 0.224 + 1e-6
    assert torch.equal(made.mask, view.mask(mask))
    assert made.strong is made.image


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 40), n=st.integers(1, 40))
def test_nearest_takes_the_pixel_under_the_centre(length, n):
    want = [min(length - 1, int((i + 0.5) * length / n + 1e-12)) for i in range(n)]
    assert nearest_indices(0, length, n).tolist() == want


@settings(max_examples=50, deadline=None)
@given(scaled=st.integers(1, 50), out=st.integers(1, 50), position=st.floats(0, 1), length=st.integers(1, 90))
def test_spans_stay_inside(scaled, out, position, length):
    span = draw_span(scaled, out, position)
    assert 0 <= span.low < span.high <= out
    assert span.high - span.low == min(scaled, out)
    first, stop = span.source(length)
    assert 0 <= first < stop <= length
    assert abs((stop - first) / length - min(1, out / scaled)) <= 1 / length + 1e-9


def test_crops_and_places_are_equally_likely():
    positions = (np.arange(300) + 0.5) / 300
    firsts = [round(12 * draw_span(12, 10, p).start) for p in positions]
    assert np.bincount(firsts).tolist() == [100, 100, 100]
    assert np.bincount([draw_span(8, 10, p).low for p in positions]).tolist() == [100, 100, 100]
    assert draw_span(12, 10, 1.0).stop == 1.0


def test_the_strong_view_differs_in_colours_only():
    image, mask = blob_picture()
    augment = Augment((60, 80), scale=(0.5, 1.5), strong=True, blur_probability=0.5, **GREY)
    plain = Augment((60, 80), scale=(0.5, 1.5), blur_probability=0.5, **GREY)
    changed = 0
    for seed in range(30):
        view, weak = (a(image, mask, np.random.default_rng(seed)) for a in (augment, plain))
        assert torch.equal(view.image, weak.image)  # the strong view does not change the weak one
        assert torch.equal(view.mask, weak.mask)
        assert (view.strong[:, ~view.valid] == view.image[:, ~view.valid]).all()
        changed += not torch.equal(view.strong, view.image)
    assert changed > 15


def test_every_strong_operation_occurs_once_at_a_time():
    image, _ = blob_picture((30, 40))
    seen = set()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        name = STRONG[int(np.random.default_rng(seed).integers(9))]
        out = strong_view(image, rng, StrongRanges())
        assert out.shape == image.shape
        assert out.dtype == np.uint8
        assert (name == "identity") <= np.array_equal(out, image)
        seen.add(name)
    assert seen == set(STRONG)


def test_extremes_of_the_strong_operations():
    image, _ = blob_picture((30, 40))
    seed = {STRONG[int(np.random.default_rng(s).integers(9))]: s for s in range(200)}

    def op(name, **ranges):
        return strong_view(image, np.random.default_rng(seed[name]), StrongRanges(**ranges))

    for name in ("colour", "contrast", "brightness", "sharpness"):
        np.testing.assert_array_equal(op(name, factor=(1.0, 1.0)), image)
    assert not op("brightness", factor=(0.0, 0.0)).any()
    np.testing.assert_array_equal(op("solarise", solarise=(256, 256)), image)
    np.testing.assert_array_equal(op("solarise", solarise=(0, 0)), 255 - image)
    np.testing.assert_array_equal(op("posterise", posterise=(4, 4)), image & 0xF0)


def test_jitter():
    image, _ = blob_picture((30, 40))
    np.testing.assert_array_equal(jitter(image, np.random.default_rng(0), (0, 0, 0, 0)), image)
    for amounts in ((0.5, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 0.5, 0), (0, 0, 0, 0.3), (5, 5, 5, 0.5)):
        out = jitter(image, np.random.default_rng(1), amounts)
        assert out.shape == image.shape
        assert not np.array_equal(out, image)


def test_hidden_cells_are_the_same_in_both_views():
    image, mask = blob_picture()

    def hide(tensor, rng):
        assert tensor.shape == (1, 3, 60, 80)
        out = tensor.clone()
        out[..., : int(rng.integers(10, 50)), :] = 0
        return out

    keywords = dict(strong=True, strong_ranges=StrongRanges(factor=(0.3, 0.4)), **GREY)
    view = Augment((60, 80), hide=hide, **keywords)(image, mask, np.random.default_rng(4))
    open_view = Augment((60, 80), **keywords)(image, mask, np.random.default_rng(4))
    n = int((view.image == 0).all(0).all(1).sum())
    assert 10 <= n < 50
    assert (view.strong[:, :n] == 0).all()
    assert torch.equal(view.image[:, n:], open_view.image[:, n:])
    assert torch.equal(view.strong[:, n:], open_view.strong[:, n:])
    assert torch.equal(view.rgb, open_view.rgb)  # nothing is hidden from losses that look at colours


def test_unlabelled_pictures_have_no_mask():
    image, _ = blob_picture()
    view = Augment((20, 20))(image, None, np.random.default_rng(0))
    assert (view.mask == 255).all()
    assert view.valid.all()


def test_flip_probabilities():
    image, mask = blob_picture()
    for flag, share in ((False, 0), (True, 0.5), (0.25, 0.25), (1.0, 1)):
        augment = Augment(image.shape[:2], hflip=flag)
        views = [augment(image, mask, np.random.default_rng(s)) for s in range(200)]
        flipped = [torch.equal(v.mask.flip(1), torch.from_numpy(mask).long()) for v in views]
        assert abs(np.mean(flipped) - share) < 0.1


@pytest.mark.parametrize(("fit", "scale", "want"), [
    ("stretch", (1, 1), (30, 40)), ("stretch", (0.5, 2), (60, 80)), ("cover", (1, 1), (30, 45)),
    ("contain", (1, 1), (27, 40)), ("native", (0.5, 1), (100, 150)), ("native", (0.2, 0.5), (50, 75)),
    ("stretch", (1, 9), (100, 150)),
])  # fmt: skip
def test_pictures_are_kept_no_larger_than_needed(fit, scale, want):
    assert Augment((30, 40), fit=fit, scale=scale).stored_size((100, 150)) == want


def test_a_reduced_picture_gives_nearly_the_same_view():
    image, mask = blob_picture((300, 400))
    augment = Augment((30, 40), scale=(0.5, 1.5), fit="cover", **GREY)
    small = augment.stored_size((300, 400))
    reduced = np.asarray(Image.fromarray(image).resize(small[::-1], Image.Resampling.BOX))
    for seed in range(10):
        whole = augment(image, mask, np.random.default_rng(seed))
        less = augment(reduced, resize_nearest(mask, small), np.random.default_rng(seed), size=(300, 400))
        assert torch.equal(whole.valid, less.valid)
        assert (whole.mask == less.mask).float().mean() > 0.95
        assert (whole.rgb.float() - less.rgb.float()).abs().mean() < 6


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"scale": (0, 1)}, r"scale must be \(low, high\) with 0 < low <= high; got \(0, 1\)"),
        ({"scale": (2, 1)}, "scale must be"),
        ({"blur_radius": (-1, 1)}, r"blur_radius must be \(low, high\) with 0 <= low"),
        ({"hflip": 1.5}, r"hflip must be in 0 .. 1; got 1.5"),
        ({"colour": (0, 0, 0, 0.6)}, "colour must be"),
        ({"colour": (0, 0, 0)}, "colour must be"),
        ({"fit": "crop"}, "fit must be one of stretch, cover, contain, native; got 'crop'"),
        ({"place": "left"}, "place must be one of"),
        ({"std": (0, 1, 1)}, "mean and std must be three finite numbers, std > 0"),
        ({"mean": (0.5,)}, "mean and std must be three finite numbers"),
    ],
)
def test_wrong_settings_are_named(keywords, message):
    with pytest.raises(RangeError, match=f"Augment: {message}"):
        Augment((8, 8), **keywords)


def test_wrong_pictures_are_named():
    image, mask = blob_picture()
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match=r"Augment: size must be \(H, W\)"):
        Augment((0, 8))
    with pytest.raises(ShapeError, match=r"mask must be \[H, W\] = \[90, 120\] as the image; got \[10, 120\]"):
        Augment((8, 8))(image, mask[:10], rng)
    with pytest.raises(ShapeError, match=r"image must be \[H, W, 3\]; got \[90, 120\]"):
        Augment((8, 8))(mask, mask, rng)
    with pytest.raises(DtypeError, match="image must be uint8; got float64"):
        Augment((8, 8))(image / 255, mask, rng)
    with pytest.raises(ShapeError, match=r"hide must return \[1, 3, H, W\] = \[1, 3, 8, 8\]; got \[3, 8, 8\]"):
        Augment((8, 8), hide=lambda t, _: t[0])(image, mask, rng)
    with pytest.raises(ShapeError, match=r"View.mask: mask must be \[H, W\]"):
        View((8, 8)).mask(image)
