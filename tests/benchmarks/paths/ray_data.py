"""Ray Data as its users write it: `read_images` → one Keras model an actor → Parquet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.job import BATCH, SIZE, Job, Timing
from tests.benchmarks.networks import NETWORKS


def run(job: Job) -> Timing:
    """Counted as whole: listing the folder, the actor's start with its model, decoding, the network, Parquet files until they are
    there. Not counted: imports and starting Ray.

    Counted as steady: from the first batch that reaches the model, in Ray's favour, which decodes while the actor starts.
    """
    import pyarrow.parquet as pq
    import ray

    ray.init(num_cpus=job.cores, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        started = time.perf_counter()
        images = ray.data.read_images(job.images, size=(SIZE, SIZE), mode="RGB")
        features = images.map_batches(Features, batch_size=BATCH, concurrency=1, num_cpus=1, fn_constructor_args=(job.network,))
        features.write_parquet(str(Path(job.work, "features")))
        seconds, ended = time.perf_counter() - started, time.time()
    finally:
        ray.shutdown()
    table = pq.read_table(Path(job.work, "features"))
    return Timing(table.num_rows, seconds, ended - min(table["began"].to_pylist()))


class Features:
    """What an actor keeps: the model."""

    def __init__(self, network: str) -> None:
        self._model = NETWORKS[network].keras_model()
        self._preprocess = NETWORKS[network].keras_preprocessing()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        began = [time.time()] * len(batch["image"])
        pixels = self._preprocess(batch["image"].astype("float32"))
        return {"features": self._model.predict(pixels, verbose=0), "began": began}
