"""The sheet of a network's maps: which pictures it shows, and that the maps are those of the network."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alseg_fast.errors import DataError, RangeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from alseg_fast.learn.data.dataset import Dataset, Sample  # noqa: E402
from alseg_fast.learn.data.readers import read_dataset  # noqa: E402
from alseg_fast.learn.data.transforms import View  # noqa: E402
from alseg_fast.learn.maps.map_sheet import _spread, map_sheet  # noqa: E402
from alseg_fast.learn.maps.overlay import contact_sheet, map_row  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.outputs import NetworkOutputs  # noqa: E402

VIEW = View((30, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Channels(nn.Module):
    """The map of tag k is colour channel k of the picture."""

    def forward(self, images):
        return NetworkOutputs(images.mean((2, 3)), images)


def read_grey(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def dataset(tmp_path):
    samples = []
    for i, tags in enumerate([(0,), (0,), (1,), (0, 2), (), (0,)]):
        image = np.zeros((60, 80, 3), np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        for k in tags:
            image[10 * k : 10 * k + 20, 20 * k : 20 * k + 20, k] = 255
            mask[10 * k : 10 * k + 20, 20 * k : 20 * k + 20] = k + 1
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / f"{i}-mask.png")
        masked = tmp_path / f"{i}-mask.png" if i != 2 else None
        samples.append(Sample(f"picture-{i}", tmp_path / f"{i}.png", masked, tags, "train"))
    names = ("red", "green", "blue")
    return Dataset("drawn", ("background", *names), names, (1, 2, 3), False, tuple(samples), read_grey)


def test_the_sheet_shows_the_networks_own_maps(dataset):
    sheet = map_sheet(Channels(), dataset, VIEW, n=3, height=60, title="maps")
    rows = []
    for i, tags in ((0, (0,)), (2, (1,)), (3, (0, 2))):
        image = np.asarray(Image.open(dataset.samples[i].image))
        made = VIEW.tensor(image)
        maps = {dataset.tag_names[k]: (made[k] / (made[k].max() + 1e-5)).numpy() for k in tags}
        truth = None if i == 2 else read_grey(dataset.samples[i].mask)
        rows.append(map_row(image, maps, truth=truth, classes={"red": 1, "green": 2, "blue": 3}, height=60))
    expected = contact_sheet(rows, row_names=["picture-0", "picture-2", "picture-3"], title="maps", height=60)
    assert sheet.shape == expected.shape
    assert np.abs(sheet.astype(int) - expected.astype(int)).max() <= 1


def test_every_tag_comes_up(dataset):
    tagged = [s for s in dataset.samples if s.tags]
    assert [s.image_id for s in _spread(tagged, 3)] == ["picture-0", "picture-2", "picture-3"]
    assert [s.image_id for s in _spread(tagged, 99)] == [s.image_id for s in tagged]


def test_broken_pictures_are_left_out_and_logged(dataset, caplog):
    dataset.samples[0].image.write_bytes(b"nothing")
    with caplog.at_level(logging.WARNING, "alseg"):
        assert map_sheet(Channels(), dataset, VIEW, n=3).size
    assert "0.png" in caplog.text
    for sample in dataset.samples:
        Path(sample.image).write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of the 2 pictures of drawn can be read"):
        map_sheet(Channels(), dataset, VIEW, n=2)


def test_wrong_arguments_are_named(dataset):
    with pytest.raises(RangeError, match="at least 1"):
        map_sheet(Channels(), dataset, VIEW, n=0)
    with pytest.raises(DataError, match="no image of drawn has a tag"):
        map_sheet(Channels(), dataset.only(["picture-4"]), VIEW)


def test_a_sheet_of_real_pictures(real_data):
    glas = read_dataset("glas", real_data / "glas")
    network = build_network(
        encoder="light", n_tags=len(glas.tag_names), n_classes=2, pooling="average", decoder="none", seed=0
    )
    sheet = map_sheet(network.train(), glas, View((96, 128)), n=4, scales=(1.0, 0.5), flip=True, height=64)
    assert sheet.shape[0] > 4 * 64
    assert network.training
