"""Files that lie, contradict themselves, or were closed too early: each has the reason that fits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tests.images.files import PHOTO, chunk, encoded, kinds, png_of, rows_of, tiff_of
from trunkline.errors import UnreadableImage
from trunkline.images import REASONS, decode

KINDS = kinds()


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


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-grey", "jpeg-cmyk", "jpeg-cmyk-plain", "jpeg-ycck"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_cut_jpeg_that_somebody_closed_is_still_refused(kind, share):
    content = KINDS[kind]
    assert reason_of(content[: int(len(content) * share)] + b"\xff\xd9")[0] in ("truncated", "corrupt")


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-cmyk"])
def test_a_jpeg_with_a_hole_is_refused(kind):
    content = KINDS[kind]
    middle = len(content) * 2 // 3
    assert reason_of(content[:middle] + content[middle + 301 :])[0] in ("truncated", "corrupt")


def test_a_png_whose_data_ends_a_row_early_is_truncated():
    rows = rows_of(PHOTO)
    assert decode(png_of(160, 120, zlib.compress(rows))).shape == (120, 160, 3)
    for missing in (1, 481, 962, len(rows)):
        assert reason_of(png_of(160, 120, zlib.compress(rows[: len(rows) - missing])))[0] == "truncated"
    short = png_of(160, 120, zlib.compress(rows[:-481]))
    assert reason_of(short) == ("truncated", "57,239 of 57,720 bytes of pixels")


def test_a_palette_that_is_missing_is_said():
    content = png_of(2, 1, zlib.compress(b"\0\0\1"), colours=3)
    assert reason_of(content) == ("corrupt", "its pixels are numbers of colours, and it holds no palette")


@pytest.mark.parametrize(("colours", "bits", "width"), [(0, 1, 9), (0, 16, 3), (2, 8, 5), (3, 4, 7), (4, 8, 5), (6, 16, 2)])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_that_is_black_below_is_whole(colours, bits, width, interlaced):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    height, row = 11, 1 + -(-width * samples * bits // 8)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    inside = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in passes]
    needed = sum(high * (1 + -(-wide * samples * bits // 8)) for wide, high in inside if wide) if interlaced else height * row
    palette = chunk(b"PLTE", bytes(3)) if colours == 3 else b""
    content = png_of(
        width, height, zlib.compress(bytes(needed)), colours=colours, bits=bits, interlaced=interlaced, more=palette
    )
    if colours in (4, 6):
        assert (decode(content) == 255).all()  # all of it is transparent, over white
    else:
        assert not decode(content).any()
    short = zlib.compress(bytes(needed - 1))
    broken = png_of(width, height, short, colours=colours, bits=bits, interlaced=interlaced, more=palette)
    assert reason_of(broken)[0] in ("truncated", "corrupt")


@pytest.mark.parametrize(
    ("changed", "reason", "detail"),
    [
        ({278: (3, 1, 8)}, "truncated", "1 of 15 strips"),
        ({257: (4, 1, 121), 278: (4, 1, 60)}, "truncated", "1 of 3 strips"),
        ({273: (4, 1, 0)}, "corrupt", "one of 1 strips starts at byte 0, inside the header"),
        ({273: (4, 2**30, 8)}, "truncated", "its tag 273 lies at byte 8, the file ends at"),
        ({278: (4, 1, 0)}, "corrupt", "1 strips where 0 are needed; at most 1,048,576 are read"),
        ({273: (4, 2_000, 8)}, None, ""),
        ({256: (4, 1, 60_000), 257: (4, 1, 60_000)}, "too-large", "60,000 x 60,000 pixels; at most 100,000,000 are decoded"),
        ({256: (4, 1, 0)}, "corrupt", "0 x 120 pixels"),
        ({256: (2, 1, 160)}, "corrupt", "a TIFF without a width or a height"),
        ({262: (3, 1, 77)}, "unsupported", "a TIFF of 160 x 120 that Pillow cannot read"),
        ({259: (3, 1, 4)}, "corrupt", ""),
    ],
)
@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")
def test_a_tiff_that_contradicts_itself_is_refused(changed, reason, detail):
    assert decode(tiff_of(PHOTO)).shape == (120, 160, 3)
    content = tiff_of(PHOTO, changed=changed)
    if reason is None:  # more strips than it needs
        assert outcome(content) in (*REASONS, (120, 160, 3))
    else:
        assert reason_of(content)[0] == reason
        assert detail in reason_of(content)[1]


def test_a_tiff_of_tiles_needs_them_all():
    tiles = {322: (3, 1, 160), 323: (3, 1, 64), 324: (4, 1, 146)}
    content = tiff_of(PHOTO, changed=tiles)
    assert outcome(content.replace(struct.pack("<H", 273), struct.pack("<H", 272), 1)) == "truncated"
    none = tiff_of(PHOTO, changed=tiles | {322: (3, 1, 0)})
    assert outcome(none.replace(struct.pack("<H", 273), struct.pack("<H", 272), 1)) == "corrupt"


@pytest.mark.parametrize(("order", "count"), [("<", 60_000), (">", 60_000)])
def test_a_tiff_of_too_many_tags_is_refused(order, count):
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count)
    entry = struct.pack(order + "HHII", 256, 1, 2**31, 8)
    assert reason_of(start + entry * count) == ("corrupt", "60,000 tags in its directory; at most 4,096 are read")
    big = (b"II+\0" if order == "<" else b"MM\0+") + struct.pack(order + "HHQQ", 8, 0, 16, 2**62)
    assert reason_of(big + bytes(1000))[0] == "corrupt"


def test_a_tiff_whose_directory_is_not_there_is_truncated():
    content = encoded(PHOTO, "TIFF")
    directory = struct.unpack("<I", content[4:8])[0]
    for cut in (5, 8, 9, 100, len(content) - 1) if directory == 8 else (5, 8, 1000, directory, directory + 1, directory + 30):
        assert reason_of(content[:cut])[0] == "truncated"


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"\x89PNG\r\n\x1a\n", "truncated", "the file ends inside its header, after 8 bytes"),
        (
            b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", bytes(13)),
            "corrupt",
            "a PNG starts with the chunk IHDR, this one with b'tEXt'",
        ),
        (b"GIF89a\2\0\2\0\0\0\0", "truncated", "the file ends inside its header"),
        (b"GIF89a\2\0\2\0\0\0\0;", "corrupt", "the GIF ends before its first image"),
        (b"GIF89a\2\0\2\0\0\0\0!\xfe\3abc", "truncated", "the file ends inside its header"),
        (b"BM", "truncated", "the file ends inside its header, after 2 bytes"),
        (b"RIFF\0\0\0\0WEBP", "truncated", "the file ends inside its header"),
        (
            b"RIFF\0\0\0\0WEBPEXIF" + bytes(20),
            "corrupt",
            "a WebP starts with the chunk VP8, VP8L or VP8X, this one with b'EXIF'",
        ),
        (b"RIFF\0\0\0\0WAVEfmt ", "not-an-image", "starts with 52 49 46 46"),
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xda\0\4ab", "corrupt", "the JPEG has no frame header before its data"),
        (b"\xff\xd8\xff\xe0\0\4ab", "truncated", "the JPEG ends before its first scan"),
        (b"II*\0", "truncated", "the file ends inside its header"),
        (b"II*\0\xff\xff\0\0", "truncated", "its directory lies at byte 65,535, the file ends at 8"),
        (png_of(0, 5), "corrupt", "0 x 5 pixels"),
        (png_of(1_000_001, 1), "too-large", "1,000,001 x 1 pixels; a side may have 1,000,000 at most"),
    ],
)
def test_headers_that_make_no_sense_have_a_reason(content, reason, detail):
    found = reason_of(content)
    assert found[0] == reason
    assert detail in found[1]


def test_reasons_are_all_of_the_vocabulary():
    assert set(REASONS) == {"empty", "not-an-image", "unsupported", "truncated", "corrupt", "too-large"}


@pytest.mark.parametrize("kind", ["webp", "webp-lossless", "webp-alpha"])
def test_a_webp_bomb_is_refused_by_its_header(kind):
    content = bytearray(KINDS[kind])
    match content[12:16]:
        case b"VP8X":
            content[24:30] = struct.pack("<HBHB", 59_999, 0, 59_999, 0)
        case b"VP8L":
            content[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
        case _:
            content[26:30] = struct.pack("<HH", 0x3FFF, 0x3FFF)
    assert reason_of(bytes(content))[0] == "too-large"


def test_a_gif_whose_first_frame_is_a_bomb_is_refused_before_it_is_opened():
    content = bytearray(KINDS["gif-animated"])
    frame = content.index(b",", 13 + 3 * 64)
    content[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    assert reason_of(bytes(content)) == ("too-large", "60,000 x 60,000 pixels; at most 100,000,000 are decoded")


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_what_is_written_in_a_png_cannot_blow_up(kind):
    bomb = zlib.compress(bytes(300_000_000))
    head = b"name\0\1\0\0\0" if kind == b"iTXt" else b"name\0\0"
    content = png_of(160, 120, zlib.compress(rows_of(PHOTO)), more=chunk(kind, head + bomb))
    assert reason_of(content)[0] == "too-large"


def scans(side: int, count: int) -> bytes:
    """A valid grey progressive JPEG that says nothing in many scans: for each coefficient, bit after bit, only that there is none."""
    blocks = (side // 8) ** 2
    silent = "".join(f"{0:08b}{0x3FFF:014b}" for _ in range(blocks // 32_767)) + f"{1:08b}" * (blocks % 32_767)
    silent += "1" * (-len(silent) % 8)
    run = int(silent, 2).to_bytes(len(silent) // 8, "big").replace(b"\xff", b"\xff\0")
    parts = [
        b"\xff\xd8\xff\xdb\0\x43\0" + bytes([1] * 64),
        b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\1\x11\0",
    ]
    parts += [b"\xff\xc4\0\x14\0\1" + bytes(16), b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(blocks // 8)]
    parts += [b"\xff\xc4\0\x15\x10" + bytes(7) + b"\2" + bytes(8) + b"\xe0\0"]
    steps = [(at, bit + 1 if bit < 10 else 0, bit) for bit in range(10, -1, -1) for at in range(1, 64)]
    parts += [b"\xff\xda\0\x08\1\1\0" + bytes([at, at, high << 4 | low]) + run for at, high, low in steps[: count - 1]]
    return b"".join(parts) + b"\xff\xd9"


def test_a_jpeg_of_too_many_scans_is_refused():
    assert decode(scans(256, 400)).shape == (256, 256, 3)
    assert reason_of(scans(256, 501)) == ("too-large", "a JPEG of 65,536 pixels in 501 scans; at most 500 are decoded")
    assert reason_of(scans(9984, 21)) == ("too-large", "a JPEG of 99,680,256 pixels in 21 scans; at most 20 are decoded")


def test_bytes_that_look_like_scans_are_none():
    content = KINDS["jpeg"]
    comment = b"\xff\xfe" + struct.pack(">H", 4002) + b"\xff\xda" * 2000
    np.testing.assert_array_equal(decode(content[:2] + comment + content[2:]), decode(content))
