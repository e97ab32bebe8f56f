"""Multi-layer perceptron: fitted with Keras in a process of its own, saved as Keras's own file, computed in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore, DataError
from trunkline.fan_out import SerialExecutor
from trunkline.heads import mlp_file
from trunkline.heads.dense_layers import DenseLayers
from trunkline.heads.mlp_process import fitted_elsewhere
from trunkline.heads.mlp_training import Order
from trunkline.heads.protocol import Candidate, Features, Work
from trunkline.heads.sampling import class_weight_notes
from trunkline.heads.sweep import best_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData, standard_of
from trunkline.progress import Step
from trunkline.specs import MlpSpec

FILE = "mlp.keras"


@dataclass(frozen=True)
class Mlp:
    """A network of dense layers with ReLU between; `content` is the Keras file, over features as they lie in the store."""

    layers: DenseLayers
    content: bytes
    target: Target
    chosen: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()

    def outputs(self, features: Features) -> NDArray[np.float64]:
        if features.shape[1] != len(self.layers.standard.mean):
            raise CorruptStore(
                f"The saved MLP was fitted on {len(self.layers.standard.mean)} features and is asked about {features.shape[1]}: it "
                "belongs to another mask. Delete the head: it is fitted again."
            )
        return self.layers.outputs(features, self.target)

    def files(self) -> dict[str, bytes]:
        return {FILE: self.content}

    @classmethod
    def load(cls, files: Mapping[str, bytes], target: Target) -> Mlp:
        """Raises CorruptStore for a damaged file. Nothing in it is run."""
        return cls(mlp_file.layers_of(files[FILE], FILE, target.outputs), files[FILE], target)


def fit_mlp(spec: MlpSpec, data: TrainingData, work: Work) -> Mlp:
    """Choose among candidates, then fit on all training rows, which are streamed where they do not fit into `work.memory`.

    Raises
    ------
    DataError : the fit diverged, and there was no other candidate.
    """
    swept = best_of(spec, data, work, perceived)
    notes = [*swept.notes, *class_weight_notes(data.target, spec.class_weight)]
    if data.nbytes > work.memory:
        notes.append(
            f"The MLP was fitted on rows streamed from the store, {data.nbytes / 2**20:,.0f} MiB of features with "
            f"{work.memory / 2**20:,.0f} MiB of memory: shards in random order, rows mixed within a window of them."
        )
    fitted = _fit(swept.spec, data, work)
    return replace(fitted, chosen={**swept.chosen, **fitted.chosen}, notes=notes, candidates=swept.candidates)


def perceived(spec: MlpSpec, data: TrainingData, work: Work) -> Any:
    """One candidate on some folds; one that diverges gives no numbers, and so scores worst."""
    try:
        return _fit(spec, data, work)
    except DataError:
        return _Nothing(data.target.outputs)


@dataclass(frozen=True)
class _Nothing:
    width: int

    def outputs(self, features: Features) -> NDArray[np.float64]:
        return np.full((len(features), self.width), np.nan)


def _fit(spec: MlpSpec, data: TrainingData, work: Work) -> Mlp:
    standard = standard_of(data)
    apart = replace(data, executor=SerialExecutor(threads=1))

    def say(said: Mapping[str, Any]) -> None:
        note = f"epoch {said['epoch']} of at most {said['of']}, held-out loss {said['loss']:.4g}"
        work.progress(Step("fit", said["epoch"], said["of"], note))

    done = fitted_elsewhere(Order(spec, apart, standard, work.seed, work.memory), say)
    chosen = {"epochs": f"{done.best} of {done.epochs}", "held-out loss": f"{done.loss:.4g}"}
    return replace(Mlp.load({FILE: done.content}, data.target), chosen=chosen)
