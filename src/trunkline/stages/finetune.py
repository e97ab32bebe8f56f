"""Finetune: a scanned dataset and a backbone → a backbone of the user's own, in the store. Starting it again resumes it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.backbones.compilation import Cuts, Order
from trunkline.backbones.resolution import cuts, order_of
from trunkline.errors import BackboneError, CorruptStore, DataError, StorageError, StoreError, did_you_mean
from trunkline.finetuning import result
from trunkline.finetuning.data import Images, images_of
from trunkline.finetuning.finished import FOLDER
from trunkline.finetuning.job import Job
from trunkline.finetuning.process import trained_elsewhere
from trunkline.finetuning.unfreezing import unfrozen
from trunkline.locations import Location
from trunkline.metrics import AnyMetrics, metrics_of_json
from trunkline.progress import Progress, Step, silent
from trunkline.specs import FinetuneSpec, RunSpec, digest_of
from trunkline.store.feature_store import FeatureStore
from trunkline.store.lease import Lease, hold

FORMAT = 1  # of checkpoints and results
COPIES = 10  # of the weights, at most at once: last, best and new checkpoint with the optimizer's two, and the result
PREPARATION = ("fit", "kernel", "antialias", "exif", "decode", "decoder", "pixels", "size")
IN_THE_HEAD = ("widths", "dropout", "head_rate", "head_epochs", "patience", "val_fraction", "class_weight", "precision", "seed")


@dataclass(frozen=True)
class FinetuneReceipt:
    """A fine-tuned backbone.

    Parameters
    ----------
    backbone : its URI, which every stage takes as `--backbone`.
    sha256 : of the file.
    metrics : of the network with its own head on the test split; None where that has no image.
    best, epochs : the epoch whose weights were kept, and how many each phase had.
    images : training, validation, test, unreadable ones by reason, and test images left out.
    cached : it was there already, and nothing was trained.
    """

    name: str
    backbone: str
    sha256: str
    classes: Sequence[str]
    metrics: AnyMetrics | None
    best: Mapping[str, Any]
    epochs: Mapping[str, int]
    images: Mapping[str, Any]
    report: str
    cached: bool
    notes: Sequence[str]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Plain JSON, for `--json`."""
        return {**asdict(self), "metrics": self.metrics.summary() if self.metrics else None}


def finetune(spec: RunSpec, tune: FinetuneSpec, progress: Progress = silent) -> FinetuneReceipt:
    """Train a new head on the frozen backbone, then the last layers, and write the result under `finetuned/<name>/`.

    Parameters
    ----------
    spec : store, dataset, backbone, weights, cut, pooling and preparation of the images.
    tune : how it is trained.

    Raises
    ------
    StoreError : no store, or another result of this name.
    DataError : too few images, a target that is not classes, or a learning rate that diverges; the last good checkpoint is kept.
    BackboneError : no such layer, more layers to unfreeze than there are, or a network that cannot be trained or saved.
    StorageError : no room for checkpoints; those before are kept.
    LeaseHeld : another run trains under this name.
    """
    started = time.monotonic()
    store = FeatureStore.open(Location.of(spec.store))
    if store.root.scheme == "memory":
        raise StoreError(
            f"{store.root} lives in this process, and training runs in another, which would write where nobody reads. Put the store on a "
            "disk or into a bucket."
        )
    dataset = store.known_dataset(spec.dataset_name)
    progress(Step("finetune", 0, None, "looking at backbone and images"))
    order, layers, found = _network(spec, tune)
    images = images_of(dataset, tune)
    job = _job(spec, tune, store, order, layers, images)
    if (there := _stored(job)) is not None:
        return _receipt(job, there, cached=True, seconds=time.monotonic() - started)
    _refuse_a_full_disk(job, found)
    with hold(job.place / "leases", waiting=lambda held: progress(Step("finetune", 0, None, _waiting(held)))):
        there = _stored(job)  # the run that was waited for may have made it
        lineage = there if there is not None else trained_elsewhere(job, progress)
    return _receipt(job, lineage, cached=there is not None, seconds=time.monotonic() - started)


def with_the_result(spec: RunSpec, receipt: FinetuneReceipt) -> RunSpec:
    """The same run with the fine-tuned backbone, cut where it was trained to be cut."""
    changed = {"backbone": receipt.backbone, "weights": None, "layers": ()}
    preparation = spec.preparation.model_copy(update={"size": None})
    return spec.model_copy(update=changed | {"preparation": preparation})


