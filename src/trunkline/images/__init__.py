"""From an image's bytes to the network's pixels; every failure has a reason out of `REASONS`.

| file | what is in it |
|---|---|
| `reasons.py` | the words for what can be wrong with a file |
| `headers.py`, `jpeg_markers.py`, `tiff_directory.py` | format, size and layout from the first bytes, before any decoder sees them |
| `jpeg.py` | JPEG by libjpeg-turbo, strictly; 1/2, 1/4 or 1/8 where a recipe asks for it |
| `by_pillow.py` | PNG, WebP, BMP, GIF and TIFF by Pillow, and what Pillow lets pass |
| `orientation.py`, `strips.py` | EXIF orientation, undone; conversions a few rows at a time |
| `decoding.py` | bytes → oriented RGB |
| `preparing.py` | RGB → a square, by fit and kernel |
| `tensorflow_equal.py` | the preset `keras`: decoded and resized as TensorFlow does, without TensorFlow |
| `loading.py` | bytes and recipes → the networks' pixels; one decode for all that decode alike |
| `memory.py` | how many bytes that takes, from the header |
"""

from __future__ import annotations

from trunkline.images.decoding import DECODER, decode
from trunkline.images.headers import MAX_PIXELS
from trunkline.images.loading import load, load_each, preparation
from trunkline.images.memory import decoded_bytes
from trunkline.images.orientation import Pixels
from trunkline.images.preparing import prepare, thumbnail
from trunkline.images.reasons import REASONS
from trunkline.images.tensorflow_equal import KERAS_DECODER

__all__ = [
    "DECODER",
    "KERAS_DECODER",
    "MAX_PIXELS",
    "REASONS",
    "Pixels",
    "decode",
    "decoded_bytes",
    "load",
    "load_each",
    "preparation",
    "prepare",
    "thumbnail",
]
