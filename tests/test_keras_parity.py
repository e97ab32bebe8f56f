"""The preset `keras` against what a user of Keras would write by hand, on real photos and with the same weights file.

Rows have to agree to a cosine of 0.99999 in float32: decoding, resizing, preprocessing, the network and the pooling at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.stores import INLINE, extracted
from trunkline import open_features
from trunkline.backbones.golden import cosines
from trunkline.specs import RunSpec

USER = """
import sys
from importlib import import_module
import numpy as np
function, module, weights, folder, out = sys.argv[1:]
import keras
from trunkline.backbones import keras_zoo
from trunkline.backbones.random_weights import randomise
NAMES = {row.function: name for name, (_, row) in keras_zoo.NETWORKS.items()}
trained = keras_zoo.build(NAMES[function], 224)
randomise(trained)
trained.save_weights(weights)
model = getattr(keras.applications, function)(weights=weights, include_top=True)
cut = keras.Model(model.input, model.layers[-2].output)
preprocess = import_module(f"keras.applications.{module}").preprocess_input
images = keras.utils.image_dataset_from_directory(folder, labels=None, image_size=(224, 224), batch_size=8, shuffle=False)
features = cut.predict(images.map(preprocess), verbose=0)
np.savez(out, features=features, files=[path.rsplit("/", 1)[1] for path in images.file_paths])
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of two photos as JPEG, PNG and BMP, of many sizes and shapes; one carries an EXIF turn, which Keras ignores."""
    folder = tmp_path_factory.mktemp("photos") / "images"
    folder.mkdir()
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        photo = Image.fromarray(pixels)
        for number in range(9):
            view = photo.crop((10 * number, 7 * number, 640 - 20 * number, 427 - 30 * number))
            suffix = ("jpg", "png", "bmp")[number % 3]
            options = {"quality": 60 + 4 * number, "subsampling": number % 3} if suffix == "jpg" else {}
            view.save(folder / f"{name}{number}.{suffix}", **options)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(load_sample_images().images[0]).save(folder / "turned.jpg", exif=turned.tobytes())
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("backbone", "function", "module"),
    [
        ("mobilenet-v2", "MobileNetV2", "mobilenet_v2"),
        ("resnet50", "ResNet50", "resnet50"),
        ("densenet121", "DenseNet121", "densenet"),
    ],
    ids=["tf", "caffe", "torch"],
)
def test_the_preset_keras_is_what_keras_gives(photos: Path, tmp_path: Path, backbone: str, function: str, module: str):
    weights, out = tmp_path / "net.weights.h5", tmp_path / "keras.npz"
    command = [sys.executable, "-c", USER, function, module, str(weights), str(photos), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=None)
    assert ended.returncode == 0, ended.stderr[-2000:]
    spec = RunSpec.model_validate(
        {
            "source": str(photos),
            "store": str(tmp_path / "store"),
            "labels": "none",
            "backbone": backbone,
            "weights": str(weights),
            "preparation": {"preset": "keras"},
            "cluster": INLINE.model_dump(),
        }
    )
    assert extracted(spec).counts.ok == 19
    ours = open_features(tmp_path / "store")
    X, _ = ours.numpy()
    with np.load(out) as by_keras:
        order = np.argsort(by_keras["files"])
        assert [Path(name).name for name in ours.index()["id"].to_pylist()] == by_keras["files"][order].tolist()
        found = cosines(X, by_keras["features"][order])
    assert found.min() >= 0.99999
