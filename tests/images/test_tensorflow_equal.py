"""The preset `keras` against TensorFlow itself: every file, every bit."""

from __future__ import annotations

import struct
import warnings
import zlib
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.images.files import (
    CHINA,
    PHOTO,
    PHOTOS,
    as_ycck,
    deep,
    encoded,
    kinds,
    png_of,
    recipe,
    turned,
    with_alpha,
    without_adobe,
)
from trunkline.errors import UnreadableImage
from trunkline.images import KERAS_DECODER, load
from trunkline.images import decode as upright
from trunkline.images.tensorflow_equal import decode, resize

PALETTE = PHOTO.quantize(64)
CMYK = PHOTO.convert("CMYK")
KERAS = recipe(decoder=KERAS_DECODER, pixels="float32", fit="stretch", exif="ignored")


def gif_at(left: int, top: int, **how: object) -> bytes:
    """Its first frame does not start in the corner of the screen."""
    content = bytearray(encoded(PALETTE, "GIF", interlace=0, **how))
    frame = content.index(b",", 13 + 3 * 64)
    content[6:10] = struct.pack("<HH", 200, 150)
    content[frame + 1 : frame + 5] = struct.pack("<HH", left, top)
    return bytes(content)


def deep_colours() -> bytes:
    values = np.arange(40 * 30 * 4, dtype=">u2").reshape(30, 40, 4) * 13
    return png_of(40, 30, zlib.compress(b"".join(b"\0" + row.tobytes() for row in values)), colours=6, bits=16)


FILES = {
    **PHOTOS,
    **{name: content for name, content in kinds().items() if not name.startswith(("tiff", "webp-a", "bmp-bits"))},
    "jpeg 4:4:4": encoded(CHINA, "JPEG", subsampling=0),
    "jpeg 4:2:2": encoded(CHINA, "JPEG", subsampling=1),
    "jpeg 4:2:0": encoded(CHINA, "JPEG", subsampling=2),
    "jpeg grey progressive": encoded(CHINA.convert("L"), "JPEG", progressive=True),
    "jpeg sideways": turned(CHINA, "JPEG", 6),
    "jpeg odd": encoded(CHINA.crop((0, 0, 33, 17)), "JPEG"),
    "jpeg 1x1": encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "JPEG"),
    "cmyk plain progressive": without_adobe(encoded(CMYK, "JPEG", progressive=True)),
    "ycck progressive": as_ycck(encoded(CMYK, "JPEG", progressive=True)),
    "png deep alpha": deep_colours(),
    "png colour key": encoded(PHOTO, "PNG", transparency=(1, 2, 3)),
    "png grey": encoded(PHOTO.convert("L"), "PNG"),
    "png four bits": encoded(PHOTO.quantize(9), "PNG", bits=4),
    "png sideways": turned(PHOTO, "PNG", 6),
    "bmp grey": encoded(PHOTO.convert("L"), "BMP"),
    "gif grey": encoded(PHOTO.convert("L"), "GIF"),
    "gif aside": gif_at(30, 20),
    "gif aside and clear": gif_at(7, 0, transparency=3),
    "gif outside": gif_at(190, 140),
}


@pytest.fixture(scope="module")
def tf(tensorflow: ModuleType) -> ModuleType:
    return tensorflow


@pytest.mark.parametrize("name", FILES)
def test_decoded_to_the_bit(tf, name):
    theirs = tf.io.decode_image(FILES[name], channels=3, expand_animations=False).numpy()
    np.testing.assert_array_equal(decode(FILES[name]), theirs)


@pytest.mark.parametrize("height", [1, 2, 7, 224, 427])
@pytest.mark.parametrize("width", [1, 3, 223, 224, 640])
@pytest.mark.parametrize("size", [16, 224, 299])
def test_resized_to_the_bit(tf, height, width, size):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(pixels, size), tf.image.resize(pixels, (size, size)).numpy())


@pytest.mark.parametrize("shape", [(1, 20_000, 3), (20_000, 1, 3)])
def test_the_thinnest_are_resized_to_the_bit(tf, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(resize(pixels, 224), tf.image.resize(pixels, (224, 224)).numpy())


@pytest.mark.usefixtures("tf")
def test_a_folder_is_what_image_dataset_from_directory_makes_of_it(tmp_path):
    named = {name: f"{number:03d}" for number, name in enumerate(sorted(FILES))}
    (tmp_path / "one").mkdir()
    for name, stem in named.items():
        form = name.replace("-", " ").split()[0]
        if form != "webp":
            (tmp_path / "one" / f"{stem}.{form if form in ('png', 'gif', 'bmp') else 'jpg'}").write_bytes(FILES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        dataset = keras.utils.image_dataset_from_directory(
            tmp_path, labels=None, image_size=(224, 224), batch_size=8, shuffle=False, verbose=False
        )
        theirs = np.concatenate([batch.numpy() for batch in dataset])
    files = sorted((tmp_path / "one").iterdir())
    assert len(theirs) == len(files) > 30
    for file, expected in zip(files, theirs, strict=True):
        np.testing.assert_array_equal(load(file.read_bytes(), KERAS), expected, err_msg=file.name)


@pytest.mark.parametrize("name", ["tiff", "tiff-alpha", "webp-alpha", "webp-animated", "bmp-bits"])
def test_what_tensorflow_refuses_is_decoded_as_ever(tf, name):
    content = kinds()[name]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(content, channels=3, expand_animations=False)
    np.testing.assert_array_equal(decode(content), upright(content, upright=False))


@pytest.mark.parametrize("name", ["china", "jpeg-cmyk", "png", "png-deep", "gif", "bmp", "bmp-palette", "tiff", "webp"])
def test_it_is_as_strict_as_ever(name):
    content = (PHOTOS | kinds())[name]
    with pytest.raises(UnreadableImage) as caught:
        decode(content[: len(content) // 2])
    assert caught.value.reason in ("truncated", "corrupt")


def test_it_refuses_what_takes_for_ever():
    with pytest.raises(UnreadableImage, match="too-large"):
        decode(png_of(60_000, 60_000))


def test_alpha_is_dropped_and_the_upper_byte_kept():
    image = with_alpha(PHOTO)
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.asarray(PHOTO))
    grey = deep(PHOTO)
    np.testing.assert_array_equal(decode(encoded(grey, "PNG"))[:, :, 0], np.asarray(grey) >> 8)