def _network(spec: RunSpec, tune: FinetuneSpec) -> tuple[Order, list[str], Cuts]:
    """The network, the names of the layers that will be unfrozen, and all there are."""
    if spec.target.kind != "classes":
        raise DataError(f"Fine-tuning learns classes, and the target is {spec.target.kind}. Fit a head on features for that.")
    order = order_of(spec)
    backbone = order.network.backbone
    if order.network.onnx:
        raise BackboneError(
            f"{backbone.name} is an ONNX network, which can be run but not trained here. Take a .keras file of it, or one of `trunkline "
            "backbones`."
        )
    if len(order.recipe.layers) != 1:
        raise BackboneError(
            f"Fine-tuning trains towards one cut, and {len(order.recipe.layers)} are named ({', '.join(order.recipe.layers)}). Name one."
        )
    found, cut = cuts(order.network), order.recipe.layers[0]
    names = [layer.name for layer in found.layers]
    if cut not in names:
        raise BackboneError(
            f"The backbone {backbone.name} has no layer {cut!r}.{did_you_mean(cut, names)} `trunkline backbones {backbone.name}` lists "
            f"its {len(names)}."
        )
    return order, unfrozen(names[: names.index(cut) + 1], tune.unfreeze, backbone.name), found


def _job(spec: RunSpec, tune: FinetuneSpec, store: FeatureStore, order: Order, layers: Sequence[str], images: Images) -> Job:
    recipe, name = order.recipe, order.network.backbone.name
    preparation = {key: getattr(recipe, key) for key in PREPARATION}
    origin = {
        "format": FORMAT,
        "backbone": name,
        "weights": recipe.weights,
        "layer": recipe.layers[0],
        "pooling": recipe.pooling,
        "preparation": preparation,
        "data": images.digest(),
    }
    said = tune.model_dump(mode="json", exclude={"name"})
    head = {key: said[key] for key in IN_THE_HEAD} | {"flip": tune.augmentation.flip}
    key = digest_of([origin, said])
    stem = name.rsplit(".", 1)[0] if name.lower().endswith((".keras", ".h5")) else name
    folder = tune.name or f"{stem[:30]}-{spec.dataset_name[:20]}-{key[:8]}"
    lineage = {
        **origin,
        "dataset": spec.dataset_name,
        "batch": len(images.dataset.manifest.batches) - 1,
        "started_from": spec.backbone,
        "labels": images.dataset.labels.names()[-1:],
        "splits": images.dataset.splits.names()[-1:],
        "tune": tune.model_dump(mode="json"),
    }
    return Job(
        order=order,
        tune=tune,
        unfrozen=layers,
        images=images,
        place=store.root / f"{FOLDER}/{folder}",
        head_key=digest_of([origin, head]),
        key=key,
        most_bad=spec.max_bad_fraction,
        lineage=lineage,
    )


def _stored(job: Job) -> dict[str, Any] | None:
    """The lineage of this very result; None where there is none yet. Raises StoreError where the name is taken by another."""
    place = job.place / result.LINEAGE
    try:
        said: dict[str, Any] = json.loads(place.read())
        key = said["key"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(f"{place} is damaged ({error!r}). Delete {job.place}, and fine-tune again.") from error
    if key != job.key:
        raise StoreError(
            f"{job.place} holds a backbone that was fine-tuned with other settings, from other weights or on other images, and "
            "features may have been extracted with it. It is left as it is: give this one another name with --name, or leave the name out."
        )
    return said


def _refuse_a_full_disk(job: Job, found: Cuts) -> None:
    free, needed = job.place.free(), COPIES * 4 * found.parameters
    if free is not None and free < needed:
        raise StorageError(
            f"{job.place} has {free / 2**20:,.0f} MiB free, and checkpoints and result of {found.parameters:,} parameters take up to "
            f"{needed / 2**20:,.0f} MiB. Nothing was trained: free some space first, or put the store on a larger disk."
        )


def _receipt(job: Job, said: Mapping[str, Any], *, cached: bool, seconds: float) -> FinetuneReceipt:
    metrics = said.get("metrics")
    return FinetuneReceipt(
        name=job.place.name,
        backbone=(job.place / result.BACKBONE).uri,
        sha256=said["sha256"],
        classes=said["classes"],
        metrics=metrics_of_json(metrics) if metrics else None,
        best=said["best"],
        epochs=said["epochs"],
        images=said["images"],
        report=(job.place / "report.html").uri,
        cached=cached,
        notes=said["notes"],
        seconds=seconds,
    )


def _waiting(held: Lease) -> str:
    return f"waiting for lease {held.number} of process {held.pid} on {held.host}"
