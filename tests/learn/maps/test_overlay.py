"""Pictures of maps: colours, outlines, layout, and files."""

import numpy as np
import pytest
from PIL import Image

from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError

pytest.importorskip("torch")

from alseg_fast.learn.maps.overlay import (
    colour_map,
    contact_sheet,
    map_row,
    mask_picture,
    outline,
    overlay,
    write_sheet,
)


def picture(height=40, width=60, value=128):
    return np.full((height, width, 3), value, np.uint8)


def test_colours_get_lighter_all_the_way():
    ramp = colour_map(np.linspace(0, 1, 256)[None])
    light = ramp[0].astype(int) @ np.array([299, 587, 114])
    assert (np.diff(light) > 0).all()
    assert np.array_equal(colour_map(np.array([[-1.0, 2.0]])), ramp[:, [0, 255]])


def test_outline_lies_on_both_sides_of_a_border():
    mask = np.zeros((7, 8), np.uint8)
    mask[:, 4:] = 3
    edge = outline(mask)
    assert edge[:, 3:5].all()
    assert edge.sum() == 2 * 7
    assert outline(mask, 2).sum() == 4 * 7
    assert not outline(np.ones((3, 3), np.int64)).any()
    assert not outline(np.ones((1, 1), np.uint8)).any()


def test_the_map_shows_where_it_is_hot():
    cam = np.zeros((4, 6))
    cam[:2, :3] = 1.0
    made = overlay(picture(), cam)
    assert made.shape == (40, 60, 3)
    assert made.dtype == np.uint8
    hot, cold = made[2, 2].astype(int), made[37, 57].astype(int)
    assert hot[0] > cold[0] + 80
    # Opacity 0.65 on the hot side, half of it on the cold side.
    assert np.array_equal(hot, np.rint(0.35 * 128 + 0.65 * colour_map(np.ones((1, 1)))[0, 0]))
    assert np.array_equal(cold, np.rint(0.675 * 128 + 0.325 * colour_map(np.zeros((1, 1)))[0, 0]))


def test_the_truth_is_a_white_line_with_a_black_border():
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 20:40] = 1
    made = overlay(picture(), truth=truth)
    white = (made == 255).all(2)
    assert np.array_equal(white, outline(truth))
    assert (made[~white] <= 128).all()
    assert (made[9 - 1, 25] == 0).all()
    assert (made[0, 0] == 128).all()
    small = overlay(picture(), truth=truth[::2, ::2])
    assert ((small == 255).all(2) == white).mean() > 0.95
    assert np.array_equal(overlay(picture()), picture())


def test_lines_are_drawn_at_the_size_of_the_result():
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 20:40] = 1
    large = overlay(picture(), np.full((2, 2), 0.5), truth, height=200)
    assert large.shape == (200, 300, 3)
    assert np.array_equal((large == 255).all(2), outline(np.repeat(np.repeat(truth, 5, 0), 5, 1)))


def test_a_row_shows_the_outline_of_each_maps_own_class():
    truth = np.zeros((40, 60), np.uint8)
    truth[5:20, 5:25], truth[20:35, 35:55] = 1, 2
    row = map_row(
        picture(),
        {"a": np.zeros((3, 3)), "b": np.ones((3, 3)), "c": np.zeros((3, 3))},
        truth=truth,
        classes={"a": 1, "b": 2},
        height=40,
    )
    white = {name: (drawn == 255).all(2) for name, drawn in row.items()}
    assert list(row) == ["picture", "a", "b", "c"]
    assert np.array_equal(white["picture"], outline(truth))
    assert np.array_equal(white["c"], outline(truth))
    assert np.array_equal(white["a"], outline(truth == 1))
    assert np.array_equal(white["b"], outline(truth == 2))
    assert list(map_row(picture(), {})) == ["picture"]


def test_the_input_is_not_changed():
    image, cam = picture(), np.full((3, 3), 0.5)
    overlay(image, cam, np.eye(40, 60, dtype=np.uint8))
    assert (image == 128).all()
    assert (cam == 0.5).all()


def test_masks_have_the_colours_of_voc():
    mask = np.array([[0, 1, 2, 255]], np.uint8)
    assert mask_picture(mask)[0].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]


def test_a_sheet_holds_every_picture_in_its_place():
    colours = ((250, 10, 0), (0, 200, 10), (10, 0, 240), (250, 250, 0))
    pictures = [np.broadcast_to(np.array(c, np.uint8), (40, 60, 3)) for c in colours]
    rows = [{"one": pictures[0], "two": pictures[1]}, {"one": pictures[2], "two": pictures[3]}]
    sheet = contact_sheet(rows, row_names=("first", "second"), title="maps", height=40)
    corners = []
    for colour in colours:
        found = np.argwhere((sheet == colour).all(2))
        assert (found.max(0) - found.min(0) + 1).tolist() == [40, 60]
        assert len(found) == 40 * 60
        corners.append(found.min(0).tolist())
    assert corners[0][0] == corners[1][0] < corners[2][0] == corners[3][0]
    assert corners[0][1] == corners[2][1] < corners[1][1] == corners[3][1]


def test_rows_may_differ():
    sheet = contact_sheet([{"a": picture()}, {"b": picture(), "a long caption over a narrow picture": picture(90, 9)}])
    assert sheet.ndim == 3
    assert contact_sheet([{"a": picture()}], title="a title that is much wider than the picture below").shape[1] > 280


def test_sheets_are_files(tmp_path):
    path = tmp_path / "sheet.png"
    sheet = contact_sheet([{"a": overlay(picture(), np.eye(5))}])
    write_sheet(path, sheet)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), sheet)
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: overlay(picture().astype(float)), DtypeError, "picture must be uint8"),
        (lambda: overlay(picture()[..., 0]), ShapeError, "picture must have shape"),
        (lambda: overlay(picture(), np.zeros((2, 3, 3))), ShapeError, "cam must have shape"),
        (lambda: overlay(picture(), np.full((3, 3), np.nan)), DataError, "cam must be finite"),
        (lambda: overlay(picture(), np.full((3, 3), 3.0)), RangeError, r"cam must lie in 0..1; got 3..3"),
        (lambda: overlay(picture(), truth=np.zeros((0, 3), np.uint8)), ShapeError, "truth must have shape"),
        (lambda: overlay(picture(), opacity=2.0), RangeError, "opacity must be"),
        (lambda: mask_picture(np.zeros((3, 3), np.int64)), ShapeError, "mask must be uint8"),
        (lambda: contact_sheet([]), ShapeError, "rows must hold at least one"),
        (lambda: contact_sheet([{}]), ShapeError, "rows must hold at least one"),
        (lambda: contact_sheet([{"a": picture()}], row_names=()), ShapeError, "row_names must have 1 names"),
        (lambda: contact_sheet([{"a": picture()}], height=4), RangeError, "height must be at least 16"),
    ],
)
def test_wrong_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
