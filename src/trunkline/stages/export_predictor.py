"""Export a predictor: backbone, normalisation, mask and head as one Keras and one ONNX file, proven on real images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled, committed_backbone
from trunkline.backbones.onnx_files import import_onnx
from trunkline.errors import SpecError
from trunkline.heads.opening import OpenHead
from trunkline.locations import Location, storage_errors_in_words
from trunkline.predictor import making
from trunkline.predictor.dense_chain import chain_of
from trunkline.predictor.making import Making, made_in_its_own_process
from trunkline.predictor.onnx_file import predictor_onnx, run_onnx
from trunkline.predictor.proof import Proof, compared, refuse_unless_proven
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.specs import Recipe
from trunkline.stages.predict import head_of, last_environment
from trunkline.stages.predictor_samples import is_exact, samples_of, script_proof

PREPARATION = ("size", "fit", "kernel", "antialias", "exif", "decode", "decoder", "pixels")  # of a recipe
KERAS, ONNX, SCRIPT, SAID = "predictor.keras", "predictor.onnx", "prepare.py", "predictor.json"
NO_KERAS = {
    "backbone": "the backbone came as ONNX, so there is no Keras file of it",
    "head": "a head of the kind {} is no stack of Keras layers, so there is only an ONNX file",
}
HOLDS_FEATURES = (
    "a knn head is its training images' features: the ONNX file holds them, and `trunkline purge` does not reach it"
)
NOT_EXACT = "prepare.py decodes JPEGs otherwise than this recipe does, so its answers may differ; the files' own do not"


@dataclass(frozen=True)
class PredictorReceipt:
    """What was written into the folder `out`; `keras` and `script` are the proofs of that file and of prepare.py."""

    out: str
    files: Mapping[str, int]
    head: str
    target: str
    names: Sequence[str]
    feature_set: str
    onnx: Proof
    keras: Proof | None
    script: Proof
    notes: Sequence[str]
    seconds: float


def export_predictor(
    uri: str,
    out: str,
    head: str | None = None,
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> PredictorReceipt:
    """Write one artifact from pixels to answers, if it answers as the pipeline does.

    Parameters
    ----------
    uri, head, dataset : as in `predict_rows`.
    out : a folder that does not exist yet, or with `overwrite` one that holds an earlier export.
    backbone : the ONNX file, where the backbone came as one: the store holds only what was compiled of it.

    Raises
    ------
    As `head_of`.
    SpecError : a wrong `out`, or features of another precision than f32.
    BackboneError : a layer or head that cannot be written as ONNX, or ONNX is not installed.
    DataError : not one committed image is still as it was, so nothing can be proven.
    RunError : a file does not answer as the pipeline does.
    """
    started = time.monotonic()
    place = _place(out, overwrite)
    import_onnx()  # refused before images are read
    features, opened = head_of(uri, head, dataset)
    recipe = features.recipe
    _refuse_other_precisions(recipe)
    store = Location(features.uri.rsplit("/", 3)[0])
    compiled = committed_backbone(store, recipe, last_environment(features).get("batch"))
    progress(Step("proof", 0, None, "reading images"))
    samples = samples_of(features, opened, compiled)
    progress(Step("proof", 0, len(samples.rows), "making the files"))
    with _staged(place, overwrite) as folder:
        notes, keras, opset = _made(folder, compiled, recipe, opened, samples.pixels, backbone, _metadata(features, opened))
        notes += [] if is_exact(recipe) else [NOT_EXACT]
        notes += [HOLDS_FEATURES] if opened.kind == "knn" else []
        said = _described(features, opened) | {"opset": opset, "notes": notes}
        onnx = compared(opened.target, samples.answers, run_onnx(folder / ONNX, samples.pixels))
        refuse_unless_proven(ONNX, onnx)
        proof = None if keras is None else compared(opened.target, samples.answers, keras)
        if proof:
            refuse_unless_proven(KERAS, proof)
        shutil.copyfile(Path(making.__file__).with_name(SCRIPT), folder / SCRIPT)
        _write_said(folder, said, {"onnx": onnx, "keras": proof})
        script = script_proof(folder / SCRIPT, opened, samples)
        if is_exact(recipe):
            refuse_unless_proven(SCRIPT, script)
        _write_said(folder, said, {"onnx": onnx, "keras": proof, "prepare": script})
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    progress(Step("proof", len(samples.rows), len(samples.rows)))
    return PredictorReceipt(
        out=str(place),
        files=sizes,
        head=opened.name,
        target=opened.target.kind,
        names=opened.target.names,
        feature_set=features.uri,
        onnx=onnx,
        keras=proof,
        script=script,
        notes=notes,
        seconds=time.monotonic() - started,
    )


def _place(out: str, overwrite: bool) -> Path:
    location = Location.of(out)
    if not location.is_local:
        raise SpecError(f"{out} is no local folder. Export the predictor to a local one, and copy it from there.")
    place = location.path
    if not place.parent.is_dir():
        raise SpecError(f"There is no folder {place.parent} to export to. Make it, or name another.")
    if place.exists() and not overwrite:
        raise SpecError(f"{place} exists already and is left as it is. Name another folder, or replace it with --overwrite.")
    if place.exists() and not (place.is_dir() and (not any(place.iterdir()) or (place / SAID).exists())):
        raise SpecError(f"{place} is no earlier export (it holds no {SAID}), so it is not replaced. Name another folder.")
    return place


def _refuse_other_precisions(recipe: Recipe) -> None:
    if recipe.precision != "f32":
        raise SpecError(
            f"These features were extracted in {recipe.precision}, which neither file would repeat to the last digits. Extract with "
            "precision f32 and fit the head on that."
        )


def _made(
    folder: Path,
    compiled: Compiled,
    recipe: Recipe,
    head: OpenHead,
    pixels: NDArray[Any],
    backbone: str | None,
    metadata: Mapping[str, str],
) -> tuple[list[str], NDArray[Any] | None, int]:
    """The model files; notes, what the Keras file answers, where there is one, and the opset of the ONNX file."""
    if not compiled.runs_on_tensorflow:
        from trunkline.predictor.onnx_backbone import features_of_onnx

        content = features_of_onnx(recipe, head.layer, backbone)
        return [NO_KERAS["backbone"]], None, predictor_onnx(content, head, metadata, folder / ONNX)
    if backbone is not None:
        raise SpecError(f"{recipe.backbone} is no ONNX file, and the store holds it whole: leave --backbone out.")
    chain = chain_of(head)
    with tempfile.TemporaryDirectory(prefix="trunkline-predictor-") as temporary:
        work = Path(temporary)
        order = Making(layer=head.layer, pooling=recipe.pooling, dtype=recipe.dtype)
        made_in_its_own_process(order, compiled.file("model.keras"), chain, pixels, work)
        opset = predictor_onnx((work / "features.onnx").read_bytes(), head, metadata, folder / ONNX)
        if not chain:
            return [NO_KERAS["head"].format(head.kind)], None, opset
        shutil.move(work / KERAS, folder / KERAS)
        return [], np.load(work / "answers.npy", allow_pickle=False), opset


def _metadata(features: Features, head: OpenHead) -> dict[str, str]:
    """Of the ONNX file."""
    said = _described(features, head)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}


def _described(features: Features, head: OpenHead) -> dict[str, Any]:
    recipe = features.recipe
    return {
        "made_by": f"trunkline {version('trunkline')}",
        "target": head.target.kind,
        "names": list(head.target.names),
        "size": recipe.size,
        "preparation": recipe.model_dump(include=set(PREPARATION)),
        "backbone": recipe.backbone,
        "layer": head.layer,
        "recipe": recipe.digest(),
        "mask": head.mask,
        "head": head.name,
        "dataset": features.dataset.name,
    }


def _write_said(folder: Path, said: Mapping[str, Any], proofs: Mapping[str, Proof | None]) -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.name != SAID}
    more: dict[str, Any] = {
        "input": {"name": "pixels", "shape": ["images", said["size"], said["size"], 3]},
        "proof": {name: asdict(proof) for name, proof in proofs.items() if proof},
        "sha256": files,
    }
    (folder / SAID).write_text(json.dumps({**said, **more}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _staged(place: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside the place; it becomes the place when the block ends without an error, and is gone otherwise."""
    folder = place.with_name(f".{place.name}.{secrets.token_hex(6)}.tmp")
    with storage_errors_in_words(Location.of(place)):
        folder.mkdir()
        try:
            yield folder
            if overwrite and place.exists():
                shutil.rmtree(place)
            folder.rename(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
