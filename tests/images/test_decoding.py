"""Images: upright RGB from every format, a reason for every failure, and never a grey picture for a broken one."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.images.files import PHOTO, PHOTOS, encoded, kinds, png_of, turned
from trunkline.errors import UnreadableImage
from trunkline.images import decode, prepare, thumbnail

LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}, "GIF": {}}
LOSSY = {"JPEG": {"quality": 90}, "WEBP": {"quality": 90}}


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
    for orientation, expected in (
        (6, np.rot90(decode(plain), -1)),
        (8, np.rot90(decode(plain))),
        (3, decode(plain)[::-1, ::-1]),
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(decode(encoded(PHOTO, "JPEG", quality=90, exif=exif)), expected)


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


KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused_or_whole_and_never_half_grey(kind):
    content = KINDS[kind]
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
    assert reason_of(content[: len(content) // 3])[0] in ("truncated", "corrupt")


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-progressive", "png"])
def test_the_usual_broken_download_is_called_truncated(kind):
    content = KINDS[kind]
    assert reason_of(content[: len(content) * 2 // 3])[0] == "truncated"


@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")
@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "webp", "tiff", "tiff-lzw"])
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bytes_give_pixels_or_a_reason_and_nothing_else(kind, seed):
    content = np.frombuffer(KINDS[kind], np.uint8).copy()
    rng = np.random.default_rng(seed)
    at = rng.integers(0, min(len(content), 600), 3)
    content[at] = rng.integers(0, 256, 3)
    found = outcome(content.tobytes())
    assert found in {"truncated", "corrupt", "not-an-image", "unsupported", "too-large"} or found[2:] == (3,)


def test_damage_inside_a_png_is_found():
    content = bytearray(KINDS["png"])
    content[len(content) // 2] ^= 0xFF
    assert reason_of(bytes(content))[0] in ("corrupt", "truncated")


# of decode() and of the default preparation to 224 x 224; whoever changes one raises DECODER's number
DIGESTS = {
    "china": ("9459dffd4ad72e7b", "b0861f0748f26274"),
    "flower": ("028008e42002966d", "45c592145a9ac338"),
    "jpeg": ("2c173c38c9646ebf", "f0ecc05b301d3eb7"),
    "jpeg-progressive": ("2c173c38c9646ebf", "f0ecc05b301d3eb7"),
    "jpeg-restarts": ("2c173c38c9646ebf", "f0ecc05b301d3eb7"),
    "jpeg-grey": ("87904a61e951a585", "09405fbf71ae9ec0"),
    "jpeg-exif": ("4081c39512fa9830", "f953a850a9b4c897"),
    "jpeg-cmyk": ("3155e62391ed1e61", "c83bf68598c50c47"),
    "jpeg-cmyk-progressive": ("3155e62391ed1e61", "c83bf68598c50c47"),
    "jpeg-cmyk-plain": ("3155e62391ed1e61", "c83bf68598c50c47"),
    "jpeg-ycck": ("e8240d11cf5a0ab8", "d6a2e4088bf4b5d0"),
    "png": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "png-stored": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "png-alpha": ("d371b2e6ee36f5f2", "0b8b91f606b2e2e5"),
    "png-grey-alpha": ("59b6f36ee786ec49", "f0a62df2d4a32769"),
    "png-palette": ("829ebec0ebba7b37", "df2032c713d17eaa"),
    "png-palette-clear": ("4e340ebe22bab18c", "a9b981cfa37aad90"),
    "png-deep": ("2886d4e022f87d3b", "622ded18b2c915eb"),
    "png-bits": ("72fc93037ee29ebb", "5236f07d83211bec"),
    "png-animated": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "png-interlaced": ("e8fc5c005d8b28a4", "1eda1fcd954d9cab"),
    "bmp": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "bmp-palette": ("829ebec0ebba7b37", "df2032c713d17eaa"),
    "bmp-bits": ("72fc93037ee29ebb", "5236f07d83211bec"),
    "bmp-alpha": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "gif": ("829ebec0ebba7b37", "df2032c713d17eaa"),
    "gif-straight": ("829ebec0ebba7b37", "df2032c713d17eaa"),
    "gif-clear": ("4e340ebe22bab18c", "a9b981cfa37aad90"),
    "gif-animated": ("829ebec0ebba7b37", "df2032c713d17eaa"),
    "webp": ("e7bff561ad7ef556", "148442810c3dd3d5"),
    "webp-lossless": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "webp-alpha": ("402932e33103d097", "9f200316d732ba0a"),
    "webp-animated": ("50daf0890aab561d", "45ed6ff7cfd1181c"),
    "tiff": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-directory-first": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-strips": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-lzw": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-deflate": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-packbits": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-jpeg": ("3155e62391ed1e61", "c83bf68598c50c47"),
    "tiff-fax": ("72fc93037ee29ebb", "5236f07d83211bec"),
    "tiff-cmyk": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-alpha": ("d371b2e6ee36f5f2", "0b8b91f606b2e2e5"),
    "tiff-deep": ("2886d4e022f87d3b", "622ded18b2c915eb"),
    "tiff-float": ("a6b216472cf79af6", "1138b5245dfe2b38"),
    "tiff-turned": ("e8bdbc8e5d11b072", "c3568dc2b3726f4f"),
    "tiff-pages": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
    "tiff-big": ("571bb23caa092198", "e43d2dd3dd41fdf9"),
}


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_the_default_recipes_pixels_stay_what_they_are(name):
    pixels = decode((PHOTOS | KINDS)[name])
    assert (digest(pixels), digest(prepare(pixels, 224, "crop", "bilinear"))) == DIGESTS[name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_pixels_that_are_ones_own(kind):
    pixels = decode(KINDS[kind])
    assert (pixels.dtype, pixels.shape[2], pixels.flags.c_contiguous) == (np.uint8, 3, True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_can_be_ignored(form, orientation):
    how = {"lossless": True} if form == "WEBP" else {}
    plain = decode(encoded(PHOTO, form, **how))
    np.testing.assert_array_equal(decode(turned(PHOTO, form, orientation, **how), upright=False), plain)
