"""Classify images with predictor.onnx, prepared as its features were: `python prepare.py IMAGE... [--top 5] [--json]`.

This file stands alone: copy it with `predictor.json` and `predictor.onnx` wherever they are needed. It takes
`pip install numpy pillow opencv-python-headless onnxruntime`, and nothing of trunkline.

JPEG, PNG, WebP, BMP, GIF and TIFF are decoded by Pillow: EXIF orientation undone, transparency over white, 16 bits scaled to 8, the first
frame of an animation; then cropped, padded or stretched and resized by OpenCV (by Pillow where the recipe says antialias). For the
default preparation the pixels are those of the pipeline wherever Pillow's libjpeg-turbo decodes as the pipeline's does. It deviates in that

- images that are damaged are refused less strictly: what Pillow merely warns of is let pass;
- CMYK JPEGs are converted by Pillow alone;
- `decode: scaled` is decoded at full size, and resized from there;
- the preset `keras` decodes JPEGs with the exact transform, not with TensorFlow's fast one: pixels of photos differ by 1 of 255 on average.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
BY_OPENCV = {
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
BY_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
IMAGES_AT_ONCE = 8


def prepared(path: Path, how: dict[str, Any]) -> np.ndarray:
    """The network's pixels: (size, size, 3), RGB from 0 to 255, of dtype `how["pixels"]`."""
    keras = how["decoder"].startswith("tensorflow-equal")
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image) if how["exif"] == "upright" and not keras else image
        pixels = as_rgb(upright, drop_alpha=keras)
    size, fit = how["size"], how["fit"]
    if keras:
        return as_keras_resizes(pixels, size)
    height, width = pixels.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    if fit != "pad":
        return resized(pixels, size, size, how)
    longer = max(height, width)
    high, wide = (max(1, (2 * side * size + longer) // (2 * longer)) for side in (height, width))
    square = np.zeros((size, size, 3), how["pixels"])
    top, left = (size - high) // 2, (size - wide) // 2
    square[top : top + high, left : left + wide] = resized(pixels, high, wide, how)
    return square


def as_rgb(image: Image.Image, drop_alpha: bool) -> np.ndarray:
    """(height, width, 3) uint8."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float64))
        scaled = values * (255.0 if values.max() <= 1.0 else 1.0) if image.mode == "F" else values / 257.0
        return np.repeat(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data and not drop_alpha:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def resized(pixels: np.ndarray, height: int, width: int, how: dict[str, Any]) -> np.ndarray:
    """(height, width, 3) of the recipe's dtype."""
    kernel, dtype = how["kernel"], how["pixels"]
    if kernel == "area" and (pixels.shape[0] < height or pixels.shape[1] < width):
        kernel = "bilinear"
    channels = []
    for number in range(3):
        values = np.ascontiguousarray(pixels[:, :, number], dtype)
        if how["antialias"]:
            values = np.asarray(Image.fromarray(values).resize((width, height), BY_PILLOW[kernel]))
        else:
            values = cv2.resize(values, (width, height), interpolation=BY_OPENCV[kernel])
        channels.append(np.clip(values, 0, 255))
    return np.ascontiguousarray(np.stack(channels, axis=-1), dtype)


def as_keras_resizes(pixels: np.ndarray, size: int) -> np.ndarray:
    """As `tf.image.resize`: the whole image, bilinear with half-pixel centres, float32."""
    height, width = pixels.shape[:2]
    (top, bottom, down), (left, right, across) = neighbours(height, size), neighbours(width, size)
    rows = pixels[np.concatenate([top, bottom])].astype(np.float32)
    rows = rows[:, left] + (rows[:, right] - rows[:, left]) * across[:, None]
    upper, lower = np.split(rows, 2)
    return np.asarray(upper + (lower - upper) * down[:, None, None], np.float32)


def neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `size` places: the pixel before, the one after, and how far between them."""
    half = np.float32(0.5)
    place = (np.arange(size, dtype=np.float32) + half) * (np.float32(length) / np.float32(size)) - half
    below = np.floor(place)
    before, after = np.maximum(below, 0).astype(np.int64), np.minimum(np.ceil(place), length - 1).astype(np.int64)
    return before, after, place - below


def answers(paths: list[Path], said: dict[str, Any]) -> np.ndarray:
    """(n, k): probabilities of classes or labels, or values."""
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "predictor.onnx", providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        pixels = np.stack([prepared(path, said["preparation"]) for path in paths[start : start + IMAGES_AT_ONCE]])
        parts.append(session.run(None, {"pixels": pixels})[0])
    return np.concatenate(parts)


def in_words(row: np.ndarray, said: dict[str, Any], top: int) -> str:
    """One answer for people."""
    names = said["names"]
    if said["target"] == "regression":
        return f"{row[0]:.6g}"
    best = np.argsort(-row, kind="stable")[:top]
    return ", ".join(f"{names[place]} {row[place]:.4f}" for place in best)


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify images with predictor.onnx.")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=5, help="how many classes to name")
    parser.add_argument("--json", action="store_true", help="one JSON object an image and line")
    asked = parser.parse_args()
    said = json.loads((HERE / "predictor.json").read_text(encoding="utf-8"))
    for path, row in zip(asked.images, answers(asked.images, said), strict=True):
        line = f"{path}: {in_words(row, said, asked.top)}"
        if asked.json:
            line = json.dumps({"image": str(path), "answers": dict(zip(said["names"], map(float, row), strict=True))})
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
