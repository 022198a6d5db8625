"""Hot regions, erased pictures, the rule that ends erasing, and the union of regions on disk."""

import numpy as np
import pytest

from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from alseg_fast.learn.maps import erasing  # noqa: E402
from alseg_fast.learn.maps.erased_regions import ErasedRegions  # noqa: E402

TAGS = torch.tensor([[1, 0, 1], [0, 1, 0]])


def random_cams(seed=0, shape=(2, 3, 5, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_regions(seed, size=(5, 7)):
    return torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(seed)) < 0.3


def plain_hot(cams, tags, threshold, size):
    made = np.zeros((*cams.shape[:2], *size), bool)
    for b, k in np.ndindex(*cams.shape[:2]):
        lifted = cams[b, k].clamp_min(0)
        if tags[b, k] and lifted.max() > 1e-5:
            full = F.interpolate((lifted / lifted.max())[None, None], size, mode="bilinear", align_corners=True)
            made[b, k] = full[0, 0].numpy() >= threshold
    return made


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8])
def test_hot_regions_are_the_plain_ones(threshold):
    cams = random_cams()
    made = erasing.hot_regions(cams, TAGS, threshold, size=(20, 24))
    assert np.array_equal(made.numpy(), plain_hot(cams, TAGS, threshold, (20, 24)))
    assert torch.equal(made.flatten(2).any(2), TAGS == 1)
    same = erasing.hot_regions(cams, TAGS, threshold)
    assert same.shape == cams.shape
    assert np.array_equal(same.numpy(), plain_hot(cams, TAGS, threshold, (5, 6)))


def test_no_tags_and_empty_maps_are_not_erased():
    cams = random_cams()
    assert not erasing.hot_regions(cams, torch.zeros(2, 3), 0.1, size=(9, 9)).any()
    assert not erasing.hot_regions(torch.zeros_like(cams), TAGS, 0.1, size=(9, 9)).any()
    assert not erasing.hot_regions(-cams.abs(), TAGS, 0.1).any()
    assert not erasing.hot_regions(torch.full_like(cams, 2.0), TAGS, 0.1, mode="minmax").any()


@pytest.mark.parametrize("fill", [0.0, (-1.0, 0.25, 4.0)])
def test_erased_pictures(fill):
    images = torch.rand((2, 3, 20, 24), generator=torch.Generator().manual_seed(9)) + 10
    cams = random_cams()
    before = images.clone()
    made = erasing.erase(images, cams, 0.5, tags=TAGS, fill=fill)
    gone = torch.from_numpy(plain_hot(cams, TAGS, 0.5, (20, 24)).any(1))
    for c in range(3):
        assert (made[:, c][gone] == (fill[c] if isinstance(fill, tuple) else fill)).all()
        assert torch.equal(made[:, c][~gone], images[:, c][~gone])
    assert torch.equal(images, before)
    picture = (images[0].permute(1, 2, 0).numpy() * 20).astype(np.uint8)
    other = erasing.erase_picture(picture, gone[0].numpy(), fill=(123.6, 0, 255))
    assert (other[gone[0].numpy()] == (124, 0, 255)).all()
    assert (other[~gone[0].numpy()] == picture[~gone[0].numpy()]).all()


def test_a_tag_that_is_no_longer_recognised_ends():
    first = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.3]])
    now = torch.tensor([[0.9, 0.44, 0.6, 0.5, 0.3]])
    tags = torch.tensor([[1, 1, 0, 1, 1]])
    assert erasing.still_recognised(now, first, tags).tolist() == [[True, False, False, True, False]]
    assert erasing.still_recognised(now, first, tags, min_score=0.0).tolist() == [[True, False, False, True, True]]
    assert erasing.still_recognised(now, first, tags, min_score=0.0, max_drop=1.0).all(1).item() is False
    assert not erasing.still_recognised(now, first, torch.zeros(1, 5)).any()


def test_the_union_grows_only_where_it_may():
    regions = ErasedRegions(3)
    a, b = random_regions(0), random_regions(1)
    assert "x" not in regions
    allowed = torch.tensor([[True, False, True], [False, False, False]])
    added = regions.add(["x", "y"], a, allowed)
    assert added == int(a[0, [0, 2]].sum())
    assert len(regions) == 2
    assert not regions.erased("y").any()
    assert regions.add(["x", "y"], b) == int((b & ~(a & allowed[:, :, None, None])).sum())
    assert regions.add(["x", "y"], b) == 0  # nothing new: the end
    for k in range(3):
        expected = (a[0, k] & allowed[0, k]) | b[0, k]
        assert np.array_equal(regions.found("x", k), expected.numpy())
    whole = ((a & allowed[:, :, None, None]) | b).any(1).numpy()
    assert np.array_equal(regions.erased("x"), whole[0])
    assert regions.share("y") == pytest.approx(whole[1].mean())
    large = regions.erased("x", (50, 70))
    assert np.array_equal(large, np.repeat(np.repeat(whole[0], 10, 0), 10, 1))


