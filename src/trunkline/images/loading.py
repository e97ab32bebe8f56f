"""Bytes and a recipe to the network's pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.images import decoding, preparing, tensorflow_equal
from trunkline.images.tensorflow_equal import KERAS_DECODER
from trunkline.specs import Recipe


def load(content: bytes, recipe: Recipe) -> NDArray[np.uint8] | NDArray[np.float32]:
    """What a network of this recipe takes.

    Parameters
    ----------
    content : the whole file.
    recipe : `size`, `fit`, `kernel`, `antialias`, `exif`, `decode`, `pixels` and `decoder` are read. With the decoder KERAS_DECODER the
        whole image is stretched bilinearly as TensorFlow does, whatever `fit`, `kernel`, `antialias`, `exif` and `decode` say.

    Returns
    -------
    (size, size, 3) of dtype `recipe.pixels`, C-contiguous, RGB from 0 to 255.

    Raises
    ------
    UnreadableImage : with a reason out of REASONS.
    """
    if recipe.decoder == KERAS_DECODER:
        square = tensorflow_equal.resize(tensorflow_equal.decode(content), recipe.size)
        return square if recipe.pixels == "float32" else np.rint(square).astype(np.uint8)
    reduced_for = (recipe.size, recipe.fit) if recipe.decode == "scaled" else None
    pixels = decoding.view(content, upright=recipe.exif == "upright", reduced_for=reduced_for)
    return preparing.prepare(pixels, recipe.size, recipe.fit, recipe.kernel, antialias=recipe.antialias, dtype=recipe.pixels)
