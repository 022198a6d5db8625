"""Trained networks, exported, give in `alseg score` the labels that torch gives: at least 99.9 % of the pixels."""

import numpy as np
import pytest

from support import draw_picture

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from alseg_fast.learn.networks.build import build_network  # noqa: E402
from scored_labels import label_agreement  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = (64, 96)
SIZES = ((90, 70), (128, 200), (64, 96))  # of the pictures: taller, larger and as the network sees them
TAGS = ("cat", "dog", "cow")
LEAST = 0.999


def images():
    return [draw_picture(seed, size) for seed, size in enumerate(SIZES)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(**options):
    """A network whose maps differ from place to place, as a trained one's do."""
    network = build_network(n_tags=len(TAGS), seed=1, **options)
    batch = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    network.train()
    with torch.no_grad():
        for _ in range(5):
            network((batch - 0.45) / 0.225)
        network.eval()
        if options["n_classes"] == 2:  # half of the pixels are foreground
            last = [m for m in network.decoder.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == 1][-1]
            last.bias -= network.scorer()((batch - 0.45) / 0.225).median()
    return network


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({"encoder": "light", "decoder": "unet", "n_classes": 4}, ("background", *TAGS)),
        ({"encoder": "light", "decoder": "unet", "n_classes": 2}, ("background", "gland")),
        ({"encoder": "vit_tiny", "pooling": "max", "decoder": "largefov", "n_classes": 4}, ("background", *TAGS)),
    ],
)
def test_segmentation_labels_are_those_of_torch(options, classes, tmp_path):
    network = network_of(**options)
    shares, labels = label_agreement(
        network, "segmentation", images(), tmp_path, size=SIZE, classes=classes, mean=MEAN, std=STD
    )
    assert shares.min() >= LEAST, shares
    assert len(np.unique(np.concatenate([a.ravel() for a in labels]))) >= 2


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "light", "pooling": "wildcat", "decoder": "none"},
        {"encoder": "resnet18", "pooling": "average", "decoder": "none", "output_stride": 8},
        {"encoder": "vit_tiny", "pooling": "max", "decoder": "largefov"},
    ],
)
def test_labels_of_activation_maps_are_those_of_torch(options, tmp_path):
    network = network_of(n_classes=4, **options)
    tags = [["cat", "cow"], None, ["dog"]]
    shares, labels = label_agreement(
        network, "cam", images(), tmp_path, size=SIZE, classes=TAGS, mean=MEAN, std=STD, tags=tags
    )
    assert shares.min() >= LEAST, shares
    assert set(np.unique(labels[0])) <= {0, 1, 3}
    assert set(np.unique(labels[2])) == {0, 2}
    assert len(np.unique(labels[1])) >= 2
