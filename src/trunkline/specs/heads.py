"""The heads: what is fitted on the features that the filter keeps, and what it predicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trunkline.specs.base import Spec
from trunkline.specs.form import ByKind

MOST_CANDIDATES = 500

Value = TypeVar("Value")
TargetKind = Literal["classes", "multilabel", "regression"]


def _listed(value: Any) -> Any:
    """A single value is a list of one candidate."""
    return value if isinstance(value, list | tuple) else (value,)


def _listed_widths(value: Any) -> Any:
    return (tuple(value),) if isinstance(value, list | tuple) and not any(isinstance(e, list | tuple) for e in value) else value


Candidates = Annotated[tuple[Value, ...], BeforeValidator(_listed), Field(min_length=1)]
Positive = Annotated[float, Field(gt=0.0, lt=math.inf)]
Count = Annotated[int, Field(ge=1)]
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=16)]


class TargetSpec(Spec):
    """What labels mean."""

    kind: TargetKind = Field(
        "classes", description="classes: one a label; multilabel: several, separated; regression: labels are numbers"
    )
    separator: str = Field("|", min_length=1, max_length=8, description="between the labels of an image, for multilabel")


class HeadBase(Spec):
    """A head; fields in `SWEPT` hold candidates, and several of them make a grid that is cross-validated on the training split."""

    SWEPT: ClassVar[tuple[str, ...]] = ()
    TARGETS: ClassVar[frozenset[str]] = frozenset({"classes", "multilabel", "regression"})

    @property
    def axes(self) -> Mapping[str, tuple[Any, ...]]:
        """Field → its candidates, for the fields that have several."""
        return {name: getattr(self, name) for name in self.SWEPT if len(getattr(self, name)) > 1}

    def candidates(self) -> Iterator[Self]:
        """The grid, in the order of the fields; each with one value a field."""
        axes = self.axes
        for values in itertools.product(*axes.values()):
            yield self.model_copy(update={name: (value,) for name, value in zip(axes, values, strict=True)})

    @model_validator(mode="after")
    def _grid_is_bounded(self) -> Self:
        count = math.prod(len(values) for values in self.axes.values())
        if count > MOST_CANDIDATES:
            sizes = " × ".join(f"{len(values)} {name}" for name, values in self.axes.items())
            raise ValueError(
                f"a grid of {count:,} candidates ({sizes}), each fitted once a fold; at most {MOST_CANDIDATES}. "
                "Leave some out, or sweep one field after the other"
            )
        return self

    @field_validator("*")
    @classmethod
    def _no_candidate_twice(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError("names the same candidate twice")
        return value


Folds = Annotated[int, Field(ge=2, le=20, description="cross-validation folds, where there are several candidates")]
ClassWeight = Annotated[
    Literal["none", "balanced"], Field(description="balanced: classes count the same, however many images they have")
]
PATH = (0.0001, 0.001, 0.01, 0.1, 1.0)


class SoftmaxSpec(HeadBase):
    """Multinomial logistic regression, L2; of several labels one logistic regression each. Exact L-BFGS over blocks of rows."""

    SWEPT: ClassVar[tuple[str, ...]] = ("C",)
    TARGETS: ClassVar[frozenset[str]] = frozenset({"classes", "multilabel"})
    kind: Literal["softmax"] = "softmax"
    C: Candidates[Positive] = Field(PATH, description="inverse regularisation, candidates")
    folds: Folds = 3
    max_iterations: int = Field(300, ge=1, description="L-BFGS iterations a fit")
    class_weight: ClassWeight = "none"


class SvmSpec(HeadBase):
    """Linear support vector machine: squared hinge, one class against the rest, L2. Exact L-BFGS over blocks of rows."""

    SWEPT: ClassVar[tuple[str, ...]] = ("C",)
    TARGETS: ClassVar[frozenset[str]] = frozenset({"classes", "multilabel"})
    kind: Literal["svm"] = "svm"
    C: Candidates[Positive] = Field((0.00001, 0.0001, 0.001, 0.01), description="inverse regularisation, candidates")
    folds: Folds = 3
    max_iterations: int = Field(300, ge=1, description="L-BFGS iterations a fit")
    class_weight: ClassWeight = "none"


class RidgeSpec(HeadBase):
    """Least squares, L2, in closed form from Gram matrices; of classes on their indicators. The whole path costs one pass."""

    SWEPT: ClassVar[tuple[str, ...]] = ("alpha",)
    kind: Literal["ridge"] = "ridge"
    alpha: Candidates[Positive] = Field(
        (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0), description="regularisation of the summed squares, candidates"
    )
    folds: Folds = 3
    class_weight: ClassWeight = "none"


class CentroidSpec(HeadBase):
    """Nearest class mean in standardised features; one pass."""

    TARGETS: ClassVar[frozenset[str]] = frozenset({"classes"})
    kind: Literal["centroid"] = "centroid"


class NeighboursSpec(HeadBase):
    """k nearest neighbours in standardised features, searched in blocks."""

    SWEPT: ClassVar[tuple[str, ...]] = ("k",)
    kind: Literal["knn"] = "knn"
    k: Candidates[Count] = Field((1, 5, 15), description="neighbours, candidates")
    metric: Literal["cosine", "euclidean"] = "cosine"
    folds: Folds = 3


class TreeSpec(HeadBase):
    """Decision tree, scikit-learn's; on a sample where the training rows do not fit into memory."""

    SWEPT: ClassVar[tuple[str, ...]] = ("max_depth", "min_samples_leaf")
    kind: Literal["tree"] = "tree"
    max_depth: Candidates[Count | None] = Field((None,), description="levels, candidates; null: until leaves are pure")
    min_samples_leaf: Candidates[Count] = Field((1,), description="fewest images of a leaf, candidates")
    folds: Folds = 3
    class_weight: ClassWeight = "none"


