"""Reports to draw (handwritten digits, nothing, too much, hostile text), and the page they become, read back."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.multiclass import OneVsRestClassifier

from trunkline.accounting import RowCounts
from trunkline.drift import BatchDrift
from trunkline.heads.curves import LearningPoint
from trunkline.heads.protocol import Candidate
from trunkline.metrics import Metrics, measure
from trunkline.report import page
from trunkline.report.data import FilterPoint, HeadResult, Heat, LayerResult, Mistake, Picture, Quarantined, ReportData

HOSTILE = "<script>alert('1')</script>\" onload=x & $\\frac{1}{2}$ \u202eevil {{ 7 * 7 }}\nnext\x00 \udcff é 漢字"
VOID = {"meta", "link", "img", "br"}
LONG = "a-folder/" + "x" * 300 + ".jpg"


def head(kind: str, truth: NDArray[np.int64], outputs: NDArray[np.float64], classes: list[str], **chosen: str) -> HeadResult:
    return HeadResult(kind, measure("classes", truth, outputs, len(classes)), classes, chosen, 2.25)


@cache
def digits() -> ReportData:
    """A whole report: pixels as features, two heads fitted on them, and the images they got wrong."""
    pixels, target = load_digits(return_X_y=True)
    train, test = slice(0, 1300), slice(1300, None)
    classes = [str(digit) for digit in range(10)]
    softmax = LogisticRegression(C=0.01, max_iter=1000).fit(pixels[train], target[train])
    forest = RandomForestClassifier(12, random_state=0).fit(pixels[train], target[train])
    variances = pixels[train].var(axis=0)
    return ReportData(
        dataset="digits",
        source="file:///data/digits",
        feature_set="file:///features/digits/3f9a1c",
        made_at=datetime(2026, 11, 5, 9, 30, tzinfo=UTC),
        counts=RowCounts(ok=1797, quarantined=3, pending=0, removed=12, void=236),
        extracted=1300,
        reused=497,
        images_per_second=212.4,
        stage_seconds={"scan": 0.8, "extract": 6.1, "select": 0.3, "fit": 4.4},
        work_seconds={"read": 0.9, "decode": 2.4, "forward": 8.1, "write": 0.2},
        recipe={
            "backbone": "efficientnet-lite0",
            "weights": "9d3f" * 16,
            "layer": "avg_pool",
            "pooling": "none",
            "dtype": "float32",
        },
        environment={"runtime": "openvino 2026.3", "processor": "8 cores, AVX-512", "python": "3.11.9"},
        quarantine=[
            Quarantined("digits/4/0017.jpg", "truncated", "ends after 812 of 1,204 bytes"),
            Quarantined("digits/7/notes.txt", "not an image", "starts with b'Seven'"),
            Quarantined("digits/9/0101.jpg", "truncated", "ends after 0 bytes"),
        ],
        features=LayerResult("avg_pool", "float32", variances, variances > 0.05, 0.05),
        heads=[
            head("forest", target[test], forest.predict_proba(pixels[test]), classes, trees="12"),
            head("softmax", target[test], softmax.predict_proba(pixels[test]), classes, C="0.01", folds="5"),
        ],
        points=PCA(2, random_state=0).fit_transform(pixels[train]),
        point_labels=[str(digit) for digit in target[train]],
        points_method="2 principal components, 1,300 training rows",
        mistakes=_mistakes(pixels[test], target[test], softmax.predict_proba(pixels[test])),
        mistakes_head="softmax",
        notes=["2 test images have the same bytes as a training image and are left out of the metrics."],
    )


def _mistakes(pixels: NDArray[np.float64], target: NDArray[np.int64], chances: NDArray[np.float64]) -> list[Mistake]:
    predicted, surest = chances.argmax(axis=1), chances.max(axis=1)
    worst = [i for i in np.argsort(-surest) if predicted[i] != target[i]][:24]
    return [
        Mistake(f"digits/{target[i]}/{i:04}.jpg", str(target[i]), str(predicted[i]), float(surest[i]), thumbnail(pixels[i]))
        for i in worst
    ]


def thumbnail(pixels: NDArray[np.float64], side: int = 160, quality: int = 85) -> bytes:
    small = Image.fromarray((pixels.reshape(8, 8) * 15).astype(np.uint8))
    buffer = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@cache
def everything() -> ReportData:
    """The digits with all that is optional: candidates, filter, few labels, drift, pictures in the map."""
    report = digits()
    pixels, target = load_digits(return_X_y=True)
    scores = [(0.0001, 0.871, 0.012), (0.001, 0.934, 0.008), (0.01, 0.951, 0.006), (0.1, 0.946, 0.009), (1.0, 0.932, 0.011)]
    tried = [Candidate({"C": f"{c:g}", "folds": "5"}, score, spread) for c, score, spread in scores]
    forest, softmax = report.heads
    return replace(
        report,
        heads=[forest, replace(softmax, candidates=tried, candidates_by="macro-F1")],
        filter_points=[FilterPoint(k, k * 1797 * 4, f, k == 54) for k, f in zip(KEPT, FILTERED, strict=True)],
        filter_score="macro-F1 of softmax, by cross-validation",
        learning=[LearningPoint(n, 10 * n, f, f - 0.3 / n, f + 0.2 / n) for n, f in zip(LABELLED, LEARNT, strict=True)],
        learning_score="macro-F1 of softmax on the test split, mean of 5 draws",
        drift=[
            BatchDrift(1, 210, 0.08, [(17, 0.21), (44, -0.15)], warned=False),
            BatchDrift(2, 198, 0.11, [(3, -0.3)], warned=False),
            BatchDrift(3, 1240, 0.42, [(17, 2.7), (60, -1.9), (5, 1.1)], warned=True),
            BatchDrift(4, 12, 0.15, [], warned=False),
        ],
        drift_threshold=0.25,
        drift_measure="Root mean square of the shifts of all features' means, in deviations of the training rows",
        pictures={i: Picture(f"digits/{target[i]}/{i:04}.jpg", thumbnail(pixels[i], 48, 60)) for i in range(0, 1300, 4)},
    )


KEPT, FILTERED = (8, 16, 24, 32, 40, 54, 61), (0.61, 0.78, 0.88, 0.92, 0.941, 0.949, 0.9495)
LABELLED, LEARNT = (1, 2, 5, 10, 20, 50, 100), (0.52, 0.66, 0.79, 0.861, 0.9, 0.931, 0.948)


@cache
def labels() -> ReportData:
    """Digits whose heads say of each of four properties whether an image has it."""
    pixels, target = load_digits(return_X_y=True)
    names = ["even", "above five", "with a hole", "seven"]
    truth = np.stack([target % 2 == 0, target > 5, np.isin(target, (0, 6, 8, 9)), target == 7], axis=1).astype(np.int64)
    model = OneVsRestClassifier(LogisticRegression(C=0.001, max_iter=2000)).fit(pixels[:1300], truth[:1300])
    metrics = measure("multilabel", truth[1300:], model.predict_proba(pixels[1300:]), len(names))
    return replace(everything(), dataset="properties", heads=[HeadResult("logistic", metrics, names, {"C": "0.001"}, 1.5)])


@cache
def numbers() -> ReportData:
    """A regression: the course of diabetes, with figures of tens to hundreds."""
    x, y = load_diabetes(return_X_y=True)
    heads = []
    for kind, alphas in (("ridge", (0.001, 0.01, 0.1)), ("strong ridge", (10.0,))):
        outputs = RidgeCV(list(alphas)).fit(x[:300], y[:300]).predict(x[300:])[:, None]
        heads.append(HeadResult(kind, measure("regression", y[300:], outputs, 1), ["course"], {"alpha": f"{alphas[0]:g}"}, 0.1))
    mistakes = [replace(item, truth="151", predicted="288.4", probability=None) for item in digits().mistakes[:3]]
    return replace(everything(), dataset="diabetes", heads=heads, mistakes=mistakes, mistakes_head="ridge")


def empty() -> ReportData:
    """Nothing but a name: no image, no stage has run."""
    return ReportData(
        dataset="empty",
        source="memory://empty",
        feature_set="memory://features/empty/0",
        made_at=datetime(2026, 11, 5, 9, 30, tzinfo=UTC),
        counts=RowCounts(ok=0, quarantined=0, pending=0),
        extracted=0,
        reused=0,
        images_per_second=None,
        stage_seconds={},
        work_seconds={},
        recipe={},
        environment={},
        quarantine=[],
        features=None,
    )


def many_classes(number: int = 120) -> ReportData:
    """`number` classes of a made-up head that is right 85 times in 100."""
    generator = np.random.default_rng(0)
    classes = [f"n{i:05} breed of dog" for i in range(number)]
    truth = generator.integers(0, number, 6000)
    predicted = np.where(generator.random(6000) < 0.85, truth, (truth + generator.geometric(0.4, 6000)) % number)
    centres = generator.normal(size=(number, 2)) * 12
    return replace(
        digits(),
        heads=[HeadResult("softmax", Metrics.of(truth, predicted, number), classes, {}, 2.25)],
        points=centres[truth] + generator.normal(size=(6000, 2)),
        point_labels=[classes[i] for i in truth],
    )


def hostile() -> ReportData:
    """The digits, with text everywhere that would break out of HTML, SVG or the layout if it were let through."""
    report = everything()
    names = [HOSTILE, LONG, *report.heads[0].classes[2:]]
    candidate = Candidate({HOSTILE: LONG, LONG: HOSTILE}, float("nan"), float("nan"))
    return replace(
        report,
        dataset=HOSTILE,
        source=LONG,
        feature_set=HOSTILE + LONG,
        stage_seconds={HOSTILE: 1.0, LONG: 2.0},
        work_seconds={LONG: 1.0, HOSTILE: 2.0},
        recipe={HOSTILE: LONG, LONG: HOSTILE},
        environment={HOSTILE: HOSTILE},
        quarantine=[Quarantined(HOSTILE, HOSTILE, HOSTILE), Quarantined(LONG, LONG, LONG)],
        features=replace(report.features, layer=HOSTILE + LONG, dtype=HOSTILE) if report.features else None,
        heads=[
            replace(
                item,
                kind=HOSTILE + LONG,
                classes=names,
                chosen={HOSTILE: LONG},
                candidates=[candidate],
                candidates_by=HOSTILE + LONG,
            )
            for item in report.heads
        ],
        filter_score=HOSTILE + LONG,
        learning_score=HOSTILE + LONG,
        drift=[BatchDrift(0, 3, float("nan"), [(HOSTILE + LONG, float("nan"))], warned=True)],
        drift_measure=HOSTILE + LONG,
        pictures={0: Picture(HOSTILE, b"'\"><script>"), 1: Picture(LONG, b"")},
        point_labels=[names[int(label)] for label in report.point_labels],
        points_method=HOSTILE + LONG,
        mistakes=[
            Mistake(LONG, HOSTILE, LONG, 0.99999, None),
            Mistake(
                HOSTILE, LONG, HOSTILE, 0.5, report.mistakes[0].thumbnail, (Heat(HOSTILE, b"'\"><script>"), Heat(LONG, b""))
            ),
        ],
        mistakes_head=HOSTILE,
        notes=[HOSTILE, LONG],
    )


class Document(HTMLParser):
    """Elements with their attributes, the text of each section, and a check that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        self.section = attributes.get("id", "") if tag in ("section", "footer") else "top" if tag == "header" else self.section
        self.handle_data(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self.section] = self.texts.get(self.section, "") + data

    def text(self, section: str) -> str:
        return " ".join(self.texts[section].split())


def drawn(data: ReportData) -> Document:
    return Document(page.render(data))


@cache
def drawn_once(example: Callable[[], ReportData]) -> Document:
    """Of an example as it is, for the many tests that only read it."""
    return drawn(example())
