"""Bytes and recipes to the networks' pixels; recipes that decode alike share one decoded picture."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import UnreadableImage
from trunkline.images import decoding, preparing, tensorflow_equal
from trunkline.images.tensorflow_equal import KERAS_DECODER
from trunkline.specs import Recipe

Square: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


def load(content: bytes, recipe: Recipe) -> Square:
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
    (found,) = load_each(content, [recipe])
    if isinstance(found, UnreadableImage):
        raise UnreadableImage(found.reason, found.detail)
    return found


def load_each(content: bytes, recipes: Sequence[Recipe]) -> list[Square | UnreadableImage]:
    """What `load` gives or raises for each recipe, in their order; one decoded picture is held at a time.

    A picture is decoded once for all recipes with the same decoder, EXIF policy and reduction, and made a square once for all that
    prepare alike; those are given the same array.
    """
    found: dict[int, Square | UnreadableImage] = {}
    for numbers in _decoded_alike(content, recipes):
        found.update(zip(numbers, _loaded(content, [recipes[number] for number in numbers]), strict=True))
    return [found[number] for number in range(len(recipes))]


def preparation(recipe: Recipe) -> Hashable:
    """What decides a recipe's pixels; equal for recipes that prepare alike."""
    return tuple(
        getattr(recipe, name) for name in ("decoder", "size", "pixels", "fit", "kernel", "antialias", "exif", "decode")
    )


def _decoded_alike(content: bytes, recipes: Sequence[Recipe]) -> Iterator[list[int]]:
    """The recipes' numbers in groups that take the same decoded picture."""
    way = partial(_way, content) if len({preparation(recipe) for recipe in recipes}) > 1 else _any
    groups: dict[Hashable, list[int]] = {}
    for number, recipe in enumerate(recipes):
        groups.setdefault(way(recipe), []).append(number)
    yield from groups.values()


def _any(_: Recipe) -> Hashable:
    return None


def _way(content: bytes, recipe: Recipe) -> Hashable:
    if recipe.decoder == KERAS_DECODER:
        return KERAS_DECODER
    return recipe.exif, decoding.reduction(content, *reduced_for) if (reduced_for := _reduced_for(recipe)) else 1


def _reduced_for(recipe: Recipe) -> tuple[int, str] | None:
    return (recipe.size, recipe.fit) if recipe.decode == "scaled" else None


def _loaded(content: bytes, recipes: Sequence[Recipe]) -> Sequence[Square | UnreadableImage]:
    """Of recipes that take the same decoded picture."""
    first = recipes[0]
    try:
        if first.decoder == KERAS_DECODER:
            pixels = tensorflow_equal.decode(content)
        else:
            pixels = decoding.view(content, upright=first.exif == "upright", reduced_for=_reduced_for(first))
    except UnreadableImage as error:  # as it is, it would keep what the decoder's frames hold
        return [UnreadableImage(error.reason, error.detail)] * len(recipes)
    squares: dict[Hashable, Square] = {}
    for recipe in recipes:
        if preparation(recipe) not in squares:
            squares[preparation(recipe)] = _prepared(pixels, recipe)
    return [squares[preparation(recipe)] for recipe in recipes]


def _prepared(pixels: NDArray[np.uint8], recipe: Recipe) -> Square:
    if recipe.decoder == KERAS_DECODER:
        square = tensorflow_equal.resize(pixels, recipe.size)
        return square if recipe.pixels == "float32" else np.rint(square).astype(np.uint8)
    return preparing.prepare(pixels, recipe.size, recipe.fit, recipe.kernel, antialias=recipe.antialias, dtype=recipe.pixels)
