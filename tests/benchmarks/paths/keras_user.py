"""What a Keras user writes: `image_dataset_from_directory` → `preprocess_input` → `predict` → h5py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.job import BATCH, SIZE, Job, Timing
from tests.benchmarks.networks import NETWORKS


def run(job: Job) -> Timing:
    """Counted: listing the folder, decoding, predicting, and the HDF5 file until it is closed.

    Not counted, in Keras's favour: imports, building the model, and a first `predict` on the first batch, which compiles it.
    """
    import h5py

    network = NETWORKS[job.network]
    begun = time.perf_counter()
    model, preprocess = network.keras_model(), network.keras_preprocessing()
    model.predict(_dataset(job.images, preprocess).take(1), verbose=0)
    started = time.perf_counter()
    features = model.predict(_dataset(job.images, preprocess), verbose=0)
    with h5py.File(Path(job.work, "features.h5"), "w") as file:
        file["features"] = features
    return Timing.same(len(features), time.perf_counter() - started, build_seconds=started - begun)


def _dataset(folder: str, preprocess: Any) -> Any:
    import keras

    images = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=False, verbose=False
    )
    return images.map(lambda pixels, label: (preprocess(pixels), label))
