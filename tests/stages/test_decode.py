"""decode_image: right pixels, upright, within limits, and DataError for everything else."""

import csv
import io
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from alseg_fast.errors import DataError
from alseg_fast.stages.codecs.headers import exif_orientation, read_jpeg_markers
from alseg_fast.stages.codecs.pillow import ALPHA_BACKGROUND
from alseg_fast.stages.codecs.signatures import IMAGE_EXTENSIONS, looks_like_image, sniff_format
from alseg_fast.stages.decode import (
    DEFAULT_MAX_PIXELS,
    MAX_JPEG_SCANS,
    DecodeBuffer,
    Decoded,
    decode_image,
    peak_bytes,
    peek_size,
)

ODD_IMAGES = Path(__file__).resolve().parents[2] / "../shared/data/odd_images"


def smooth(height: int = 60, width: int = 90, seed: int = 0) -> Image.Image:
    """A colourful picture without symmetry, smooth enough for lossy codecs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def attempt(data: bytes, **options: object) -> tuple[Decoded | None, str]:
    """The decoded image or None, and the reason why there is none."""
    try:
        return decode_image(data, **options), ""
    except DataError as error:
        return None, str(error)


def pixels(data: bytes) -> np.ndarray:
    return decode_image(data).image


# ---------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
        ("JPEG2000", {}),
        ("PCX", {}),
        ("SGI", {}),
        ("QOI", {}),
    ],
)
def test_rgb_pixels_equal_those_of_pillow(kind, options):
    data = encode(smooth(), kind, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.image, expected)
    assert (decoded.width, decoded.height, decoded.format) == (90, 60, kind)
    assert decoded.image.dtype == np.uint8
    assert decoded.image.flags.c_contiguous


def test_avif_is_decoded():
    data = encode(smooth(), "AVIF", quality=95)
    decoded = decode_image(data)
    assert decoded.format == "AVIF"
    assert np.abs(decoded.image.astype(int) - np.asarray(smooth())).mean() < 4


def test_first_frame_of_an_animation_is_taken():
    frames = [smooth(seed=seed) for seed in (1, 2)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(data), np.asarray(frames[0]))
    gif = encode(frames[0].quantize(64), "GIF", save_all=True, append_images=[frames[1].quantize(64)])
    np.testing.assert_array_equal(pixels(gif), np.asarray(frames[0].quantize(64).convert("RGB")))


def test_grey_and_one_bit_are_replicated():
    grey = smooth().convert("L")
    expected = np.asarray(grey)
    for data in (encode(grey, "PNG"), encode(grey, "PPM"), encode(grey, "TIFF")):
        np.testing.assert_array_equal(pixels(data), np.dstack([expected] * 3))
    jpeg = encode(grey, "JPEG")
    np.testing.assert_array_equal(pixels(jpeg)[..., 0], np.asarray(Image.open(io.BytesIO(jpeg))))
    bits = grey.point(lambda value: 255 * (value > 128)).convert("1")
    for kind in ("PNG", "PPM", "TIFF", "BMP"):
        np.testing.assert_array_equal(pixels(encode(bits, kind))[..., 1], np.where(np.asarray(bits), 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind):
    values = np.array([[0, 255, 256, 257], [32768, 65279, 65280, 65535]], np.uint16)
    image = pixels(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(image, np.dstack([values >> 8] * 3))


def test_eight_bit_values_survive_sixteen_bits():
    values = np.arange(256, dtype=np.uint16)[None] * 257
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(values), "PNG"))[0, :, 0], np.arange(256))


def test_sixteen_bit_colour_is_reduced_to_the_high_byte():
    values = np.random.default_rng(3).integers(0, 65536, (4, 5, 3), np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    np.testing.assert_array_equal(pixels(png(5, 4, 16, 2, rows)), values >> 8)


def test_twelve_bit_tiff_uses_its_stated_bits():
    values = np.array([[0, 15, 16, 4095]], np.uint16)
    data = bytearray(encode(Image.fromarray(values), "TIFF"))
    at = data.index(struct.pack("<HHI", 258, 3, 1))
    data[at + 8 : at + 10] = struct.pack("<H", 12)
    packed = bytes([0x00, 0x00, 0x0F, 0x01, 0x0F, 0xFF])  # 000 00f 010 fff
    start = Image.open(io.BytesIO(bytes(data))).tag_v2[273][0]
    data[start : start + 6] = packed
    np.testing.assert_array_equal(pixels(bytes(data))[0, :, 0], [0, 0, 1, 255])


def test_32_bit_integers_count_as_16_bit_or_fail():
    values = np.array([[0, 256, 65535]], np.int32)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(values), "TIFF"))[0, :, 0], [0, 1, 255])
    for bad in (-1, 65536):
        with pytest.raises(DataError, match=r"must lie in 0\.\.65535"):
            decode_image(encode(Image.fromarray(np.array([[bad]], np.int32)), "TIFF"))


def test_float_pixels_follow_the_stated_rule():
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(unit), "TIFF"))[0, :, 2], [0, 128, 255])
    byte = np.array([[0.0, 99.6, 255.0]], np.float32)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(byte), "TIFF"))[0, :, 2], [0, 100, 255])
    for bad, text in ((-0.1, "0..1 or 0..255"), (255.1, "0..1 or 0..255"), (np.nan, "finite"), (np.inf, "finite")):
        with pytest.raises(DataError, match=text):
            decode_image(encode(Image.fromarray(np.array([[bad]], np.float32)), "TIFF"))


def test_alpha_is_composited_over_the_background():
    rgba = np.random.default_rng(1).integers(0, 256, (16, 16, 4), np.uint8)
    rgba[0, :4, 3] = (0, 255, 1, 254)
    alpha = rgba[..., 3:] / 255
    expected = np.rint(rgba[..., :3] * alpha + ALPHA_BACKGROUND * (1 - alpha))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        image = pixels(encode(Image.fromarray(rgba), kind, **options)).astype(int)
        assert np.abs(image - expected).max() <= 1, kind
        np.testing.assert_array_equal(image[0, 0], [255] * 3)
        np.testing.assert_array_equal(image[0, 1], rgba[0, 1, :3])


def test_grey_with_alpha_is_composited():
    values = np.array([[[0, 0], [0, 255], [100, 128]]], np.uint8)
    image = Image.merge("LA", [Image.fromarray(np.ascontiguousarray(values[..., c])) for c in (0, 1)])
    assert pixels(encode(image, "PNG"))[0, :, 0].tolist() == [255, 0, 177]


def test_palette_is_applied_and_its_transparent_entry_shows_the_background():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    colours = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert pixels(encode(image, "PNG"))[0].tolist() == colours
    assert pixels(encode(image, "PNG", transparency=1))[0].tolist() == [colours[0], [255] * 3, colours[2]]
    half = pixels(encode(image, "PNG", transparency=bytes([255, 255, 0])))
    assert half[0].tolist() == [colours[0], colours[1], [255] * 3]
    assert pixels(encode(image, "GIF", transparency=2))[0].tolist() == [colours[0], colours[1], [255] * 3]


def test_transparent_colour_of_grey_and_rgb_png():
    grey = Image.fromarray(np.array([[5, 6]], np.uint8))
    assert pixels(encode(grey, "PNG", transparency=6))[0, :, 0].tolist() == [5, 255]
    colour = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    assert pixels(encode(colour, "PNG", transparency=(1, 2, 3)))[0].tolist() == [[255] * 3, [1, 2, 4]]
    deep = np.array([[[1 << 8, 2 << 8, 3 << 8], [9 << 8, 0, 0]]], ">u2")
    chunk = ("tRNS", struct.pack(">HHH", 1 << 8, 2 << 8, 3 << 8))
    assert pixels(png(2, 1, 16, 2, b"\x00" + deep.tobytes(), chunk))[0].tolist() == [[255] * 3, [9, 0, 0]]


def test_cmyk_and_other_colour_spaces_follow_pillow():
    cmyk = smooth().convert("CMYK")
    for data in (encode(cmyk, "JPEG", quality=95), encode(cmyk, "TIFF")):
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(pixels(data), expected)
    assert np.abs(pixels(encode(cmyk, "JPEG", quality=95)).astype(int) - np.asarray(smooth())).mean() < 4
    ycbcr = encode(smooth().convert("YCbCr"), "TIFF")
    assert np.abs(pixels(ycbcr).astype(int) - np.asarray(smooth())).max() <= 3


def test_lab_becomes_srgb():
    lab = Image.merge("LAB", [Image.new("L", (2, 1), value) for value in (255, 128, 128)])
    image = pixels(encode(lab, "TIFF"))
    assert image.min() >= 250  # L* = 100: white
    dark = Image.merge("LAB", [Image.new("L", (2, 1), value) for value in (0, 128, 128)])
    assert pixels(encode(dark, "TIFF")).max() <= 2


def test_tall_and_wide_images_are_converted_in_strips_without_seams():
    for shape in ((3000, 700), (2, 1_200_000)):
        values = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
        image = pixels(encode(Image.fromarray(values), "TIFF"))
        np.testing.assert_array_equal(image[..., 1], values >> 8)


# ------------------------------------------------------------------------------------------------ orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_gives_the_upright_picture(kind, orientation):
    upright = smooth(32, 48)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(upright, kind, exif=exif, **options)
    plain = encode(upright, kind, **options)
    stored = Image.open(io.BytesIO(plain)).convert("RGB")
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    for buffer in (None, DecodeBuffer()):
        decoded = decode_image(data, buffer=buffer)
        np.testing.assert_array_equal(decoded.image, expected)
        assert decoded.image.flags.c_contiguous
        assert (decoded.height, decoded.width) == expected.shape[:2]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_invalid_orientation_counts_as_upright(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encode(smooth(), "JPEG", exif=exif)
    np.testing.assert_array_equal(pixels(data), pixels(encode(smooth(), "JPEG")))


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_blocks_are_parsed_in_both_byte_orders_and_types(order):
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8)
    for kind, code, pad in ((1, "B", 3), (3, "H", 2), (4, "I", 0)):
        entry = struct.pack(order + "HHI" + code, 0x0112, kind, 1, 6) + bytes(pad)
        filler = struct.pack(order + "HHII", 0x010F, 2, 4, 0)
        block = head + struct.pack(order + "H", 2) + filler + entry + bytes(4)
        assert exif_orientation(block) == 6
        assert exif_orientation(b"Exif\x00\x00" + block) == 6
        assert exif_orientation(block[:-10]) == 1  # entry cut off
    text = struct.pack(order + "HHII", 0x0112, 2, 1, 6)
    assert exif_orientation(head + struct.pack(order + "H", 1) + text) == 1


@given(st.binary(max_size=200), st.sampled_from([b"II*\x00", b"MM\x00*", b"Exif\x00\x00II*\x00", b""]))
def test_exif_parser_never_raises(rest, start):
    assert 1 <= exif_orientation(start + rest) <= 8


@given(st.binary(max_size=200))
def test_jpeg_marker_walk_never_raises(rest):
    assert 1 <= read_jpeg_markers(b"\xff\xd8" + rest).orientation <= 8
    assert 1 <= read_jpeg_markers(memoryview(b"\xff\xd8" + rest)).orientation <= 8


# ------------------------------------------------------------------------------------------------ DCT scaling


@pytest.mark.parametrize(
    ("min_size", "expected"),
    [
        (None, (200, 301)),
        ((200, 301), (200, 301)),
        ((101, 1), (200, 301)),
        ((100, 151), (100, 151)),
        ((100, 152), (200, 301)),
        ((50, 76), (50, 76)),
        ((51, 1), (100, 151)),
        ((25, 38), (25, 38)),
        ((1, 1), (25, 38)),
        ((5000, 5000), (200, 301)),
    ],
)
def test_jpeg_is_decoded_at_the_smallest_scale_that_keeps_min_size(min_size, expected):
    decoded = decode_image(encode(smooth(200, 301), "JPEG"), min_size=min_size)
    assert decoded.image.shape[:2] == expected
    assert (decoded.height, decoded.width) == (200, 301)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_scaled_jpeg_equals_pillow_draft_and_is_near_the_area_mean(scale):
    data = encode(smooth(256, 384), "JPEG", quality=95)
    decoded = decode_image(data, min_size=(256 // scale, 384 // scale))
    draft = Image.open(io.BytesIO(data))
    draft.draft("RGB", (384 // scale, 256 // scale))
    np.testing.assert_array_equal(decoded.image, np.asarray(draft))
    full = pixels(data).reshape(256 // scale, scale, 384 // scale, scale, 3).mean((1, 3))
    assert np.abs(decoded.image - full).mean() < 1.5


def test_min_size_counts_in_the_upright_frame():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(smooth(100, 400), "JPEG", exif=exif)  # upright: 400 x 100
    decoded = decode_image(data, min_size=(200, 50))
    assert decoded.image.shape == (200, 50, 3)
    assert (decoded.height, decoded.width) == (400, 100)
    assert decode_image(data, min_size=(50, 51)).image.shape == (400, 100, 3)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7])
def test_tiny_jpegs_are_exact(side):
    data = encode(smooth(side, side), "JPEG")
    np.testing.assert_array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))
    for least in ((1, 1), (side, side)):
        height, width, _ = decode_image(data, min_size=least).image.shape
        assert height >= least[0]
        assert width >= least[1]


def test_other_formats_ignore_min_size():
    assert decode_image(encode(smooth(), "PNG"), min_size=(1, 1)).image.shape == (60, 90, 3)


# --------------------------------------------------------------------------------------------------- buffers


def test_buffer_is_reused_and_changes_nothing():
    buffer = DecodeBuffer()
    first = decode_image(encode(smooth(seed=1), "JPEG"), buffer=buffer).image
    kept = first.copy()
    np.testing.assert_array_equal(kept, pixels(encode(smooth(seed=1), "JPEG")))
    second = decode_image(encode(smooth(40, 50, seed=2), "PNG"), buffer=buffer).image
    assert np.shares_memory(first, second)
    np.testing.assert_array_equal(second, np.asarray(smooth(40, 50, seed=2)))


def test_buffer_keeps_no_more_than_its_cap():
    buffer = DecodeBuffer(keep_bytes=1000)
    assert buffer.take(1000).base is not None
    large = buffer.take(1001)
    assert large.size == 1001
    assert not np.shares_memory(large, buffer.take(1000))
    without = decode_image(encode(smooth(), "JPEG")).image
    again = decode_image(encode(smooth(), "JPEG")).image
    assert not np.shares_memory(without, again)


def test_threads_do_not_disturb_each_other():
    pool = [encode(smooth(seed=seed), kind) for seed in range(4) for kind in ("JPEG", "PNG", "GIF")]
    expected = [pixels(data) for data in pool]
    wrong = []

    def work(start: int) -> None:
        buffer = DecodeBuffer()
        for step in range(40):
            at = (start + step) % len(pool)
            if not np.array_equal(decode_image(pool[at], buffer=buffer).image, expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memoryview_is_accepted():
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(smooth(), kind)
        np.testing.assert_array_equal(decode_image(memoryview(data)).image, pixels(data))


# ------------------------------------------------------------------------------------------------- bad input


def test_empty_and_unknown_content_are_named():
    with pytest.raises(DataError, match=r"^file is empty \(0 bytes\)"):
        decode_image(b"")
    with pytest.raises(DataError, match="no known image format"):
        decode_image(b"hello, this is text")
    with pytest.raises(DataError, match="no known image format"):  # would start Ghostscript
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_fail(kind, share):
    data = encode(smooth(200, 300), kind)
    with pytest.raises(DataError) as error:
        decode_image(data[: int(len(data) * share)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_truncated_jpeg_with_an_end_marker_fails_too(options):
    data = encode(smooth(200, 300), "JPEG", quality=90, **options)
    with pytest.raises(DataError, match="damaged"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9")


def test_harmless_bytes_before_the_end_of_a_jpeg_are_accepted():
    data = encode(smooth(), "JPEG")
    np.testing.assert_array_equal(pixels(data[:-2] + b"\x01\x02\x03" + data[-2:]), pixels(data))
    np.testing.assert_array_equal(pixels(data + b"trailing rubbish"), pixels(data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: tuple[str, bytes]) -> bytes:
    def chunk(name: str, body: bytes) -> bytes:
        head = name.encode() + body
        return struct.pack(">I", len(body)) + head + struct.pack(">I", zlib.crc32(head))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [("IHDR", header), *more, ("IDAT", zlib.compress(rows)), ("IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


def test_too_many_pixels_are_refused_from_the_header_alone():
    jpeg = bytearray(encode(smooth(8, 8), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    gif = bytearray(encode(smooth(8, 8).quantize(8), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    tiff = encode(Image.new("1", (20000, 20000)), "TIFF", compression="group4")
    webp = bytearray(encode(smooth(8, 8), "WEBP", lossless=True, exif=b"Exif\x00\x00II*\x00"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    for data in (bytes(jpeg), png(60000, 60000, 8, 2, b""), bytes(gif), tiff, bytes(webp)):
        with pytest.raises(DataError, match=r"above the limit of 178,956,970; raise the limit"):
            decode_image(data)


def test_the_pixel_limit_is_exact_and_can_be_changed():
    data = encode(smooth(10, 10), "PNG")
    assert decode_image(data, max_pixels=100).image.shape == (10, 10, 3)
    with pytest.raises(DataError, match=r"PNG of 10 x 10 needs 100 pixels, above the limit of 99"):
        decode_image(data, max_pixels=99)
    assert DEFAULT_MAX_PIXELS == 178_956_970


def test_a_tiff_tile_larger_than_the_limit_is_refused():
    tags = [
        (256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 60000), (323, 4, 60000), (324, 4, 200), (325, 4, 10),
    ]  # fmt: skip
    data = bytearray(b"II*\x00" + struct.pack("<IH", 8, len(tags)))
    for tag, kind, value in tags:
        data += struct.pack("<HHII", tag, kind, 1, value)
    data += bytes(300)
    with pytest.raises(DataError, match="3,600,000,000 pixels, above the limit"):
        decode_image(bytes(data))


def test_run_length_bmp_has_a_limit_of_its_own():
    data = bytearray(encode(smooth(8, 8).quantize(8), "BMP"))
    data[30:34] = struct.pack("<I", 1)  # RLE8
    data[18:26] = struct.pack("<ii", 1 << 24, 2)
    with pytest.raises(DataError, match="above the limit of 16,777,216"):
        decode_image(bytes(data))


def test_endless_scans_are_refused():
    data = encode(smooth(), "JPEG", progressive=True)
    assert data.count(b"\xff\xda") < 20
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * (MAX_JPEG_SCANS + 1) + data[-2:]
    with pytest.raises(DataError, match="scans, above the limit of 500"):
        decode_image(bomb)


@pytest.mark.parametrize(
    "error", [OSError("one\ntwo"), SyntaxError("x"), struct.error("y"), KeyError("z"), zlib.error("e"), IndexError()]
)
def test_every_codec_exception_becomes_one_line(monkeypatch, error):
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(DataError, match=f"PNG cannot be decoded: {type(error).__name__}") as caught:
        decode_image(encode(smooth(), "PNG"))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_memory_errors_say_what_to_do_and_interrupts_pass(monkeypatch):
    data = encode(smooth(), "PNG")

    def raising(error: type[BaseException]):
        def fail(self: object) -> None:
            raise error

        return fail

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", raising(MemoryError))
    with pytest.raises(DataError, match="needs more memory"):
        decode_image(data)
    for interrupt in (KeyboardInterrupt, SystemExit):
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", raising(interrupt))
        with pytest.raises(interrupt):
            decode_image(data)


SEEDS = [
    encode(smooth(24, 30), kind, **options)
    for kind, options in (
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("PPM", {}), ("JPEG2000", {}), ("PCX", {}),
        ("SGI", {}), ("QOI", {}), ("AVIF", {}),
    )
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_give_pixels_or_data_error(data):
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    decoded, reason = attempt(bytes(content[:cut]), max_pixels=1 << 20)
    assert "\n" not in reason
    assert decoded is None or decoded.image.shape == (decoded.height, decoded.width, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*", b"P6\n1"]),
    st.binary(max_size=300),
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_random_bytes_give_nothing_but_data_error(start, rest):
    peek_size(start + rest)
    assert "\n" not in attempt(start + rest, max_pixels=1 << 20)[1]


# ------------------------------------------------------------------------------------------------- signatures


def test_peek_size_reads_the_header_only():
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"):
        data = encode(smooth(60, 90), kind)
        assert peek_size(data) == (90, 60), kind
        assert peak_bytes(data) >= 60 * 90 * 3
    assert peek_size(png(50000, 60000, 8, 2, b"")) == (50000, 60000)
    assert peek_size(encode(smooth(), "WEBP", lossless=True)) == (90, 60)
    assert peek_size(b"text") is None
    assert peek_size(b"\xff\xd8\xff\xe0") is None
    assert peak_bytes(b"") == 0


def test_signatures_tell_images_from_text():
    for data in SEEDS:
        assert looks_like_image(data[:32])
    for text in (b"", b"BMW drives", b"P6", b"P5 points", b"RIFF....WAVEfmt ", b"II*", b"\n\x05", bytes(64)):
        assert not looks_like_image(text), text
    assert sniff_format(b"BMW drives fast and far away") == "BMP"  # decoded, and refused, by Pillow
    assert all(extension == extension.lower() and extension[0] == "." for extension in IMAGE_EXTENSIONS)


# ---------------------------------------------------------------------------------------------------- real data


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_images_decode_as_pillow_says_or_for_a_stated_reason():
    if not (ODD_IMAGES / "manifest.tsv").is_file():
        pytest.skip("shared/data/odd_images is not there")
    with open(ODD_IMAGES / "manifest.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    buffer = DecodeBuffer()
    stricter, looser = {}, []
    for row in rows:
        loads = not row["pillow13_result"].startswith("ERR")
        decoded, reason = attempt((ODD_IMAGES / row["file"]).read_bytes(), buffer=buffer)
        assert "\n" not in reason
        if decoded is None:
            if loads:
                stricter[row["file"]] = reason
            continue
        if not loads:
            looser.append(row["file"])
        if row["exif_orientation"] in ("", "1"):
            assert f"{decoded.width}x{decoded.height}" == row["size"], row["file"]
    assert looser == []
    assert len(stricter) <= 10, stricter
    reasons = ("pixels are missing", "0..1 or 0..255", "PNG cannot be decoded")
    assert all(any(reason in text for reason in reasons) for text in stricter.values()), stricter


def test_odd_images_stay_below_two_gibibytes():
    if not ODD_IMAGES.is_dir():
        pytest.skip("shared/data/odd_images is not there")
    code = """
import resource, sys, warnings
from pathlib import Path
from alseg_fast.errors import DataError
from alseg_fast.stages.decode import decode_image
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
for file in Path(sys.argv[1]).rglob("*.*"):
    if file.is_file():
        try:
            decode_image(file.read_bytes())
        except DataError as error:
            assert "memory" not in str(error), (file, error)
"""
    result = subprocess.run([sys.executable, "-c", code, str(ODD_IMAGES)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
