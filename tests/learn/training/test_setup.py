"""From the config's data to what the learner may see."""

import numpy as np
import pytest

pytest.importorskip("torch")

from alseg_fast.errors import AlsegError, UsageError
from alseg_fast.learn.data.annotation_cost import annotation_seconds
from alseg_fast.learn.data.pictures import read_mask
from alseg_fast.learn.training.config import DataConfig
from alseg_fast.learn.training.setup import data_digest, prepare_data
from tiny_glas import draw_glas


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_glas(tmp_path_factory.mktemp("glas") / "pictures", n_train=12, n_test=4)


def data_of(pictures, out, seed=0, **values):
    return prepare_data(DataConfig(dataset="glas", root=str(pictures), **values), seed, out)


def ids(part):
    return [s.image_id for s in part.samples]


def test_parts(pictures, tmp_path):
    data = data_of(pictures, tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 4)  # ceil(0.2 * 6) of each of two classes
    assert not set(ids(data.train)) & set(ids(data.validation))
    assert data.labelled == tuple(ids(data.train))
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides(pictures, tmp_path):
    one, same, other = (data_of(pictures, tmp_path, seed, labelled=3) for seed in (1, 1, 2))
    assert (ids(one.train), one.labelled) == (ids(same.train), same.labelled)
    assert (ids(one.train), one.labelled) != (ids(other.train), other.labelled)
    assert data_digest(one) == data_digest(same) != data_digest(other)


def test_nothing_labelled(pictures, tmp_path):
    data = data_of(pictures, tmp_path, labelled=0, validation=None, test_split=None)
    assert data.labelled == ()
    assert all(s.mask is None for s in data.train.samples)
    assert all(s.mask is not None for s in data.truth.samples)
    assert (data.validation, data.test) == (None, None)


def test_labelled_per_class(pictures, tmp_path):
    data = data_of(pictures, tmp_path, labelled="per-class:2", validation=None)
    tags = [s.tags[0] for s in data.train.samples if s.mask is not None]
    assert sorted(tags) == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["points", "scribbles", "boxes", "partial"])
def test_weak_labels_replace_the_masks(pictures, tmp_path, kind):
    weak = {"kind": kind, "options": {"per_region": 2} if kind == "points" else {}}
    data = data_of(pictures, tmp_path, labelled=3, weak=weak)
    seconds = 0.0
    for seen, true in zip(data.train.samples, data.truth.samples, strict=True):
        if seen.image_id not in data.labelled:
            assert seen.mask is None
            continue
        drawn, mask = read_mask(data.train, seen), read_mask(data.truth, true)
        assert not seen.pseudo  # weak, but by an annotator
        known = drawn != 255
        assert 0 < known.sum() < known.size
        assert np.array_equal(drawn[known], mask[known])
        seconds += annotation_seconds(kind, mask, **weak["options"])
    assert data.weak_seconds == pytest.approx(seconds)
    assert seconds > 0
    assert len(list((tmp_path / "weak").iterdir())) == 3
    # Written once: a second start reads the same files.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "weak").iterdir()}
    again = data_of(pictures, tmp_path, labelled=3, weak=weak)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "weak").iterdir()} == before
    assert again.weak_seconds == data.weak_seconds
    assert data_digest(again) == data_digest(data)


def test_wrong_options_of_weak_labels(pictures, tmp_path):
    with pytest.raises(UsageError, match="points have no option 'per_redion'"):
        data_of(pictures, tmp_path, labelled=3, weak={"kind": "points", "options": {"per_redion": 2}})


def test_tags_are_kept_by_name(pictures, tmp_path):
    data = data_of(pictures, tmp_path, tags=["malignant"], validation=None)
    assert data.train.tag_names == ("malignant",)
    with pytest.raises(AlsegError, match="malign"):
        data_of(pictures, tmp_path, tags=["malign"])


def test_groups_stay_together(pictures, tmp_path):
    data = data_of(pictures, tmp_path, keep_groups=True, validation=0.3)
    groups = [{s.group for s in part.samples} for part in (data.train, data.validation)]
    assert not groups[0] & groups[1]
