"""PyTorch as its users write it: a DataLoader with one process a core, torchvision's network, h5py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.job import BATCH, SIZE, Job, Timing
from tests.benchmarks.networks import NETWORKS

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def run(job: Job) -> Timing:
    """Counted: listing the folder, the loader's processes from their start, the network, and the HDF5 file until it is closed.

    Not counted: imports, building the model, and a first call on one batch of zeros.
    """
    import h5py
    import torch
    import torchvision
    from torchvision.transforms import v2

    begun = time.perf_counter()
    model = _headless(torchvision.models.get_model(NETWORKS[job.network].torchvision, weights=None), torch)
    steps = [v2.ToImage(), v2.Resize((SIZE, SIZE)), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, DEVIATION)]
    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, SIZE, SIZE))
        started = time.perf_counter()
        dataset = torchvision.datasets.ImageFolder(job.images, v2.Compose(steps))
        loader = torch.utils.data.DataLoader(dataset, BATCH, num_workers=job.cores)
        features = torch.cat([model(pixels) for pixels, _ in loader]).numpy()
    with h5py.File(Path(job.work, "features.h5"), "w") as file:
        file["features"] = features
    return Timing.same(len(features), time.perf_counter() - started, build_seconds=started - begun)


def _headless(model: Any, torch: Any) -> Any:
    """The network up to its pooled features."""
    for name in ("classifier", "fc"):
        if hasattr(model, name):
            setattr(model, name, torch.nn.Identity())
    return model.eval()
