"""Export a predictor: backbone, normalisation, mask and head as one Keras and one ONNX file, proven on real images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images
from trunkline.backbones.compiled import Compiled, committed_backbone
from trunkline.errors import DataError, RunError, SpecError, UnreadableImage
from trunkline.heads.opening import OpenHead
from trunkline.locations import Location, storage_errors_in_words
from trunkline.predictor.dense_chain import chain_of
from trunkline.predictor.making import Making, made_in_its_own_process
from trunkline.predictor.onnx_file import predictor_onnx, run_onnx
from trunkline.predictor.onnx_graph import OPSET
from trunkline.predictor.proof import Proof, compared, refuse_unless_proven
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.specs import Recipe
from trunkline.stages.predict import head_of, last_environment

PROVEN = 200  # images, at most
PIXEL_BYTES = 256 * 2**20  # of them together
PREPARED = 20  # images that prepare.py is tried on
PREPARATION = ("size", "fit", "kernel", "antialias", "exif", "decode", "decoder", "pixels")  # of a recipe
KERAS, ONNX, SCRIPT, SAID = "predictor.keras", "predictor.onnx", "prepare.py", "predictor.json"
NO_KERAS = {
    "backbone": "the backbone came as ONNX, so there is no Keras file of it",
    "head": "a head of the kind {} is no stack of Keras layers, so there is only an ONNX file",
}


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
    features, opened = head_of(uri, head, dataset)
    recipe = features.recipe
    _refuse_other_precisions(recipe)
    store = Location(features.uri.rsplit("/", 3)[0])
    compiled = committed_backbone(store, recipe, last_environment(features).get("batch"))
    progress(Step("proof", 0, None, "reading images"))
    samples = _samples(features, opened, compiled)
    progress(Step("proof", 0, len(samples.rows), "making the files"))
    with _staged(place, overwrite) as folder:
        notes, keras = _made(folder, compiled, recipe, opened, samples.pixels, backbone, _metadata(features, opened))
        onnx = compared(opened.target, samples.answers, run_onnx(folder / ONNX, samples.pixels))
        refuse_unless_proven(ONNX, onnx)
        proof = None if keras is None else compared(opened.target, samples.answers, keras)
        if proof:
            refuse_unless_proven(KERAS, proof)
        shutil.copyfile(Path(images.__file__).parents[1] / "predictor" / "prepare.py", folder / SCRIPT)
        _write_said(folder, features, opened, {"onnx": onnx, "keras": proof}, notes)
        script = _script_proof(folder, opened, samples)
        if _is_exact(recipe):
            refuse_unless_proven(SCRIPT, script)
        _write_said(folder, features, opened, {"onnx": onnx, "keras": proof, "prepare": script}, notes)
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


@dataclass(frozen=True, eq=False)
class _Samples:
    """Committed rows whose images are still as they were: bytes of a few, pixels of all, and what the pipeline answers."""

    rows: NDArray[np.int64]
    contents: Sequence[tuple[str, bytes]]
    pixels: NDArray[Any]
    answers: NDArray[np.float64]


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


def _samples(features: Features, head: OpenHead, compiled: Compiled) -> _Samples:
    """Test rows at random, or any where there are no test rows."""
    splits = features.snapshot.codes("split")[1]
    rows = features.rows("test") if "test" in splits else features.rows()
    most = max(1, min(PROVEN, PIXEL_BYTES // (3 * compiled.size**2 * np.dtype(compiled.pixels).itemsize)))
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[: 2 * most])  # some of them may be gone
    kept, contents, pixels = [], [], []
    listed = features.snapshot.listed(drawn).to_pylist()
    digests = features.snapshot.table(drawn, ("sha256",))["sha256"].to_pylist()
    source = features.dataset.source
    for row, said, sha256 in zip(drawn.tolist(), listed, digests, strict=True):
        with contextlib.suppress(UnreadableImage):
            content, _ = source.fetch(said["id"], said["place"])
            if hashlib.sha256(content).hexdigest() == sha256 and len(kept) < most:
                pixels.append(images.load(content, features.recipe))
                kept.append(row)
                contents += [(said["id"], content)] if len(contents) < PREPARED else []
    if not kept:
        raise DataError(
            f"Not one of {len(drawn)} committed images of {features.dataset.name} is still in the source as it was, so nothing can prove the "
            "export. Is the disk or bucket mounted?"
        )
    rows = np.array(kept, np.int64)
    stored = np.asarray(features.read(rows, head.layer, head.columns), np.float32)
    return _Samples(rows, contents, np.stack(pixels), head.fitted.outputs(stored))


def _made(
    folder: Path,
    compiled: Compiled,
    recipe: Recipe,
    head: OpenHead,
    pixels: NDArray[Any],
    backbone: str | None,
    metadata: Mapping[str, str],
) -> tuple[list[str], NDArray[Any] | None]:
    """The model files; notes, and what the Keras file answers, where there is one."""
    if not compiled.runs_on_tensorflow:
        from trunkline.predictor.onnx_backbone import features_of_onnx

        content = features_of_onnx(recipe, head.layer, backbone)
        predictor_onnx(content, head, metadata, folder / ONNX)
        return [NO_KERAS["backbone"]], None
    if backbone is not None:
        raise SpecError(f"{recipe.backbone} is no ONNX file, and the store holds it whole: leave --backbone out.")
    chain = chain_of(head)
    with tempfile.TemporaryDirectory(prefix="trunkline-predictor-") as temporary:
        work = Path(temporary)
        order = Making(layer=head.layer, pooling=recipe.pooling, dtype=recipe.dtype)
        made_in_its_own_process(order, compiled.file("model.keras"), chain, pixels, work)
        predictor_onnx((work / "features.onnx").read_bytes(), head, metadata, folder / ONNX)
        if not chain:
            return [NO_KERAS["head"].format(head.kind)], None
        shutil.move(work / KERAS, folder / KERAS)
        return [], np.load(work / "answers.npy", allow_pickle=False)


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


def _write_said(
    folder: Path, features: Features, head: OpenHead, proofs: Mapping[str, Proof | None], notes: Sequence[str]
) -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.name != SAID}
    said = {
        **_described(features, head),
        "input": {"name": "pixels", "shape": ["images", features.recipe.size, features.recipe.size, 3]},
        "opset": OPSET,
        "proof": {name: asdict(proof) for name, proof in proofs.items() if proof},
        "notes": list(notes),
        "sha256": files,
    }
    (folder / SAID).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _script_proof(folder: Path, head: OpenHead, samples: _Samples) -> Proof:
    """What prepare.py says of the images' own bytes."""
    with tempfile.TemporaryDirectory(prefix="trunkline-images-") as temporary:
        paths = []
        for number, (image_id, content) in enumerate(samples.contents):
            path = Path(temporary, f"{number:03d}{Path(image_id).suffix}")
            path.write_bytes(content)
            paths.append(path)
        command = [sys.executable, str(folder / SCRIPT), "--json", *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=temporary)
    if ended.returncode:
        raise RunError(f"{SCRIPT} failed on {len(paths)} images: {ended.stderr.strip()[-1000:]} Nothing was exported.")
    said = [json.loads(line)["answers"] for line in ended.stdout.splitlines()]
    answers = np.array([[each[name] for name in head.target.names] for each in said])
    return compared(head.target, samples.answers[: len(answers)], answers)


def _is_exact(recipe: Recipe) -> bool:
    """Whether prepare.py gives the pipeline's pixels, so that it has to give its answers."""
    return recipe.decoder == images.DECODER and recipe.decode == "exact"


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
