"""Images: upright RGB from every format, a reason for every failure, and never a grey picture for a broken one."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from trunkline.errors import UnreadableImage
from trunkline.images import decode, prepare, thumbnail

PHOTO = Image.fromarray(load_sample_image("china.jpg")).crop((200, 100, 360, 220))  # 160 x 120, full of detail
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}, "GIF": {}}
LOSSY = {"JPEG": {"quality": 90}, "WEBP": {"quality": 90}}


def encoded(image: Image.Image, form: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def reason_of(content: bytes) -> tuple[str, str]:
    with pytest.raises(UnreadableImage) as caught:
        decode(content)
    return caught.value.reason, caught.value.detail


def outcome(content: bytes) -> str | tuple[int, ...]:
    """The reason, or the shape of the pixels."""
    try:
        return decode(content).shape
    except UnreadableImage as error:
        return error.reason


def png_of(width: int, height: int, compressed: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("form", "how"), LOSSLESS.items())
def test_a_lossless_format_gives_back_its_pixels(form, how):
    image = PHOTO.quantize(64).convert("RGB") if form == "GIF" else PHOTO
    np.testing.assert_array_equal(decode(encoded(image, form, **how)), np.asarray(image))


@pytest.mark.parametrize(("form", "how"), LOSSY.items())
def test_a_lossy_format_gives_back_about_its_pixels(form, how):
    pixels = decode(encoded(PHOTO, form, **how))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (120, 160, 3))
    assert np.abs(pixels.astype(int) - np.asarray(PHOTO)).mean() < 8


@pytest.mark.parametrize(
    "how", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}, {"restart_marker_rows": 1}]
)
def test_jpegs_of_every_kind_are_what_pillow_makes_of_them(how):
    content = encoded(PHOTO, "JPEG", quality=90, **how)
    theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(decode(content) - theirs).max() <= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_grey_becomes_three_equal_channels(form):
    pixels = decode(encoded(PHOTO.convert("L"), form))
    assert pixels.shape == (120, 160, 3)
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    assert spread.max() <= (4 if form == "WEBP" else 0)
    assert np.abs(pixels[..., 0].astype(int) - np.asarray(PHOTO.convert("L"))).mean() < 8


def test_one_bit_is_black_and_white():
    image = PHOTO.convert("1")
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(form):
    pixels = decode(encoded(PHOTO.convert("CMYK"), form, **({"quality": 95} if form == "JPEG" else {})))
    assert np.abs(pixels.astype(int) - np.asarray(PHOTO)).mean() < 8


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(form):
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(deep), form))
    np.testing.assert_array_equal(pixels, np.repeat((deep // 257).astype(np.uint8)[..., None], 3, axis=2))


def test_sixteen_bits_are_rounded_not_cut():
    deep = np.array([[0, 128, 129, 65535, 65535 - 128]], np.uint16)
    assert decode(encoded(Image.fromarray(deep), "PNG"))[0, :, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize(("top", "scale"), [(1.0, 255.0), (255.0, 1.0)])
def test_floats_span_one_or_255(top, scale):
    values = np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8)
    expected = np.rint(values * scale).astype(np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(values), "TIFF"))[..., 0], expected)


def test_floats_that_are_no_numbers_become_black_and_what_is_outside_is_clipped():
    values = np.array([[0, 255, 300, -5, np.nan, 7]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 255, 255, 0, 0, 7]
    nothing = np.full((2, 2), np.nan, np.float32)
    assert not decode(encoded(Image.fromarray(nothing), "TIFF")).any()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_over_white(form):
    image = Image.new("RGBA", (3, 1))
    for x, colour in enumerate([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)]):
        image.putpixel((x, 0), colour)
    pixels = decode(encoded(image, form, **({"lossless": True, "exact": True} if form == "WEBP" else {})))
    assert pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_grey_with_alpha_and_palettes_with_a_transparent_colour():
    grey = Image.new("LA", (2, 1), (0, 255))
    grey.putpixel((1, 0), (0, 0))
    assert decode(encoded(grey, "PNG"))[0, :, 0].tolist() == [0, 255]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert decode(encoded(palette, "PNG"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    for form in ("PNG", "GIF"):
        assert decode(encoded(palette, form, transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(form):
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    content = encoded(red, form, save_all=True, append_images=[blue], **({"lossless": True} if form == "WEBP" else {}))
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.unique(decode(content).reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_stand_upright_as_pillow_puts_them(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"quality": 95, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    content = encoded(PHOTO, form, exif=exif, **how)
    theirs = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    ours = decode(content)
    assert ours.shape == ((120, 160, 3) if orientation <= 4 else (160, 120, 3))
    assert np.abs(ours.astype(int) - theirs).max() <= (3 if form == "JPEG" else 0)
    assert ours.flags.c_contiguous


def test_the_orientation_of_a_jpeg_moves_pixels_and_changes_none():
    plain = encoded(PHOTO, "JPEG", quality=90)
    for orientation, turned in ((6, np.rot90(decode(plain), -1)), (8, np.rot90(decode(plain))), (3, decode(plain)[::-1, ::-1])):
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(decode(encoded(PHOTO, "JPEG", quality=90, exif=exif)), turned)


@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")  # as the module does where pytest does not reset the filters
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_broken_exif_counts_as_none(exif):
    np.testing.assert_array_equal(
        decode(encoded(PHOTO, "JPEG", quality=90, exif=exif)), decode(encoded(PHOTO, "JPEG", quality=90))
    )


def test_an_orientation_nobody_defined_counts_as_none():
    exif = Image.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(decode(encoded(PHOTO, "PNG", exif=exif)), np.asarray(PHOTO))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (7, 3)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_thinnest_images_go_all_the_way(form, size):
    pixels = decode(encoded(PHOTO.resize(size), form))
    assert pixels.shape == (size[1], size[0], 3)
    for fit in ("crop", "stretch"):
        for kernel in ("bilinear", "area"):
            assert prepare(pixels, 32, fit, kernel).shape == (32, 32, 3)
    shown = Image.open(io.BytesIO(thumbnail(pixels)))
    assert max(shown.size) == 160
    assert min(shown.size) >= 1


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "empty", "zero bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not-an-image", "an HTML page"),
        (b"\n  <HTML><head>", "not-an-image", "an HTML page"),
        (b"<?xml version='1.0'?><svg/>", "not-an-image", "XML or SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image", "XML or SVG"),
        (b"PK\x03\x04zipped", "not-an-image", "starts with 50 4b 03 04 7a 69 70 70"),
        (b"\0", "not-an-image", "starts with 00"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image", "starts with 25 21 50 53 2d 41 64 6f"),
        (png_of(60_000, 60_000), "too-large", "60,000 x 60,000 pixels; at most 100,000,000 are decoded"),
        (png_of(100_000_001, 1), "too-large", "100,000,001 x 1 pixels; at most 100,000,000 are decoded"),
    ],
    ids=["empty", "html", "html-2", "xml", "svg", "zip", "null", "postscript", "bomb", "long-bomb"],
)
def test_what_is_no_image_has_a_reason(content, reason, detail):
    assert reason_of(content) == (reason, detail)


def test_a_jpeg_bomb_is_refused_by_its_header():
    content = bytearray(encoded(PHOTO, "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    assert reason_of(bytes(content)) == ("too-large", "65,000 x 65,000 pixels; at most 100,000,000 are decoded")


@pytest.mark.parametrize(("form", "offset", "order"), [("GIF", 6, "<HH"), ("BMP", 18, "<ii")])
def test_other_bombs_are_refused_by_their_headers(form, offset, order):
    content = bytearray(encoded(PHOTO, form))
    content[offset : offset + struct.calcsize(order)] = struct.pack(order, 60_000, 60_000)
    assert reason_of(bytes(content))[0] == "too-large"


def test_a_png_that_inflates_to_more_than_it_says_stays_small():
    content = png_of(2, 2, zlib.compress(bytes(50_000_000)))
    assert outcome(content) in ((2, 2, 3), "corrupt", "truncated")


def test_what_a_decoder_does_not_know_is_unsupported():
    content = bytearray(encoded(PHOTO, "BMP"))
    content[30:34] = struct.pack("<i", 9)  # compression
    assert reason_of(bytes(content)) == ("unsupported", "Unsupported BMP compression (9)")


def test_a_jpeg_of_twelve_bits_is_unsupported():
    content = bytearray(encoded(PHOTO, "JPEG"))
    content[content.index(b"\xff\xc0") + 4] = 12
    reason, detail = reason_of(bytes(content))
    assert reason == "unsupported"
    assert "precision" in detail


@pytest.mark.parametrize(
    "junk", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + bytes(100), b"\xff\xd8\xff\xd9", b"\xff\xd8\xff" + b"\xff" * 500]
)
def test_the_start_of_a_jpeg_alone_is_no_image(junk):
    assert reason_of(junk)[0] in ("truncated", "corrupt")


KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(PHOTO, "JPEG", quality=90),
    "progressive": lambda: encoded(PHOTO, "JPEG", quality=90, progressive=True),
    "cmyk": lambda: encoded(PHOTO.convert("CMYK"), "JPEG"),
    "png": lambda: encoded(PHOTO, "PNG"),
    "deep-png": lambda: encoded(Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"),
    "bmp": lambda: encoded(PHOTO, "BMP"),
    "gif": lambda: encoded(PHOTO, "GIF"),
    "webp": lambda: encoded(PHOTO, "WEBP"),
    "tiff": lambda: encoded(PHOTO, "TIFF"),
    "lzw-tiff": lambda: encoded(PHOTO, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused_or_whole_and_never_half_grey(kind):
    content = KINDS[kind]()
    whole = decode(content)
    cuts = sorted({*np.linspace(1, len(content) - 1, 60).astype(int).tolist(), *range(len(content) - 12, len(content))})
    reasons = set()
    for cut in cuts:
        try:
            pixels = decode(content[:cut])
        except UnreadableImage as error:
            reasons.add(error.reason)
        else:
            np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {cut} of {len(content)}")
    assert reasons <= {"truncated", "corrupt", "not-an-image"}
    assert reason_of(content[: len(content) // 2])[0] in ("truncated", "corrupt")


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_the_usual_broken_download_is_called_truncated(kind):
    content = KINDS[kind]()
    assert reason_of(content[: len(content) * 2 // 3])[0] == "truncated"


@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")
@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "webp", "tiff", "lzw-tiff"])
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bytes_give_pixels_or_a_reason_and_nothing_else(kind, seed):
    content = np.frombuffer(KINDS[kind](), np.uint8).copy()
    rng = np.random.default_rng(seed)
    at = rng.integers(0, min(len(content), 600), 3)
    content[at] = rng.integers(0, 256, 3)
    found = outcome(content.tobytes())
    assert found in {"truncated", "corrupt", "not-an-image", "unsupported", "too-large"} or found[2:] == (3,)


def test_damage_inside_a_png_is_found():
    content = bytearray(KINDS["png"]())
    content[len(content) // 2] ^= 0xFF
    assert reason_of(bytes(content))[0] in ("corrupt", "truncated")


def test_crop_takes_the_largest_central_square():
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 200
    assert (prepare(pixels, 40, "crop", "bilinear") == 200).all()
    assert (prepare(pixels.transpose(1, 0, 2), 40, "crop", "area") == 200).all()
    assert not (prepare(pixels, 40, "stretch", "bilinear") == 200).all()


def test_a_square_of_the_right_size_passes_unchanged():
    pixels = np.asarray(PHOTO)
    square = pixels[:, 20:140]
    for kernel in ("bilinear", "area"):
        np.testing.assert_array_equal(prepare(square, 120, "crop", kernel), square)
        np.testing.assert_array_equal(prepare(pixels, 120, "crop", kernel), square)


def test_area_averages_blocks_and_bilinear_does_not():
    pixels = np.asarray(PHOTO)[:, 20:140]
    means = pixels.reshape(30, 4, 30, 4, 3).mean(axis=(1, 3))
    assert np.abs(prepare(pixels, 30, "crop", "area") - means).max() <= 0.5001
    assert np.abs(prepare(pixels, 30, "crop", "bilinear") - means).max() > 10


def test_area_enlarges_as_bilinear_does():
    pixels = np.asarray(PHOTO)[:20, :20]
    enlarged = prepare(pixels, 64, "crop", "area")
    np.testing.assert_array_equal(enlarged, prepare(pixels, 64, "crop", "bilinear"))
    assert len(np.unique(enlarged.reshape(-1, 3), axis=0)) > len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_stretch_keeps_what_crop_would_lose():
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:, :20] = 255
    assert prepare(pixels, 60, "stretch", "area")[:, :9].min() == 255
    assert not prepare(pixels, 60, "crop", "area").any()


@pytest.mark.parametrize(("height", "width", "size"), [(120, 160, (160, 120)), (400, 200, (80, 160)), (8, 8, (160, 160))])
def test_a_thumbnail_keeps_proportions(height, width, size):
    pixels = np.asarray(PHOTO.resize((width, height)))
    content = thumbnail(pixels)
    assert Image.open(io.BytesIO(content)).size == size
    assert simplejpeg.is_jpeg(content)