class ForestSpec(HeadBase):
    """Random forest, scikit-learn's; on a sample where the training rows do not fit into memory."""

    SWEPT: ClassVar[tuple[str, ...]] = ("trees", "max_depth", "min_samples_leaf")
    kind: Literal["forest"] = "forest"
    trees: Candidates[Annotated[int, Field(ge=1, le=10_000)]] = Field((200,), description="trees, candidates")
    max_depth: Candidates[Count | None] = Field((None,), description="levels, candidates; null: until leaves are pure")
    min_samples_leaf: Candidates[Count] = Field((1,), description="fewest images of a leaf, candidates")
    folds: Folds = 3
    class_weight: ClassWeight = "none"


class BoostedSpec(HeadBase):
    """Gradient-boosted trees, XGBoost's, on the Dask workers; on a sample where the training rows do not fit into their memory."""

    SWEPT: ClassVar[tuple[str, ...]] = ("rounds", "learning_rate", "max_depth")
    kind: Literal["boosted"] = "boosted"
    rounds: Candidates[Annotated[int, Field(ge=1, le=10_000)]] = Field((100,), description="boosting rounds, candidates")
    learning_rate: Candidates[Annotated[float, Field(gt=0.0, le=1.0)]] = Field((0.2,), description="shrinkage, candidates")
    max_depth: Candidates[Annotated[int, Field(ge=1, le=32)]] = Field((4,), description="levels of a tree, candidates")
    folds: Folds = 3
    class_weight: ClassWeight = "none"


class MlpSpec(HeadBase):
    """Multi-layer perceptron in Keras, mini-batches streamed from the store, stopped early on a tenth held out of training."""

    SWEPT: ClassVar[tuple[str, ...]] = ("widths", "dropout", "learning_rate")
    kind: Literal["mlp"] = "mlp"
    widths: Annotated[tuple[Widths, ...], BeforeValidator(_listed_widths), Field(min_length=1)] = Field(
        ((32, 16, 8),), description="hidden layers' widths, or candidates of such lists"
    )
    dropout: Candidates[Annotated[float, Field(ge=0.0, lt=1.0)]] = Field((0.0,), description="dropout, candidates")
    learning_rate: Candidates[Positive] = Field((0.001,), description="of Adam, candidates")
    epochs: int = Field(100, ge=1, le=10_000, description="passes over the training rows at most")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss before it stops")
    batch: int = Field(128, ge=1, le=65_536, description="rows of a mini-batch")
    folds: Folds = 3
    class_weight: ClassWeight = "none"


HeadSpec = Annotated[
    SoftmaxSpec | SvmSpec | RidgeSpec | CentroidSpec | NeighboursSpec | TreeSpec | ForestSpec | BoostedSpec | MlpSpec,
    Field(discriminator="kind"),
    ByKind(),
]
HEAD_SPECS: tuple[type[HeadBase], ...] = (
    SoftmaxSpec,
    SvmSpec,
    RidgeSpec,
    CentroidSpec,
    NeighboursSpec,
    TreeSpec,
    ForestSpec,
    BoostedSpec,
    MlpSpec,
)
