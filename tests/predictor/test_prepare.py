"""prepare.py, which knows nothing of trunkline, gives the pipeline's pixels."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trunkline import images
from trunkline.predictor import prepare
from trunkline.specs import Recipe

RECIPE = Recipe(
    backbone="b",
    weights="0" * 16,
    layers=("l",),
    size=48,
    fit="crop",
    kernel="bilinear",
    decoder=images.DECODER,
    normalisation="",
    precision="f32",
    dtype="float32",
)


def picture(width: int = 90, height: int = 61, mode: str = "RGB") -> Image.Image:
    """Waves and noise."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / (3 + c) + y / (7 - c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)).convert(mode)


def written(image: Image.Image, kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return written(picture(), "JPEG", exif=exif)


def clear(mode: str) -> Image.Image:
    image = picture(mode="RGB").convert("RGBA")
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1)))
    image.putalpha(alpha)
    return image.convert(mode)


FILES = {
    "jpeg": written(picture(), "JPEG", quality=90),
    "jpeg-progressive-420": written(picture(), "JPEG", progressive=True, subsampling=2),
    "jpeg-grey": written(picture(mode="L"), "JPEG"),
    **{f"jpeg-turned-{number}": turned(number) for number in range(2, 9)},
    "png": written(picture(), "PNG"),
    "png-palette": written(picture(mode="P"), "PNG"),
    "png-alpha": written(clear("RGBA"), "PNG"),
    "png-grey-alpha": written(clear("LA"), "PNG"),
    "png-16": written(Image.fromarray((np.arange(90 * 61).reshape(61, 90) * 11).astype(np.uint16)), "PNG"),
    "webp": written(picture(), "WEBP", lossless=True),
    "bmp": written(picture(), "BMP"),
    "gif": written(picture(mode="P"), "GIF"),
    "tiff": written(picture(), "TIFF"),
}


def pixels_of(tmp_path: Path, content: bytes, recipe: Recipe) -> np.ndarray:
    (tmp_path / "image").write_bytes(content)
    return prepare.prepared(tmp_path / "image", recipe.model_dump())


@pytest.mark.parametrize("name", FILES)
def test_the_default_preparation_is_equal_bit_for_bit(tmp_path: Path, name: str):
    found, expected = pixels_of(tmp_path, FILES[name], RECIPE), images.load(FILES[name], RECIPE)
    assert (found.shape, found.dtype) == ((48, 48, 3), np.uint8)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": "stretch"},
        {"fit": "pad"},
        {"fit": "pad", "size": 120},
        {"kernel": "area"},
        {"kernel": "area", "size": 120},
        {"kernel": "bicubic"},
        {"kernel": "lanczos", "fit": "stretch"},
        {"antialias": True},
        {"antialias": True, "kernel": "lanczos"},
        {"pixels": "float32"},
        {"pixels": "float32", "antialias": True, "kernel": "bicubic"},
        {"exif": "ignored"},
    ],
    ids=str,
)
def test_other_preparations_are_equal_bit_for_bit(tmp_path: Path, changes: dict):
    recipe = RECIPE.model_copy(update=changes)
    for content in (FILES["jpeg-turned-6"], FILES["png-alpha"]):
        found, expected = pixels_of(tmp_path, content, recipe), images.load(content, recipe)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_where_it_deviates_it_is_near(tmp_path: Path):
    keras = RECIPE.model_copy(update={"decoder": images.KERAS_DECODER, "pixels": "float32", "fit": "stretch"})
    for name in ("png", "png-alpha", "bmp"):
        np.testing.assert_allclose(pixels_of(tmp_path, FILES[name], keras), images.load(FILES[name], keras), atol=1e-4)
    for content, recipe in ((FILES["jpeg"], keras), (written(picture(mode="CMYK"), "JPEG"), RECIPE)):
        apart = np.abs(pixels_of(tmp_path, content, recipe).astype(float) - images.load(content, recipe))
        assert apart.max() <= 8
        assert apart.mean() < 2


def test_it_imports_nothing_of_trunkline():
    tree = ast.parse(Path(prepare.__file__).read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    assert {name.split(".")[0] for name in imported} <= {
        "__future__", "argparse", "json", "sys", "pathlib", "typing", "cv2", "numpy", "PIL", "onnxruntime",
    }  # fmt: skip


def test_answers_in_words():
    said = {"names": ["a", "b", "c"], "target": "classes"}
    assert prepare.in_words(np.array([0.1, 0.7, 0.2]), said, 2) == "b 0.7000, c 0.2000"
    assert prepare.in_words(np.array([12.5]), {"names": ["value"], "target": "regression"}, 5) == "12.5"
