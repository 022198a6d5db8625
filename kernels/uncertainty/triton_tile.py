"""Device functions that every Triton kernel here shares: where a tile lies, and the upsampled scores of one class.

A tile is a band of ROWS output rows times COLS columns. All rows of a band lie between the same two source rows
(:mod:`triton_axes` cuts the bands), so that a class costs one interpolation along x of two rows per *column*, and one
multiply-add per *pixel*: with a column in one thread, four loads serve all rows of the band.
"""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# ruff: noqa: RET505
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

SOFTMAX, SIGMOID, PROBABILITIES = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
LARGEST = tl.constexpr(1e37)  # scores are cut here, so that no difference or product of two becomes inf
LN2 = tl.constexpr(0.6931471805599453)
TINY = tl.constexpr(1.2e-38)  # below it lies a subnormal number, which the device takes for 0


@triton.jit
def locate(axes, extent, first_tile, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Image, pixels and neighbours of this program's tile.

    Args:
        axes: (x_index, x_frac, y_index, y_frac, bands), see ``triton_axes.Axes``.
        extent: (n_passes, n_classes, in_h, in_w, out_h, out_w, n_bands).
        first_tile: tiles before the first of this launch.
    Returns: (n, inside [ROWS, COLS], offset [ROWS, COLS] int64 in [N, H, W], (y0, y1, x0 [COLS], x1 [COLS]),
        fx [COLS], fy [ROWS]).
    """
    x_index, x_frac, y_index, y_frac, bands = axes
    _, _, in_h, in_w, out_h, out_w, n_bands = extent
    tiles_x = tl.cdiv(out_w, COLS)
    tile = first_tile + tl.program_id(0)
    column, rest = tile % tiles_x, tile // tiles_x
    band, n = rest % n_bands, (rest // n_bands).to(tl.int64)
    first = tl.load(bands + band)
    count = tl.load(bands + band + 1) - first
    row, col = tl.arange(0, ROWS), column * COLS + tl.arange(0, COLS)
    inside = (row < count)[:, None] & (col < out_w)[None, :]
    x = tl.minimum(col, out_w - 1)
    y0, x0 = tl.load(y_index + first), tl.load(x_index + x)
    fy, fx = tl.load(y_frac + first + tl.minimum(row, count - 1)), tl.load(x_frac + x)
    line = (n * out_h + first + row) * out_w  # [ROWS] int64
    offset = line[:, None] + col[None, :]
    return n, inside, offset, (y0, tl.minimum(y0 + 1, in_h - 1), x0, tl.minimum(x0 + 1, in_w - 1)), fx, fy


@triton.jit
def source_rows(plane, near, stride_h, stride_w, RAW: tl.constexpr):
    """Pointers [COLS] to each column's upper left and lower left neighbour, and the way from there to the right one.

    The rows of prepared scores repeat their last value, so that the way is always one element and needs no register.
    """
    y0, y1, x0, x1 = near
    left = x0.to(tl.int64) * stride_w
    upper = plane + y0.to(tl.int64) * stride_h + left
    lower = plane + y1.to(tl.int64) * stride_h + left
    if RAW:
        return upper, lower, (x1 - x0).to(tl.int64) * stride_w
    else:
        return upper, lower, 1


@triton.jit
def neighbours(upper, lower, right, IDENTITY: tl.constexpr):
    """The four neighbours of each column; the first four times over where the sizes are the same."""
    a = tl.load(upper)
    if IDENTITY:
        return a, a, a, a
    else:
        return a, tl.load(upper + right), tl.load(lower), tl.load(lower + right)


@triton.jit
def scaled(z, low, gain):
    """A raw score less the shift of its source pixel, times the gain, as float32 within bounds."""
    return tl.minimum(tl.maximum((z.to(tl.float32) - low) * gain, -LARGEST), LARGEST)


@triton.jit
def sample(upper, lower, right, lows, gain, fx, fy, RAW: tl.constexpr, IDENTITY: tl.constexpr):
    """[ROWS, COLS] upsampled scores of one class, from the pointers of `source_rows`.

    RAW scores still need the shift `lows` of the four neighbours and the gain; prepared ones have both.
    """
    a, b, c, d = neighbours(upper, lower, right, IDENTITY)
    if RAW:
        low_a, low_b, low_c, low_d = lows
        a = scaled(a, low_a, gain)
        if not IDENTITY:
            b, c, d = scaled(b, low_b, gain), scaled(c, low_c, gain), scaled(d, low_d, gain)
    if IDENTITY:
        return a[None, :]  # ROWS is 1
    else:
        # As many instructions as a + fx (b - a), and one rounding of a large difference less.
        top = a * (1.0 - fx) + fx * b
        bottom = c * (1.0 - fx) + fx * d
        return top[None, :] + fy[:, None] * (bottom - top)[None, :]


@triton.jit
def corner_lows(shift_ptr, index, near, extent, SHIFTED: tl.constexpr, IDENTITY: tl.constexpr):
    """The shifts of the four neighbours in pass number `index` of all images' passes; zeros unless SHIFTED."""
    if SHIFTED:
        _, _, in_h, in_w, _, _, _ = extent
        upper, lower, right = source_rows(shift_ptr + index * in_h * in_w, near, in_w, 1, True)
        return neighbours(upper, lower, right, IDENTITY)
    else:
        return 0.0, 0.0, 0.0, 0.0