def test_regions_survive_the_disk(tmp_path):
    regions = ErasedRegions(3)
    regions.add(["a/ä b.png", "y"], random_regions(3, (13, 11)))
    regions.add(["none"], torch.zeros((1, 3, 4, 4), dtype=torch.bool))
    regions.rounds = 2
    path = tmp_path / "regions.npz"
    regions.save(path)
    again = ErasedRegions.load(path)
    assert (again.n_tags, again.rounds, len(again)) == (3, 2, 3)
    for image_id in ("a/ä b.png", "y", "none"):
        for k in range(3):
            assert np.array_equal(again.found(image_id, k), regions.found(image_id, k))
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    empty = ErasedRegions(1)
    empty.save(path)
    assert len(ErasedRegions.load(path)) == 0


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "regions.npz"
    with pytest.raises(DataError, match="no erased regions in"):
        ErasedRegions.load(path)
    regions = ErasedRegions(3)
    regions.add(["x", "y"], random_regions(3, (40, 40)))
    regions.save(path)
    whole = path.read_bytes()
    for broken in (b"", b"not an archive", whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"cannot read erased regions from .*regions.npz"):
            ErasedRegions.load(path)


def test_files_with_wrong_facts_are_refused(tmp_path):
    path = tmp_path / "regions.npz"
    for facts in ('{"format": 2}', "[]", '{"format": 1, "n_tags": 1, "rounds": 0, "sizes": {}, "maps": [["x", 0]]}'):
        np.savez_compressed(path, facts=np.frombuffer(facts.encode(), np.uint8), bits=np.zeros(3, np.uint8))
        with pytest.raises(DataError, match="cannot read erased regions"):
            ErasedRegions.load(path)
    facts = '{"format": 1, "n_tags": 1, "rounds": 0, "sizes": {"x": [4, 4]}, "maps": [["x", 0]]}'
    for length in (1, 3):
        np.savez_compressed(path, facts=np.frombuffer(facts.encode(), np.uint8), bits=np.zeros(length, np.uint8))
        with pytest.raises(DataError, match="bytes of regions instead of 2"):
            ErasedRegions.load(path)


def test_wrong_arguments_are_named():
    images, cams, scores = torch.zeros(2, 3, 8, 8), random_cams(), torch.full((2, 3), 0.5)
    region = np.zeros((8, 8), bool)
    for call, error, text in (
        (lambda: erasing.hot_regions(cams, TAGS, 0.0), RangeError, r"threshold must be in \(0, 1\]; got 0.0"),
        (lambda: erasing.hot_regions(cams, TAGS, 1.1), RangeError, "threshold"),
        (lambda: erasing.hot_regions(cams, TAGS[:1]), ShapeError, "tags must have shape"),
        (lambda: erasing.hot_regions(cams * float("nan"), TAGS), DataError, "map of tag 0 of image 0"),
        (lambda: erasing.erase(images, cams[:1], tags=TAGS[:1]), ShapeError, "cams must be of the 2 images"),
        (lambda: erasing.erase_regions(images, torch.zeros(2, 4, 4).bool()), ShapeError, "regions must be bool"),
        (lambda: erasing.erase_regions(images, torch.zeros(2, 8, 8)), ShapeError, "regions must be bool"),
        (lambda: erasing.erase_regions(images, torch.zeros(2, 8, 8).bool(), fill=(1, 2)), RangeError, "fill must be"),
        (lambda: erasing.erase_picture(np.zeros((8, 8, 3)), region, fill=0), DtypeError, "image must be uint8"),
        (lambda: erasing.erase_picture(np.zeros((8, 9, 3), np.uint8), region, fill=0), ShapeError, "region"),
        (lambda: erasing.erase_picture(np.zeros((8, 8, 3), np.uint8), region, fill=300), RangeError, "0..255"),
        (lambda: erasing.still_recognised(scores, scores[:1], TAGS), ShapeError, r"both be \[B, K\]"),
        (lambda: erasing.still_recognised(scores * 4, scores, TAGS), DataError, "scores must lie in 0..1"),
        (lambda: erasing.still_recognised(scores, scores * float("nan"), TAGS), DataError, "first_scores"),
        (lambda: erasing.still_recognised(scores, scores, TAGS, max_drop=2.0), RangeError, "max_drop must be in"),
        (lambda: ErasedRegions(0), RangeError, "n_tags must be at least 1"),
        (lambda: ErasedRegions(2).add(["x"], random_regions(0)), ShapeError, r"\[B, K\] = \[1, 2\]"),
        (lambda: ErasedRegions(3).add(["x", "y"], random_regions(0), TAGS[:1]), ShapeError, "allowed must have"),
        (lambda: ErasedRegions(3).found("x", 0), DataError, "no region of image 'x'"),
    ):
        with pytest.raises(error, match=text):
            call()
    regions = ErasedRegions(3)
    regions.add(["x", "y"], random_regions(0))
    with pytest.raises(ShapeError, match=r"regions of 'x' must have the size \[5, 7\]"):
        regions.add(["x", "y"], random_regions(0, (6, 6)))
