"""Features as a PyTorch `IterableDataset`, its shards dealt to the workers of a `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from trunkline.reading.libraries import needed
from trunkline.reading.streams import Stream


def torch_dataset(stream: Stream, names: tuple[str, ...], seed: int | None) -> Any:
    """Batches of (features, class numbers) as tensors: `DataLoader(dataset, batch_size=None, num_workers=2)`."""
    return _dataset_class()(stream, names, seed)


@cache
def _dataset_class() -> Any:
    """Made when it is needed, as its base class is PyTorch's."""
    torch = needed("torch", "torch", "torch")
    utils = needed("torch.utils.data", "torch", "torch")

    class FeatureBatches(utils.IterableDataset):  # type: ignore[name-defined, misc]
        """`class_names` are what the class numbers stand for; `set_epoch` gives the next order where there is a seed."""

        def __init__(self, stream: Stream, names: tuple[str, ...], seed: int | None, epoch: int = 0) -> None:
            self.stream = stream
            self.class_names = list(names)
            self.seed = seed
            self.epoch = epoch

        def __reduce__(self) -> tuple[Any, ...]:
            return _restored, (self.stream, tuple(self.class_names), self.seed, self.epoch)

        def set_epoch(self, epoch: int) -> None:
            """Call it before each pass, as with PyTorch's distributed sampler."""
            self.epoch = epoch

        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            worker = utils.get_worker_info()
            part, parts = (worker.id, worker.num_workers) if worker else (0, 1)
            for x, y in self.stream.batches(self._seed(worker), part, parts):
                yield torch.from_numpy(x), torch.from_numpy(y)

        def _seed(self, worker: Any) -> tuple[int, ...]:
            """The same in all workers of a pass; without a seed PyTorch's own decides, anew for each pass."""
            if self.seed is not None:
                return self.seed, self.epoch
            base = worker.seed - worker.id if worker else torch.randint(2**62, ()).item()
            return (int(base),)

    return FeatureBatches


def _restored(stream: Stream, names: tuple[str, ...], seed: int | None, epoch: int) -> Any:
    return _dataset_class()(stream, names, seed, epoch)
