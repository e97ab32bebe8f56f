"""Checkpoints of one phase: arrays as safetensors, and JSON beside that is written last; nothing in them is run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.finetuning.history import Epoch, Phase, best_of
from trunkline.locations import Location

RECORD = re.compile(r"epoch-(\d{4,})\.json")

Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch.

    Parameters
    ----------
    history : every epoch so far, of earlier phases too; the last one is that of the checkpoint.
    arrays : trained weights, the optimizer's state and the state of random layers, by name; the same name and shape in every epoch.
    """

    history: Sequence[Epoch]
    arrays: Arrays

    @property
    def epoch(self) -> int:
        return self.history[-1].epoch


@dataclass(frozen=True)
class Checkpoints:
    """Those of one phase under one set of settings; the last and the best are kept."""

    folder: Location
    phase: Phase

    def write(self, checkpoint: Checkpoint) -> None:
        """Add one, and delete those that are neither the last nor the best.

        Raises
        ------
        StorageError : the disk refuses, is full for example; the ones before are as they were.
        """
        from safetensors.numpy import save

        content = save({name: np.asarray(value, order="C") for name, value in checkpoint.arrays.items()})
        arrays, record = self._places(checkpoint.epoch)
        said = {"history": [asdict(each) for each in checkpoint.history], "sha256": hashlib.sha256(content).hexdigest()}
        arrays.write(content)
        record.write(json.dumps(said).encode())
        self._keep({checkpoint.epoch, self._best(checkpoint.history)})

    def last(self) -> Checkpoint | None:
        """The latest one that is whole, and whose best is whole too; None where there is none. A damaged one is said and passed over."""
        for epoch in sorted(self._epochs(), reverse=True):
            try:
                found = self.read(epoch)
                best = self._best(found.history)
                if best not in (epoch, None):
                    self.read(best)
                return found
            except CorruptStore as error:
                log.warning("%s It is passed over; the epochs after an earlier one are trained again.", error)
        return None

    def read(self, epoch: int) -> Checkpoint:
        """One of them. Raises CorruptStore where it is not what was written."""
        from safetensors.numpy import load

        arrays, record = self._places(epoch)
        try:
            said = json.loads(record.read())
            content = arrays.read()
            if hashlib.sha256(content).hexdigest() != said["sha256"]:
                raise ValueError("its digest is another")
            return Checkpoint([Epoch(**each) for each in said["history"]], load(content))
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise CorruptStore(f"The checkpoint {record} is damaged ({error}).") from error

    def place_of(self, history: Sequence[Epoch]) -> str:
        """Where the last epoch's checkpoint of this phase lies; '' where there is none."""
        if not history or history[-1].phase != self.phase:
            return ""
        return self._places(history[-1].epoch)[0].uri

    def clear(self) -> None:
        """Delete all of them: what they led to is there."""
        self.folder.remove()

    def _best(self, history: Sequence[Epoch]) -> int | None:
        """The best epoch, None where it is one of an earlier phase."""
        best = best_of(history)
        return best.epoch if best.phase == self.phase else None

    def _keep(self, epochs: set[int | None]) -> None:
        for epoch in self._epochs() - epochs:
            arrays, record = self._places(epoch)
            record.remove()
            arrays.remove()
        kept = {place.name for epoch in epochs if epoch is not None for place in self._places(epoch)}
        for name in set(self.folder.names()) - kept:  # arrays whose record was never written
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).remove()

    def _epochs(self) -> set[int]:
        return {int(found[1]) for name in self.folder.names() if (found := RECORD.fullmatch(name))}

    def _places(self, epoch: int) -> tuple[Location, Location]:
        return self.folder / f"epoch-{epoch:04d}.safetensors", self.folder / f"epoch-{epoch:04d}.json"
