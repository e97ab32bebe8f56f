"""Both phases of a fine-tuning, epoch by epoch, each with its checkpoint: what was finished is not trained again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.finetuning.batches import Batches
from trunkline.finetuning.checkpoints import Checkpoint, Checkpoints
from trunkline.finetuning.data import Images, class_weights
from trunkline.finetuning.event_log import EventLog
from trunkline.finetuning.history import PHASES, DivergenceCheck, Epoch, Phase, best_of, has_stalled
from trunkline.finetuning.job import Job, Trained
from trunkline.finetuning.network import Trainer, TunedNetwork, in_pieces
from trunkline.finetuning.pixels import array
from trunkline.metrics.classes import figures_of
from trunkline.progress import Progress, Step
from trunkline.specs import AugmentationSpec

HEAD_BATCH = 64  # of features, which cost nothing
HEAD_ORDER = 1_000_000  # added to the number of phase 1's epochs, so that its orders are others
LEAST_PROBABILITY = 1e-7

Values = NDArray[np.float32]


@dataclass
class Training:
    """One fine-tuning in the process that has TensorFlow.

    Parameters
    ----------
    pixels : (n, size, size, 3) of all images, by place.
    images : those that can be read.
    folder : a temporary one, for arrays too large for memory.
    """

    job: Job
    tuned: TunedNetwork
    pixels: NDArray[Any]
    images: Images
    folder: Path
    log: EventLog
    progress: Progress
    history: list[Epoch] = field(default_factory=list)
    resumed: int = 0

    def run(self) -> Trained:
        """Phase 1, then phase 2; afterwards the network has the weights of the best epoch.

        Raises
        ------
        DataError : it diverged; the last good checkpoint is kept.
        StorageError : no room for a checkpoint; those before are kept.
        """
        heads, layers = _checkpoints(self.job, "head"), _checkpoints(self.job, "layers")
        if found := layers.last():
            self._resume(found)
        else:
            if found := heads.last():
                self._resume(found)
            self._train_head(heads, found)
            best = heads.read(best_of(self.history).epoch)
            self.tuned.restore(dict(best.arrays), "head")
        self._train_layers(layers, found if self.history[-1].phase == "layers" else None)
        best_epoch = best_of(self.history)
        of_phase = heads if best_epoch.phase == "head" else layers
        self.tuned.restore(dict(of_phase.read(best_epoch.epoch).arrays), best_epoch.phase)
        return Trained(self.history, best_epoch, self.resumed, self._notes(best_epoch))

    def _resume(self, found: Checkpoint) -> None:
        self.history, self.resumed = list(found.history), len(found.history)

    def _train_head(self, checkpoints: Checkpoints, found: Checkpoint | None) -> None:
        """The head on features of the frozen backbone, computed once: of the images, and of their mirror images where flips are on."""
        tune, images = self.job.tune, self.images
        if found and self._is_over("head", tune.head_epochs):
            return
        features, codes, training = self._frozen_features()
        trainer = self.tuned.head_step(class_weights(images, tune.class_weight))
        if found:
            self.tuned.restore(dict(found.arrays), "head")
            trainer.restore(dict(found.arrays))
        batches = Batches(features, codes, training, len(images.classes), HEAD_BATCH, tune.seed, NO_AUGMENTATION)
        answer = self.tuned.head_probabilities()
        phase = _Phase("head", tune.head_rate, tune.head_epochs, batches, trainer, answer, features)
        self._train(phase, checkpoints, found.epoch if found else 0)

    def _train_layers(self, checkpoints: Checkpoints, found: Checkpoint | None) -> None:
        """The unfrozen layers and the head on augmented pixels."""
        tune, images = self.job.tune, self.images
        if found and self._is_over("layers", tune.epochs):
            return
        trainer = self.tuned.layers_step(class_weights(images, tune.class_weight))
        if found:
            self.tuned.restore(dict(found.arrays), "layers")
            trainer.restore(dict(found.arrays))
        classes = len(images.classes)
        batches = Batches(self.pixels, images.codes, images.training, classes, tune.batch, tune.seed, tune.augmentation)
        answer = self.tuned.probabilities()
        phase = _Phase("layers", tune.rate, tune.epochs, batches, trainer, answer, self.pixels)
        self._train(phase, checkpoints, found.epoch if found else 0)

    def _train(self, phase: _Phase, checkpoints: Checkpoints, done: int) -> None:
        kept = _checkpoints(self.job, self.history[-1].phase).place_of(self.history) if self.history else ""
        watch = DivergenceCheck(phase.name, phase.rate, math.log(len(self.images.classes)), kept)
        for epoch in range(done + 1, phase.epochs + 1):
            entry = self._epoch(phase, epoch, watch)
            self.history.append(entry)
            checkpoints.write(Checkpoint(self.history, self.tuned.state(phase.name) | phase.trainer.state()))
            watch.kept = checkpoints.place_of(self.history)
            self.log.write(entry)
            if self._is_over(phase.name, phase.epochs):
                return

    def _epoch(self, phase: _Phase, epoch: int, watch: DivergenceCheck) -> Epoch:
        started, total = time.monotonic(), 0.0
        count, rate = len(phase.batches), 0.0
        for number, (inputs, truth) in enumerate(phase.batches.epoch(epoch + phase.order)):
            rate = rate_at((epoch - 1) * count + number, count, phase.epochs * count, phase.rate)
            loss = phase.trainer(inputs, truth, rate)
            watch(epoch, loss)
            total += loss
            self._say(phase, epoch, number + 1, count)
        trained = time.monotonic() - started
        probabilities = self._answers(phase, self.images.validation)
        loss, accuracy, macro_f1 = _measured(probabilities, self.images, class_weights(self.images, self.job.tune.class_weight))
        watch(epoch, loss)
        seconds = time.monotonic() - started
        speed = count * phase.batches.size / max(trained, 1e-9)
        return Epoch(phase.name, epoch, total / count, loss, accuracy, macro_f1, rate, seconds, speed)

    def _answers(self, phase: _Phase, places: NDArray[np.int64]) -> Values:
        return np.concatenate([values for _, values in in_pieces(phase.answer, phase.inputs, places)])

    def _say(self, phase: _Phase, epoch: int, number: int, count: int) -> None:
        """Images of all epochs; the note says what the epoch before it reached."""
        before = self.history[-1] if self.history else None
        said = f"{PHASES[phase.name]}, epoch {epoch} of {phase.epochs}"
        if before:
            said += f"; validation macro-F1 {before.val_macro_f1:.3f}"
        images = phase.batches.size if phase.name == "layers" else 1
        if phase.name == "head":
            if number == count:
                self.progress(Step("head", epoch, phase.epochs, said))
            return
        done = ((epoch - 1) * count + number) * images
        self.progress(Step("finetune", done, phase.epochs * count * images, said))

    def _frozen_features(self) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
        """(m, width) features, their class numbers, and the places to train on; places of validation images stay as they are."""
        images, run = self.images, self.tuned.features()
        places = np.sort(np.concatenate([images.training, images.validation]))
        mirrored = images.training if self.job.tune.augmentation.flip else images.training[:0]
        total = len(images.listed)
        features = array((total + len(mirrored), self.tuned.width), np.float32, self.folder, "features")
        done, of = 0, len(places) + len(mirrored)
        self.progress(Step("features", 0, of))
        for flip, some, first in ((False, places, None), (True, mirrored, total)):
            inputs: Any = self.pixels[:, :, ::-1] if flip else self.pixels
            for start, values in in_pieces(run, inputs, some):
                into = (
                    some[start : start + len(values)]
                    if first is None
                    else np.arange(first + start, first + start + len(values))
                )
                features[into] = values
                done += len(values)
                self.progress(Step("features", done, of))
        codes = np.concatenate([images.codes, images.codes[mirrored]])
        return features, codes, np.concatenate([images.training, np.arange(total, total + len(mirrored))])

    def _is_over(self, phase: Phase, epochs: int) -> bool:
        last = self.history[-1]
        return last.phase == phase and (last.epoch >= epochs or has_stalled(self.history, phase, self.job.tune.patience))

    def _notes(self, best: Epoch) -> list[str]:
        if best.phase == "head":
            return [
                "No epoch with the last layers unfrozen was better on the validation images than the new head alone, so the backbone is "
                "as it was. A lower --rate, fewer unfrozen layers or more images may help."
            ]
        return []


@dataclass(frozen=True)
class _Phase:
    name: Phase
    rate: float
    epochs: int
    batches: Batches
    trainer: Trainer
    answer: Callable[[Any], Values]
    inputs: NDArray[Any]

    @property
    def order(self) -> int:
        return HEAD_ORDER if self.name == "head" else 0


def rate_at(step: int, per_epoch: int, total: int, highest: float) -> float:
    """The learning rate of a step: up to the highest within the first epoch, then down to 0 along a cosine."""
    return highest * min(1.0, (step + 1) / per_epoch) * 0.5 * (1 + math.cos(math.pi * step / total))


NO_AUGMENTATION = AugmentationSpec(flip=False, crop=1.0, colour=0.0, mixup=0.0)


def _checkpoints(job: Job, phase: Phase) -> Checkpoints:
    key = job.head_key if phase == "head" else job.key
    return Checkpoints(job.place / f"checkpoints/{phase}-{key}", phase)


def _measured(probabilities: Values, images: Images, weights: Values) -> tuple[float, float, float]:
    """Loss, accuracy and macro-F1 on the validation images."""
    truth = images.codes[images.validation]
    own = np.maximum(probabilities[np.arange(len(truth)), truth].astype(np.float64), LEAST_PROBABILITY)
    loss = float(np.mean(-np.log(own) * weights[truth]))
    predicted, classes = probabilities.argmax(axis=1), len(images.classes)
    hits = np.bincount(truth[predicted == truth], minlength=classes)
    figures = figures_of(hits, np.bincount(truth, minlength=classes), np.bincount(predicted, minlength=classes))
    return loss, float(figures["accuracy"]), float(figures["macro_f1"])
