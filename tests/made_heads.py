"""Heads made by hand: real files in a real store, without a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trunkline import open_features, selection
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Origin, Predictions
from trunkline.heads.linear_head import Activation, LinearHead
from trunkline.heads.protocol import FittedHead
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.locations import Location
from trunkline.metrics import measure
from trunkline.reader import Features
from trunkline.specs.heads import TargetKind

DIGEST = "0123456789abcdef"


def mask_of(features: Features, store: Path) -> selection.Mask:
    """The only mask of a feature set."""
    dataset, recipe = features.uri.rsplit("/", 2)[-2:]
    (rule,) = (store / "masks" / dataset / recipe).iterdir()
    mask = selection.load_latest(Location.of(rule))
    assert mask is not None
    return mask


def linear(features: Features, store: Path, kind: str = "softmax", seed: int = 0) -> LinearHead:
    """Standardised by the training rows; weights of a ridge on the classes' indicators, so that it predicts well."""
    mask = mask_of(features, store)
    layer = next(iter(features.layers))
    x, labels = features.numpy("train", columns=mask.layers[layer].kept)
    names = sorted(set(labels))
    deviation = x.std(axis=0)
    standard = Standard(x.mean(axis=0), np.where(deviation > 0, deviation, 1).astype(np.float32))
    z = np.column_stack([standard(x), np.ones(len(x))]).astype(np.float64)
    y = (np.array(labels)[:, None] == np.array(names)).astype(np.float64)
    if kind == "regression":
        y = np.array([[float(label)] for label in labels])
    weights = np.linalg.solve(z.T @ z + 100.0 * np.eye(z.shape[1]), z.T @ y)
    scale = {"softmax": 6.0, "multilabel": 6.0}.get(kind, 1.0)
    weights = weights * scale + np.random.default_rng(seed).normal(0, 1e-3, weights.shape)
    if kind == "multilabel":
        weights[-1] -= 0.5 * scale
    activations: dict[str, Activation] = {"multilabel": "sigmoid", "regression": "identity"}
    return LinearHead(standard, weights, activations.get(kind, "softmax"))


def write_head(
    store: Path,
    features: Features,
    fitted: FittedHead,
    kind: str = "softmax",
    target_kind: TargetKind = "classes",
    digest: str = DIGEST,
) -> Location:
    """Write a head as a fit does; its metrics are of some outputs."""
    mask = mask_of(features, store)
    dataset, recipe = features.uri.rsplit("/", 2)[-2:]
    names = ("value",) if target_kind == "regression" else tuple(sorted(set(features.numpy("train")[1])))
    target, rows = Target(target_kind, names), features.rows("test")
    truth, outputs = np.arange(len(rows)) % target.outputs, np.eye(target.outputs)[np.arange(len(rows)) % target.outputs]
    if target_kind != "classes":
        truth = outputs.astype(np.float32) if target_kind == "multilabel" else outputs[:, 0] + rows
    made = HeadArtifact(
        location=Location.of(store / "heads" / dataset / recipe / f"{kind}-{digest}"),
        kind=kind,
        target=target,
        origin=Origin(recipe, next(iter(features.layers)), mask.location.uri.removeprefix(f"{store}/"), mask.digest, {}, 0),
        metrics=measure(target_kind, truth, outputs, target.outputs, 0),
        chosen={},
        notes=(),
        candidates=(),
        seconds=0.0,
        training_rows=0,
        test_rows=len(rows),
        left_out=0,
        sha256={},
    )
    place = Location.of(store / "predictions" / dataset / recipe / f"{kind}-{digest}.parquet")
    return artifact.save(made, fitted, Predictions.of(target, rows, truth, outputs), place).location


def with_head(store: Path, kind: str = "softmax", target: TargetKind = "classes", digest: str = DIGEST) -> Location:
    """A linear head of the store's only feature set."""
    features = open_features(store)
    return write_head(store, features, linear(features, store, kind if target == "classes" else target), kind, target, digest)
