"""An optimised TensorFlow pipeline: parallel decoding, prefetching, and one compiled function over a batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.job import BATCH, SIZE, Job, Timing
from tests.benchmarks.networks import NETWORKS


def run(job: Job) -> Timing:
    """Counted: listing the folder, decoding, the network, and an HDF5 file that grows batch by batch, until it is closed.

    Not counted: imports, building the model, and a first call on one batch of zeros, which traces the function.
    """
    import h5py
    import tensorflow as tf

    network = NETWORKS[job.network]
    begun = time.perf_counter()
    model, preprocess = network.keras_model(), network.keras_preprocessing()

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)])
    def features_of(pixels: Any) -> Any:
        return model(preprocess(pixels), training=False)

    def load(file: Any) -> Any:
        pixels = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
        return tf.image.resize(pixels, (SIZE, SIZE))

    features_of(tf.zeros((BATCH, SIZE, SIZE, 3)))
    started = time.perf_counter()
    dataset = tf.data.Dataset.from_tensor_slices(job.files).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    done = 0
    with h5py.File(Path(job.work, "features.h5"), "w") as file:
        array = file.create_dataset("features", (0, model.output.shape[1]), "f4", maxshape=(None, model.output.shape[1]))
        for batch in dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE):
            features = features_of(batch).numpy()
            array.resize(done + len(features), axis=0)
            array[done:] = features
            done += len(features)
    return Timing.same(done, time.perf_counter() - started, build_seconds=started - begun)
