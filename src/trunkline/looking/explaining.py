"""What a head says of one prepared image, and where in it the evidence lies, with the words for a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.heads.opening import OpenHead
from trunkline.looking.evidence import Evidence, class_activation, is_linear, occlusion
from trunkline.looking.one_image import vectors_by
from trunkline.runtimes.pooled_maps import pooled_maps
from trunkline.specs import Recipe

SHOWN = 3  # answers

Outputs = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """An answer and its evidence.

    Parameters
    ----------
    answers : the most probable first, each a name and a probability; or one value.
    method : `class activation`, or `occlusion`.
    evidence, titles : of two outputs, or of the value; and what stands above each.
    caption : how the evidence was found, in a sentence.
    """

    answers: Sequence[Mapping[str, Any]]
    method: str
    evidence: Sequence[Evidence]
    titles: Sequence[str]
    caption: str

    @property
    def said(self) -> str:
        """The answers in words."""
        if "value" in self.answers[0]:
            return f"value {self.answers[0]['value']:.4g}"
        return "predicted " + ", ".join(f"{each['name']} {each['probability']:.1%}" for each in self.answers)


def explain(
    compiled: Compiled, runtime: str, recipe: Recipe, head: OpenHead, pixels: NDArray[Any], label: str | None
) -> Explanation:
    """Ask a head about an image.

    Parameters
    ----------
    compiled, runtime, recipe : what makes the features that the head was fitted on.
    pixels : (size, size, 3), prepared by the recipe.
    label : the true class; None where nobody knows it.
    """
    pooled = pooled_maps(compiled, head.layer, len(os.sched_getaffinity(0))) if is_linear(head) else None
    found = pooled.run(pixels[None]) if pooled else None
    if found:
        maps, vectors = found
        outputs = head.outputs(vectors)[0]
        wanted = _wanted(head, outputs, label)
        evidence = [class_activation(head, maps[0], each) for each in wanted]
        beyond = " above the average of all classes" if head.target.kind == "classes" else ""
        caption = (
            f"Heat: class-activation map of {head.name}, {maps.shape[1]} x {maps.shape[2]}: what raises the score{beyond}."
        )
    else:
        vectors_of = vectors_by(compiled, runtime, recipe, head.layer)
        outputs = head.outputs(vectors_of(pixels[None]))[0]
        wanted = _wanted(head, outputs, label)
        evidence = occlusion(lambda some: head.outputs(vectors_of(some)), pixels, wanted)
        what = "value" if head.target.kind == "regression" else "probability"
        caption = f"Heat: occlusion. How far the {what} that {head.name} gives falls where a square is covered."
    titles = [_title(head, each, outputs, label) for each in wanted]
    return Explanation(_answers(head, outputs), "class activation" if found else "occlusion", evidence, titles, caption)


def _wanted(head: OpenHead, outputs: Outputs, label: str | None) -> list[int]:
    """The predicted class and the true one, or the one that comes next; the two most probable labels; the value."""
    order = np.argsort(-outputs, kind="stable")[:2].tolist()
    names = head.target.names
    if head.target.kind == "classes" and label in names and names.index(label) != order[0]:
        return [order[0], names.index(label)]
    return [int(each) for each in order]


def _title(head: OpenHead, output: int, outputs: Outputs, label: str | None) -> str:
    if head.target.kind == "regression":
        return f"for a higher value than {outputs[0]:.4g}"
    name = head.target.names[output]
    truth = " (the true class)" if name == label and head.target.kind == "classes" else ""
    return f"for {name}: {outputs[output]:.1%}{truth}"


def _answers(head: OpenHead, outputs: Outputs) -> list[dict[str, Any]]:
    if head.target.kind == "regression":
        return [{"name": "value", "value": float(outputs[0])}]
    order = np.argsort(-outputs, kind="stable")[:SHOWN].tolist()
    return [{"name": head.target.names[each], "probability": float(outputs[each])} for each in order]
