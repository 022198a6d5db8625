"""Figures of networks on drawn data sets, against plain torch at each picture's own resolution."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from alseg_fast.errors import DataError, RangeError, UsageError  # noqa: E402
from alseg_fast.learn.data.dataset import Dataset, Sample  # noqa: E402
from alseg_fast.learn.data.transforms import View  # noqa: E402
from alseg_fast.learn.networks.outputs import NetworkOutputs  # noqa: E402
from alseg_fast.learn.training.evaluate import evaluate_cams, evaluate_segmentation  # noqa: E402
from alseg_fast.learn.training.figures import class_table  # noqa: E402
from alseg_fast.learn.training.label_maps import cam_winner  # noqa: E402

SIZES = ((37, 50), (24, 24), (61, 33), (40, 48), (30, 20))
VIEW = View((32, 40))


def read_png(path):
    from PIL import Image

    return np.asarray(Image.open(path))


def draw_dataset(folder: Path, *, n_classes, class_of_tag, single_tag=False, without_mask=(), without_tags=()):
    """Noisy pictures whose masks are blocky, and tags of what the mask holds."""
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(n_classes)
    samples = []
    for i, size in enumerate(SIZES):
        coarse = rng.integers(0, n_classes, (4, 5), dtype=np.uint8)
        mask = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.NEAREST)).copy()
        mask[:2] = 255
        noise = rng.integers(0, 120, (*size, 3))
        picture = np.clip(noise + 40 * np.where(mask == 255, 0, mask)[..., None] * [1, 0, 1], 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}-mask.png")
        tags = tuple(k for k, c in enumerate(class_of_tag) if (mask == c).any() and (i + k) % 3)
        if single_tag:
            tags = (i % len(class_of_tag),)
        samples.append(
            Sample(
                image_id=f"picture-{i}",
                image=folder / f"{i}.png",
                mask=None if i in without_mask else folder / f"{i}-mask.png",
                tags=() if i in without_tags else tags,
                split="test",
            )
        )
    return Dataset(
        name="drawn",
        classes=tuple(f"class-{c}" for c in range(n_classes)),
        tag_names=tuple(f"tag-{k}" for k in range(len(class_of_tag))),
        class_of_tag=tuple(class_of_tag),
        single_tag=single_tag,
        samples=tuple(samples),
        read_native_mask=read_png,
    )


class Colours(nn.Module):
    """A fixed network of one convolution to a quarter of the resolution."""

    def __init__(self, channels, n_tags, *, seg=True, cams=True, poison=None):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.seg = nn.Conv2d(3, channels, 4, 4) if seg else None
        self.cam = nn.Conv2d(3, n_tags, 4, 4) if cams else None
        self.dropout = nn.Dropout(0.9)  # would spoil everything in training mode
        self.poison = poison
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4

    def forward(self, images):
        x = self.dropout(images - images.mean((2, 3), keepdim=True))
        seg = None if self.seg is None else self.seg(x)
        cams = None if self.cam is None else self.cam(x)
        if self.poison is not None and seg is not None:
            seg = torch.where(torch.arange(len(x))[:, None, None, None] == self.poison, torch.nan, seg)
        return NetworkOutputs(tag_logits=None if cams is None else cams.amax((2, 3)) - 1, cams=cams, seg_logits=seg)


def outputs_of(network, dataset):
    """(sample, truth, outputs) of one picture at a time."""
    network.eval()
    for sample in dataset.samples:
        truth = None if sample.mask is None else read_png(sample.mask)
        with torch.no_grad():
            yield sample, truth, network(VIEW.tensor(read_png(sample.image))[None])


def plain_figures(pairs, n_classes):
    preds, truths = (np.concatenate([x[i].ravel() for x in pairs]) for i in (0, 1))
    known = truths != 255
    preds, truths = preds[known], truths[known]
    ious = []
    for c in range(n_classes):
        union = ((preds == c) | (truths == c)).sum()
        ious.append(((preds == c) & (truths == c)).sum() / union if union else np.nan)
    dices = []
    for pred, truth in pairs:
        a, b = (pred != 0) & (truth != 255), (truth != 0) & (truth != 255)
        dices.append(2 * (a & b).sum() / (a.sum() + b.sum() + 1e-8))
    return {"miou": np.nanmean(ious), "pixel_accuracy": (preds == truths).mean(), "dice": np.mean(dices)}


def upsampled(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


# ---- segmentation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_several_classes(tmp_path, batch_size):
    data = draw_dataset(tmp_path / "data", n_classes=4, class_of_tag=(1, 2, 3), without_mask=(3,))
    network = Colours(4, 3)
    plain, masked = [], []
    for sample, truth, out in outputs_of(network, data):
        if truth is None:
            continue
        scores = upsampled(out.seg_logits, truth.shape)
        plain.append((scores.argmax(1)[0].numpy(), truth))
        for tag, c in enumerate(data.class_of_tag):
            if tag not in sample.tags:
                scores[:, c] = -1e9
        masked.append((scores.argmax(1)[0].numpy(), truth))
    network.train()
    figures = evaluate_segmentation(network, data, VIEW, tag_masked=True, batch_size=batch_size)
    assert all(m.training for m in network.modules())
    expected, with_tags = plain_figures(plain, 4), plain_figures(masked, 4)
    for key in ("miou", "pixel_accuracy"):
        assert figures[key] == pytest.approx(expected[key], abs=1e-3)
        assert figures[f"tag_masked_{key}"] == pytest.approx(with_tags[key], abs=1e-3)
        assert abs(expected[key] - with_tags[key]) > 0.01
    assert "dice" not in figures
    assert all(0 <= v <= 1 and isinstance(v, float) for v in figures.values())
    ious = [figures[f"iou/{c}"] for c in data.classes]
    assert np.mean(ious) == pytest.approx(figures["miou"])
    table = class_table(figures, data)
    assert [row["class"] for row in table] == list(data.classes)
    assert [row["iou"] for row in table] == ious
    assert all("tag_masked_iou" in row for row in table)


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_one_foreground_logit(tmp_path, threshold):
    data = draw_dataset(tmp_path / "data", n_classes=2, class_of_tag=(1, 1), single_tag=True)
    network = Colours(1, 2)
    pairs = [
        ((upsampled(out.seg_logits, truth.shape).sigmoid()[0, 0] >= threshold).numpy(), truth)
        for _, truth, out in outputs_of(network, data)
    ]
    figures = evaluate_segmentation(network, data, VIEW, threshold=threshold)
    expected = plain_figures(pairs, 2)
    for key in ("miou", "pixel_accuracy", "dice"):
        assert figures[key] == pytest.approx(expected[key], abs=1e-3)
    assert not [key for key in figures if key.startswith("tag_masked")]


def test_an_absent_foreground_is_all_background(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=2, class_of_tag=(1,), without_tags=(0, 1))
    network = Colours(1, 1)
    network.seg.bias.data[:] = 50  # everything is foreground
    figures = evaluate_segmentation(network, data, VIEW, tag_masked=True)
    pairs = []
    for sample, truth, _ in outputs_of(network, data):
        known = not data.samples[int(sample.image_id[-1])].tags  # nothing is known: nothing is masked
        pairs.append((np.full(truth.shape, int(known or 0 in sample.tags)), truth))
    assert figures["tag_masked_dice"] == pytest.approx(plain_figures(pairs, 2)["dice"])


def test_nan_logits_name_the_image(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=3, class_of_tag=(1, 2))
    for masked in (False, True):
        with pytest.raises(
            DataError, match="evaluate_segmentation: image picture-1: uncertainty: logits must be finite"
        ):
            evaluate_segmentation(Colours(3, 2, poison=1), data, VIEW, tag_masked=masked)


def test_a_broken_picture_stops_the_evaluation(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=3, class_of_tag=(1, 2))
    (tmp_path / "data" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png"):
        evaluate_segmentation(Colours(3, 2), data, VIEW)


def test_evaluate_segmentation_refuses(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=3, class_of_tag=(1, 2), without_mask=range(5))
    with pytest.raises(DataError, match="no image of drawn has a labelled pixel"):
        evaluate_segmentation(Colours(3, 2), data, VIEW)
    with pytest.raises(UsageError, match="network must have a segmentation head"):
        evaluate_segmentation(Colours(3, 2, seg=False), data, VIEW)
    with pytest.raises(UsageError, match="network must have 3 segmentation channels for 3 classes; got 4"):
        evaluate_segmentation(Colours(4, 2), data, VIEW)
    with pytest.raises(RangeError, match=r"threshold must be 0\.5 for 3 channels; got 0.4"):
        evaluate_segmentation(Colours(3, 2), data, VIEW, threshold=0.4)
    with pytest.raises(RangeError, match=r"threshold must be in \(0, 1\); got 1.0"):
        evaluate_segmentation(Colours(3, 2), data, VIEW, threshold=1.0)
    with pytest.raises(RangeError, match="batch_size must be an integer >= 1; got 0"):
        evaluate_segmentation(Colours(3, 2), data, VIEW, batch_size=0)
    with pytest.raises(DataError, match="the data set drawn has no image here"):
        evaluate_segmentation(Colours(3, 2), data.split("val"), VIEW)


# ---- activation maps -----------------------------------------------------------------------------------------------


def plain_cams(out, tags):
    cams = out.cams.clamp(min=0)
    cams = cams - cams.amin((2, 3), keepdim=True)
    cams = cams / (cams.amax((2, 3), keepdim=True) + 1e-5)
    absent = [k for k in range(cams.shape[1]) if k not in tags]
    cams[:, absent] = 0
    return cams


def plain_cam_pairs(network, data, threshold, tags="true"):
    pairs = []
    for sample, truth, out in outputs_of(network, data):
        if truth is None:
            continue
        present = sample.tags if tags == "true" else [int(k) for k in (out.tag_logits[0] > 0).nonzero()[:, 0]]
        maps = upsampled(plain_cams(out, present), truth.shape)[0]
        best, tag = maps.max(0)
        pairs.append((np.where(best >= threshold, np.array(data.class_of_tag)[tag], 0), truth))
    return pairs


@pytest.mark.parametrize("tags", ["true", "predicted"])
@pytest.mark.parametrize("threshold", [0.3, 0.55])
def test_label_maps_of_activation_maps(tmp_path, tags, threshold):
    data = draw_dataset(tmp_path / "data", n_classes=4, class_of_tag=(1, 2, 3), without_mask=(1,), without_tags=(2,))
    network = Colours(4, 3)
    network.train()
    figures = evaluate_cams(network, data, VIEW, threshold=threshold, tags=tags, batch_size=2)
    assert all(m.training for m in network.modules())
    expected = plain_figures(plain_cam_pairs(network, data, threshold, tags), 4)
    for key in ("miou", "pixel_accuracy"):
        assert figures[key] == pytest.approx(expected[key], abs=1e-4)
    sweep = [plain_figures(plain_cam_pairs(network, data, t / 100, tags), 4)["miou"] for t in range(5, 100, 10)]
    found = evaluate_cams(
        network, data, VIEW, threshold=threshold, tags=tags, sweep=tuple(t / 100 for t in range(5, 100, 10))
    )
    assert found["oracle_miou"] == pytest.approx(max(*sweep, expected["miou"]), abs=1e-4)
    assert figures["oracle_miou"] >= max(figures["miou"], found["oracle_miou"]) - 1e-9


def test_dice_and_oracle_of_two_classes(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=2, class_of_tag=(1, 1), single_tag=True)
    network = Colours(1, 2)
    figures = evaluate_cams(network, data, VIEW, threshold=0.4)
    assert figures["dice"] == pytest.approx(plain_figures(plain_cam_pairs(network, data, 0.4), 2)["dice"], abs=1e-4)
    best = plain_figures(plain_cam_pairs(network, data, figures["oracle_dice_threshold"]), 2)["dice"]
    assert figures["oracle_dice"] == pytest.approx(best, abs=1e-4)
    assert figures["oracle_dice"] > figures["dice"]
    assert all(0 <= v <= 1 and isinstance(v, float) for v in figures.values())


def test_tags_alone(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=2, class_of_tag=(1, 1), single_tag=True, without_mask=range(5))
    network = Colours(1, 2)
    figures = evaluate_cams(network, data, VIEW, threshold=0.4, scales=(0.5, 1.0), flip=True, batch_size=2)
    assert sorted(figures) == ["tag_accuracy", "tag_average_precision"]
    straight = evaluate_cams(network, data, VIEW, threshold=0.4)
    answers = [int(out.tag_logits.argmax()) for _, _, out in outputs_of(network, data)]
    right = np.mean([a == s.tags[0] for a, s in zip(answers, data.samples, strict=True)])
    assert straight["tag_accuracy"] == pytest.approx(right)
    # the network's own tags are those of the first scale, whatever scales follow
    more = evaluate_cams(network, data, VIEW, threshold=0.4, scales=(1.0, 0.4), flip=True, batch_size=2)
    assert more == straight
    assert figures["tag_average_precision"] != straight["tag_average_precision"]


def test_all_zero_maps_are_background(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=2, class_of_tag=(1, 1), single_tag=True)
    network = Colours(1, 2)
    network.cam.weight.data[:] = 0
    figures = evaluate_cams(network, data, VIEW, threshold=0.4)
    assert figures["dice"] == figures["iou/class-1"] == figures["oracle_dice"] == 0
    assert figures["iou/class-0"] > 0


def test_winner_is_the_label_of_the_engine():
    from alseg_fast import uncertainty

    maps = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    maps = maps / maps.amax((2, 3), keepdim=True)
    tags = torch.tensor([[1, 0, 1]])
    values, classes = cam_winner(maps[0] * tags[0, :, None, None], tags[0], (1, 2, 3), (31, 29))
    labels = uncertainty(maps, (31, 29), activation="cam", image_labels=tags, background=0.6).labels
    assert (np.where(values >= 0.6, classes, 0) == labels[0].numpy()).mean() > 0.999


def test_evaluate_cams_refuses(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=3, class_of_tag=(0, 1, 2))
    with pytest.raises(RangeError, match="dataset must have a background of id 0; in drawn 0 is class-0"):
        evaluate_cams(Colours(3, 3), data, VIEW, threshold=0.4)
    data = draw_dataset(
        tmp_path / "more", n_classes=3, class_of_tag=(1, 2), without_mask=range(5), without_tags=range(5)
    )
    with pytest.raises(DataError, match="no image of drawn has a mask or a tag"):
        evaluate_cams(Colours(3, 2), data, VIEW, threshold=0.4)
    with pytest.raises(RangeError, match=r"threshold must be in \(0, 1\]; got 0.0"):
        evaluate_cams(Colours(3, 2), data, VIEW, threshold=0.0)
    with pytest.raises(RangeError, match="tags must be one of true, predicted"):
        evaluate_cams(Colours(3, 2), data, VIEW, threshold=0.5, tags="none")


def test_nan_maps_name_the_images(tmp_path):
    data = draw_dataset(tmp_path / "data", n_classes=3, class_of_tag=(1, 2))
    network = Colours(3, 2)
    network.cam.bias.data[0] = torch.nan
    with pytest.raises(DataError, match="evaluate_cams: images picture-0, picture-1: activation_maps"):
        evaluate_cams(network, data, VIEW, threshold=0.4, tags="predicted", batch_size=2)


def test_nan_in_an_absent_class_is_not_masked_away():
    from alseg_fast.learn.training.label_maps import without_absent

    sample = Sample("a", Path("a.png"), None, (0,), "test")
    data = Dataset("d", ("b", "x", "y"), ("x", "y"), (1, 2), False, (sample,), read_png)
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, 2, 0, 0] = torch.nan
    masked = without_absent(logits, sample, data)
    assert masked[0, 2, 0, 0].isnan()
    assert masked[0, :, 0, 1].tolist() == [0, 0, -1e5]


def test_ties_go_to_the_first_tag_and_nothing_to_the_background():
    maps = torch.tensor([[[0.0, 0.7]], [[0.0, 0.7]]])
    values, classes = cam_winner(maps, torch.ones(2), (2, 1), (1, 2))
    assert values.tolist() == [[0.0, pytest.approx(0.7)]]
    assert classes.tolist() == [[0, 2]]
