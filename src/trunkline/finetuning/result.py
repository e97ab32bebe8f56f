"""What a fine-tuning leaves in the store: a backbone file that every stage takes, its description, and where it comes from."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones import golden, network, own_keras
from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.importing import import_keras
from trunkline.backbones.keras_archive import saved
from trunkline.environment import fingerprint
from trunkline.errors import BackboneError, GoldenMismatch
from trunkline.finetuning.data import Images
from trunkline.finetuning.job import Job, Trained
from trunkline.finetuning.network import PROBABILITIES, TunedNetwork, in_pieces
from trunkline.finetuning.pixels import Decoded
from trunkline.metrics import AnyMetrics, measure

BACKBONE, DESCRIPTION, LINEAGE, HISTORY = "backbone.keras", "backbone.yaml", "lineage.json", "history.json"
GOLDEN_IMAGES = 8
LIBRARIES = ("trunkline", "tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Tested:
    """How the fine-tuned network with its own head does on the test split; `metrics` is None where that has no image."""

    metrics: AnyMetrics | None
    left_out: int


def refuse_what_no_file_holds(job: Job, tuned: TunedNetwork) -> None:
    """Before any training: can the result be saved so that every stage takes it?

    Raises
    ------
    BackboneError : the network has layers that no file of a user's own may hold.
    """
    name = job.order.network.backbone.name
    try:
        _opened(job, file_of(tuned))
    except BackboneError as error:
        raise BackboneError(
            f"{name} cannot be fine-tuned, as a file of it would not be taken by the other stages: {error}"
        ) from error


def file_of(tuned: TunedNetwork) -> bytes:
    """The backbone up to the cut and the new head as one Keras file in float32, from normalised pixels to probabilities."""
    keras = import_keras()
    plain = tuned
    if tuned.mixed:
        plain = TunedNetwork(tuned.order, tuned.tune, tuned.unfrozen, tuned.classes)
        plain.trunk.set_weights(tuned.trunk.get_weights())
        plain.head.set_weights(tuned.head.get_weights())
    values = plain.trunk.output
    for layer in plain.head.layers:
        values = layer(values)
    values = keras.layers.Activation("softmax", name=PROBABILITIES, dtype="float32")(values)
    return saved(keras.Model(plain.trunk.inputs, values, name="finetuned"))


def description_of(job: Job) -> dict[str, Any]:
    """What stands in the YAML beside the file: size, normalisation and where it is cut."""
    recipe, normalisation = job.order.recipe, job.order.network.backbone.normalisation
    return {"size": recipe.size, "normalisation": _in_numbers(normalisation), "layer": recipe.layers[0]}


def refuse_another_network(job: Job, tuned: TunedNetwork, content: bytes, pixels: NDArray[Any]) -> None:
    """Golden check: the file gives the features that the trained network gives.

    Parameters
    ----------
    content : the file.
    pixels : (n, size, size, 3), some images of the dataset.

    Raises
    ------
    GoldenMismatch : it does not.
    """
    keras, recipe = import_keras(), job.order.recipe
    keras.config.set_dtype_policy("float32")
    model = network.truncated(_opened(job, content), recipe, job.order.network.backbone.normalisation, len(pixels))
    found = np.asarray(model(pixels, training=False)[recipe.layers[0]])
    precision = "mixed_float16" if tuned.mixed else "f32"
    try:
        golden.check({"": found}, {"": tuned.features()(pixels)}, "The fine-tuned backbone's file", precision)
    except GoldenMismatch as error:
        raise GoldenMismatch(
            f"The file of the fine-tuned backbone does not give the features that the trained network gives ({error}). Nothing was "
            "written; the checkpoints are kept."
        ) from error


def tested(tuned: TunedNetwork, decoded: Decoded, images: Images, seed: int) -> Tested:
    """On the test images whose bytes no training or validation image has."""
    seen = {decoded.sha256[place] for place in (*images.training, *images.validation)}
    places = np.array([place for place in images.test if decoded.sha256[place] not in seen], np.int64)
    left_out = len(images.test) - len(places)
    if not len(places):
        return Tested(None, left_out)
    outputs = np.concatenate([values for _, values in in_pieces(tuned.probabilities(), decoded.pixels, places)])
    metrics = measure("classes", images.codes[places], outputs.astype(np.float64), len(images.classes), seed)
    return Tested(metrics, left_out)


def write(job: Job, trained: Trained, test: Tested, content: bytes, said: Mapping[str, Any]) -> dict[str, Any]:
    """Write everything, `lineage.json` last: a result without it does not exist. Gives what that says.

    Parameters
    ----------
    content : of `backbone.keras`.
    said : what else stands in the lineage: images, notes, seconds.
    """
    import yaml

    history = [asdict(each) for each in trained.history]
    lineage = {
        **job.lineage,
        "key": job.key,
        "sha256": hashlib.sha256(content).hexdigest(),
        "unfrozen": list(job.unfrozen),
        "classes": list(job.images.classes),
        "best": asdict(trained.best),
        "epochs": {phase: sum(each.phase == phase for each in trained.history) for phase in ("head", "layers")},
        "metrics": test.metrics.to_json() if test.metrics else None,
        "versions": {name: version(name) for name in LIBRARIES},
        "environment": fingerprint(),
        **said,
    }
    (job.place / BACKBONE).write(content)
    (job.place / DESCRIPTION).write(yaml.safe_dump(description_of(job), sort_keys=False).encode())
    (job.place / HISTORY).write(json.dumps(history, indent=2).encode())
    (job.place / LINEAGE).write(json.dumps(lineage, indent=2).encode())
    return lineage


def _opened(job: Job, content: bytes) -> Any:
    """The file as every stage opens it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, BACKBONE)
        path.write_bytes(content)
        return own_keras.load(path, job.order.recipe.size)


def _in_numbers(normalisation: Normalisation) -> dict[str, Any]:
    mean, deviation = (
        list(value) if isinstance(value, tuple) else [value] * 3 for value in (normalisation.mean, normalisation.deviation)
    )
    return {"mean": mean, "deviation": deviation, "channels": normalisation.channels}
