"""The estimate of an image's memory, against what a process of its own really takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.files import encoded, kinds, png_of, recipe, with_alpha
from trunkline.images import KERAS_DECODER, decoded_bytes
from trunkline.images.memory import NO_IMAGE
from trunkline.specs import Recipe

SIDE = 2000
WAYS = {
    "default": recipe(),
    "antialias": recipe(antialias=True),
    "float32": recipe(pixels="float32", fit="pad"),
    "float32 antialias": recipe(pixels="float32", antialias=True, kernel="lanczos", fit="stretch"),
    "keras": recipe(pixels="float32", decoder=KERAS_DECODER),
    "scaled": recipe(decode="scaled"),
}
# loads a small one of the same kind first, so that what is imported and cached is not counted
MEASURE = """
import json, sys
from pathlib import Path
from trunkline.images import decoded_bytes, load
from trunkline.specs import Recipe

def memory(which):
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))

folder, ways = Path(sys.argv[1]), [Recipe.model_validate(way) for way in json.loads(sys.argv[2])]
for small in sorted(folder.glob("*-small")):
    content = small.with_name(small.name.removesuffix("-small")).read_bytes()
    for number, way in enumerate(ways):
        load(small.read_bytes(), way)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        load(content, way)
        print(json.dumps([small.name.removesuffix("-small"), number, memory("VmHWM") - before, decoded_bytes(content, way)]))
"""


def large() -> dict[str, bytes]:
    """One that is costly for each format."""
    blocks = np.random.default_rng(0).integers(0, 256, (SIDE // 20, SIDE // 20, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = {"compression": "tiff_lzw", "strip_size": SIDE * SIDE * 4}
    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg-exif": encoded(image, "JPEG", exif=exif),
        "jpeg-progressive": encoded(image, "JPEG", progressive=True, subsampling=0),
        "jpeg-cmyk": encoded(image.convert("CMYK"), "JPEG", progressive=True),
        "png": encoded(image, "PNG", compress_level=1),
        "png-alpha": encoded(with_alpha(image), "PNG", compress_level=1, exif=exif),
        "png-palette": encoded(image.quantize(16), "PNG", transparency=1),
        "bmp": encoded(image, "BMP"),
        "gif": encoded(image.quantize(16), "GIF", transparency=1),
        "webp": encoded(with_alpha(image), "WEBP", method=0, save_all=True, append_images=[with_alpha(image.rotate(90))]),
        "tiff": encoded(with_alpha(image), "TIFF", exif=exif, **whole),
        "tiff-float": encoded(Image.fromarray(np.asarray(image.convert("L"), np.float32)), "TIFF", **whole),
    }


def small(kind: str) -> bytes:
    return kinds()[{"tiff-float": "tiff-float", "webp": "webp-animated"}.get(kind, kind.split("-")[0])]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, int, int]]:
    """(kind, way, bytes it took, bytes it was estimated to take)."""
    folder = tmp_path_factory.mktemp("large")
    for kind, content in large().items():
        (folder / kind).write_bytes(content)
        (folder / f"{kind}-small").write_bytes(small(kind))
    said = json.dumps([way.model_dump(mode="json") for way in WAYS.values()])
    command = [sys.executable, "-c", MEASURE, str(folder), said]
    allocator = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}  # what is freed goes back at once, and is not counted again
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, env=os.environ | allocator).stdout
    found = [json.loads(line) for line in out.splitlines()]
    return [(kind, list(WAYS)[number], took, said) for kind, number, took, said in found]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process can be reset on Linux only")
def test_the_estimate_is_above_what_it_takes_and_not_far(measured):
    assert len(measured) == len(large()) * len(WAYS)
    slack = 2**20
    assert [each for each in measured if each[2] > each[3] + slack] == []
    assert [each for each in measured if each[3] > 3 * each[2] + 8 * SIDE**2] == []


@pytest.mark.parametrize("way", [None, *WAYS.values()])
def test_what_is_no_image_costs_next_to_nothing(way: Recipe | None):
    for content in (b"", b"text", b"\xff\xd8\xff", png_of(60_000, 60_000), bytes(10_000_000)):
        assert decoded_bytes(content, way) == NO_IMAGE


def test_it_grows_with_the_pixels_and_not_with_the_file():
    narrow, wide = (encoded(Image.new("RGB", (width, 4000)), "PNG") for width in (1000, 4000))
    assert len(wide) < 2**18
    assert 6 * 12_000_000 < decoded_bytes(wide) - decoded_bytes(narrow) < 8 * 12_000_000


def test_without_a_recipe_it_is_that_of_the_default():
    for content in kinds().values():
        assert 0 <= decoded_bytes(content, recipe(size=16)) - decoded_bytes(content) < 2**14


def test_scaled_takes_less():
    content = encoded(Image.new("RGB", (3000, 3000)), "JPEG")
    assert decoded_bytes(content, recipe(decode="scaled")) < decoded_bytes(content) / 6
