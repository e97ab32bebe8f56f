"""Broken and odd image files, some 1,500 of them, the same ones every time: cut, flipped, swapped, lying, and made by hand.

`python -m tests.images.corpus FOLDER` decodes what lies in a folder, one file after the other, and prints what became of each.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import random
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tests.images.files import PHOTO, chunk, encoded, kinds, png_of, recipe, rows_of, tiff_of, turned

SECONDS = 20  # for one file in every way: a hang, on any machine
SMALL = PHOTO.resize((80, 60))


class Case(NamedTuple):
    """`whole` is the file that this one is a beginning of."""

    name: str
    content: bytes
    whole: str = ""


def cases() -> list[Case]:
    """All of them; names are unique."""
    files = kinds(SMALL)
    broken = [case for name, content in files.items() for case in (*_cut(name, content), *_damaged(name, content))]
    return [*(Case(name, content) for name, content in files.items()), *broken, *_closed(files), *_by_hand(files)]


def _cut(name: str, content: bytes) -> Iterator[Case]:
    """At every marker, chunk or block, one byte around it, and at twelve places between."""
    places = {at + by for at in _joints(name, content) for by in (-1, 0, 1, 3)}
    places |= {len(content) * part // 13 for part in range(1, 13)} | {1, 2, len(content) - 1}
    for place in sorted(at for at in places if 0 < at < len(content)):
        yield Case(f"{name} cut at {place}", content[:place], name)


def _joints(name: str, content: bytes) -> list[int]:
    """Where its parts begin, as far as that can be told by looking; at most 14 of them."""
    signs = {
        "jpeg": rb"\xff[\xc0-\xfe]",
        "png": rb"IHDR|PLTE|tRNS|acTL|fcTL|IDAT|fdAT|IEND",
        "webp": rb"VP8[ XL]|ALPH|ANIM|ANMF",
        "gif": rb"!\xf9|!\xff|,\0\0\0\0",
    }
    found = [match.start() for match in re.finditer(signs.get(name.split("-")[0], rb"(?!)"), content)]
    if name.startswith("tiff"):
        found += [8, struct.unpack_from("<I", content, 4)[0], 8 + 12 * 5]
    if name.startswith("bmp"):
        found += [14, 54, 54 + 1024]
    return found[:: max(1, len(found) // 14)]


def _damaged(name: str, content: bytes) -> Iterator[Case]:
    for seed in range(8):
        chance = random.Random(f"{name} {seed}")
        flipped = bytearray(content)
        reach = len(content) if seed % 2 else min(len(content), 400)  # every second time in what says how to read the rest
        for _ in range(1 + seed):
            flipped[chance.randrange(reach)] ^= 1 << chance.randrange(8)
        yield Case(f"{name} flipped {seed}", bytes(flipped))
    for seed in range(3):
        chance = random.Random(f"{name} {seed}")
        a, b, c, d = sorted(chance.sample(range(len(content)), 4))
        yield Case(f"{name} swapped {seed}", content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:])
        yield Case(f"{name} without a piece {seed}", content[:b] + content[c:])
        yield Case(f"{name} with a piece twice {seed}", content[:c] + content[b:])
    yield Case(f"{name} with zeros inside", content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    yield Case(f"{name} with more behind", content + content)


def _closed(files: dict[str, bytes]) -> Iterator[Case]:
    """Cut, and closed again as if that were all."""
    for name, content in files.items():
        for part in (3, 5, 7):
            start = content[: len(content) * part // 8]
            if name.startswith("jpeg"):
                yield Case(f"{name} closed at {part}/8", start + b"\xff\xd9", name)
            elif name.startswith("gif-straight"):
                yield Case(f"{name} closed at {part}/8", start + b"\0;", name)
            elif name.startswith("webp"):
                even = start[: len(start) // 2 * 2]
                yield Case(f"{name} closed at {part}/8", even[:4] + struct.pack("<I", len(even) - 8) + even[8:], name)
    rows = rows_of(SMALL)
    for missing in (1, 240, 241, 482, len(rows)):
        yield Case(f"png without {missing} bytes", png_of(80, 60, zlib.compress(rows[: len(rows) - missing])), "png")
    segments = re.split(rb"(?=\xff[\xc0\xc4\xdb\xda])", files["jpeg"])
    for seed in range(12):
        order = segments[1:]
        random.Random(seed).shuffle(order)
        yield Case(f"jpeg in another order {seed}", segments[0] + b"".join(order))


def _by_hand(files: dict[str, bytes]) -> Iterator[Case]:
    yield from (Case(name, content) for name, content in _nothing().items())
    yield from (Case(name, content) for name, content in _bombs(files).items())
    yield from (Case(name, content) for name, content in _nested(files).items())
    for width, height in ((1, 1), (1, 20_000), (20_000, 1), (1, 2), (3, 1)):
        for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
            if form != "WEBP" or max(width, height) < 16_384:
                yield Case(f"{form} {width} x {height}", encoded(PHOTO.resize((width, height)), form))
    yield Case("CMYK 1 x 20,000", encoded(PHOTO.convert("CMYK").resize((1, 20_000)), "JPEG"))
    for orientation in (0, 9, 65_535):
        yield Case(f"orientation {orientation}", turned(SMALL, "JPEG", orientation))
    for count in (2, 3, 255):
        yield Case(f"palette of {count}", encoded(SMALL.quantize(count), "PNG"))
    yield Case("palette too short", png_of(4, 1, zlib.compress(b"\0\x09\1\2\3"), colours=3, more=chunk(b"PLTE", bytes(6))))
    yield Case("palette missing", png_of(4, 1, zlib.compress(b"\0\0\1\2\3"), colours=3))


def _nothing() -> dict[str, bytes]:
    starts = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"II+\0"]
    texts = [
        b"",
        b"\0",
        bytes(5000),
        b"<!doctype html>404",
        b"<svg/>",
        b"%PDF-1.7",
        b"PK\3\4",
        b"\xff" * 5000,
        b"BM" * 3000,
        b"\xff\xd8" * 2000,
    ]
    return {
        **{f"nothing {number}": text for number, text in enumerate(texts)},
        **{f"start {number}": start for number, start in enumerate(starts)},
        **{f"start and zeros {number}": start + bytes(4000) for number, start in enumerate(starts)},
        **{f"start and ones {number}": start + b"\xff" * 4000 for number, start in enumerate(starts)},
        **{f"start and noise {number}": start + random.Random(number).randbytes(4000) for number, start in enumerate(starts)},
    }


def _bombs(files: dict[str, bytes]) -> dict[str, bytes]:
    """60,000 x 60,000 in each header, and files that inflate."""

    def patched(name: str, at: int, form: str, *values: int) -> bytes:
        content = bytearray(files[name])
        struct.pack_into(form, content, at, *values)
        return bytes(content)

    huge = 60_000
    zeros = zlib.compress(bytes(200_000_000))
    canvas = b"VP8X" + struct.pack("<IIHBHB", 10, 2, huge - 1, 0, huge - 1, 0)
    frame = files["gif-straight"].index(b",", 13 + 192)
    sof = files["jpeg"].index(b"\xff\xc0")
    return {
        "bomb jpeg": patched("jpeg", sof + 5, ">HH", huge, huge),
        "bomb jpeg of 90 megapixels": patched("jpeg", sof + 5, ">HH", 9_000, 10_000),
        "bomb progressive jpeg of 30 megapixels": patched(
            "jpeg-progressive", files["jpeg-progressive"].index(b"\xff\xc2") + 5, ">HH", 5_000, 6_000
        ),
        "bomb png": png_of(huge, huge, zeros),
        "bomb png of 90 megapixels": png_of(9_000, 10_000, zlib.compress(bytes(1000))),
        "bomb png inside": png_of(2, 2, zeros),
        "bomb png text": png_of(2, 2, zlib.compress(bytes(14)), more=chunk(b"zTXt", b"a\0\0" + zeros)),
        "bomb png profile": png_of(2, 2, zlib.compress(bytes(14)), more=chunk(b"iCCP", b"a\0\0" + zeros)),
        "bomb png many texts": png_of(
            2, 2, zlib.compress(bytes(14)), more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 100
        ),
        "bomb bmp": patched("bmp", 18, "<ii", huge, huge),
        "bomb bmp the other way": patched("bmp", 18, "<ii", huge, -huge),
        "bomb gif": patched("gif", 6, "<HH", huge, huge),
        "bomb gif frame": patched("gif-straight", frame + 5, "<HH", huge, huge),
        "bomb gif offset": patched("gif-straight", frame + 1, "<HH", huge, huge),
        "bomb webp": patched("webp", 26, "<HH", 0x3FFF, 0x3FFF),
        "bomb webp canvas": b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas,
        "bomb webp lossless": patched("webp-lossless", 21, "<I", 0x0FFFFFFF),
        "bomb tiff": tiff_of(SMALL, changed={256: (4, 1, huge), 257: (4, 1, huge)}),
        "bomb tiff of 90 megapixels": tiff_of(SMALL, changed={256: (4, 1, 9_000), 257: (4, 1, 10_000), 278: (4, 1, 10_000)}),
        "bomb tiff strips": tiff_of(SMALL, changed={273: (4, 2**31, 8), 278: (4, 1, 1)}),
        "bomb tiff samples": tiff_of(SMALL, changed={277: (3, 1, 65_535)}),
        "bomb tiff tags": b"II*\0" + struct.pack("<IH", 8, 65_535) + struct.pack("<HHII", 700, 1, 2**31, 8) * 65_535,
        "bomb tiff in a tiff": tiff_of(SMALL, changed={700: (7, 10_000, 8), 330: (4, 1, 8)}),
        "bomb jpeg exif": _with_exif(
            b"II*\0" + struct.pack("<IH", 8, 5_000) + b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(5_000))
        ),
    }


def _nested(files: dict[str, bytes]) -> dict[str, bytes]:
    """Things in things, and things that point at themselves."""
    loop = (
        struct.pack("<IH", 8, 2)
        + struct.pack("<HHII", 34665, 4, 1, 8)
        + struct.pack("<HHII", 330, 4, 1, 8)
        + struct.pack("<I", 8)
    )
    page = bytearray(files["tiff-directory-first"])
    struct.pack_into("<I", page, 8 + 2 + 12 * 10, 8)
    inside = encoded(SMALL.resize((8, 6)), "JPEG")
    for _ in range(40):
        inside = _with_exif(b"II*\0\x08\0\0\0\0\0" + inside) if len(inside) < 60_000 else inside
    return {
        "nested exif that points at itself": _with_exif(b"II*\0" + loop),
        "nested tiff whose next page is itself": bytes(page),
        "nested jpeg in jpeg": inside,
        "nested png in png": png_of(2, 2, zlib.compress(bytes(14)), more=chunk(b"tEXt", b"a\0" + files["png"]) * 50),
        "nested png of empty chunks": png_of(2, 2, zlib.compress(bytes(14)), more=chunk(b"abCd", b"") * 20_000),
        "nested gif of extensions": b"GIF89a\2\0\2\0\0\0\0" + b"!\xfe\1a\0" * 50_000 + b",\0\0\0\0\2\0\2\0\0\2\2\x84\x51\0;",
        "nested jpeg of segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 50_000 + files["jpeg"][2:],
        "nested jpeg of tables": b"\xff\xd8" + (b"\xff\xdb\0\x43\0" + bytes([1] * 64)) * 5_000 + files["jpeg"][2:],
        "nested webp of chunks": b"RIFF" + struct.pack("<I", 4 + 8 * 20_000) + b"WEBP" + b"VP8X\0\0\0\0" * 20_000,
        "nested jpeg of scans": files["jpeg-progressive"][:-2]
        + files["jpeg-progressive"][files["jpeg-progressive"].rindex(b"\xff\xda") : -2] * 3_000
        + b"\xff\xd9",
    }


def _with_exif(data: bytes) -> bytes:
    content = encoded(SMALL, "JPEG")
    segment = b"Exif\0\0" + data[:65_000]
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def _ways() -> dict[str, Callable[[bytes], object]]:
    from trunkline import images

    keras = recipe(size=32, decoder=images.KERAS_DECODER, pixels="float32")
    scaled = recipe(size=32, fit="pad", kernel="lanczos", antialias=True, exif="ignored", decode="scaled")
    return {
        "decoded": images.decode,
        "loaded": lambda content: images.load(content, recipe(size=32, fit="stretch", kernel="area")),
        "keras": lambda content: images.load(content, keras),
        "scaled": lambda content: images.load(content, scaled),
        "estimated": lambda content: images.decoded_bytes(content, scaled),
    }


def main(folder: Path) -> None:
    """Decode each file in every way; one JSON line each, flushed, so that the last one names what killed the process."""
    from trunkline.errors import UnreadableImage

    faulthandler.enable()
    ways = _ways()
    for place in sorted(folder.iterdir()):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        content, found = place.read_bytes(), {}
        for name, way in ways.items():
            try:
                pixels = way(content)
                found[name] = "ok" if isinstance(pixels, int) else hashlib.sha256(pixels.tobytes()).hexdigest()  # type: ignore[attr-defined]
            except UnreadableImage as error:
                found[name] = error.reason
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.write(json.dumps({"file": place.name, "peak": _peak(), **found}) + "\n")
        sys.stdout.flush()


def _peak() -> int:
    """Bytes; `ru_maxrss` would count what the process that started this one held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    Image.init()
    main(Path(sys.argv[1]))
