"""A network of a few hundred weights and some digits: a fine-tuning that takes a second once TensorFlow is there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tests.stores import images_in, spec_for
from trunkline.backbones.importing import import_keras
from trunkline.finetuning.data import images_of
from trunkline.finetuning.job import Job
from trunkline.locations import Location
from trunkline.specs import FinetuneSpec, RunSpec
from trunkline.stages import finetune as stage
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore

SIZE = 16
LAYERS = ["conv", "norm", "relu", "block2_conv", "block2_norm", "block2_relu", "pool"]
DESCRIPTION = f"{{size: {SIZE}, normalisation: tf}}"
QUICK = {"head_epochs": 3, "epochs": 3, "batch": 16, "unfreeze": "block2", "val_fraction": 0.2}


def network_file(folder: Path) -> Path:
    """Two convolutions with BatchNorm, dropout and a classifier of its own, and the YAML beside it."""
    keras = import_keras()
    layers = keras.layers
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False, name="conv")(pixels)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="block2_conv")(x)
    x = layers.ReLU(name="block2_relu")(layers.BatchNormalization(name="block2_norm")(x))
    x = layers.Dropout(0.5, name="drop")(layers.GlobalAveragePooling2D(name="pool")(x))
    path = folder / "small.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.Model(pixels, layers.Dense(3, name="old_classes")(x)).save(path)
    (folder / "small.yaml").write_text(DESCRIPTION + "\n")
    return path


def scanned(folder: Path, digits: Path, network: Path, count: int = 100, **changes: Any) -> RunSpec:
    """The spec of a scanned store of so many digits."""
    spec = spec_for(images_in(folder / "images", digits, count), folder / "store", backbone=str(network), **changes)
    scan(spec)
    return spec


def job_of(spec: RunSpec, **tune: Any) -> Job:
    """What the stage would ask of the process that trains."""
    how = FinetuneSpec.model_validate(QUICK | tune)
    store = FeatureStore.open(Location.of(spec.store))
    order, layers, _ = stage._network(spec, how)
    return stage._job(spec, how, store, order, layers, images_of(store.dataset(spec.dataset_name), how))
