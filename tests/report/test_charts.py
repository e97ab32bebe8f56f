"""The plots: what is drawn, what is left out, and that colours come from the page."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from trunkline.drift import BatchDrift
from trunkline.heads.curves import LearningPoint
from trunkline.report import charts
from trunkline.report.charts.cloud import MOST_POINTS
from trunkline.report.charts.confusion import RIGHT_RGB, WRONG_RGB
from trunkline.report.data import FilterPoint, LayerResult, Picture


def layer(variances: list[float], threshold: float = 0.0) -> LayerResult:
    values = np.array(variances)
    return LayerResult("avg_pool", "float32", values, values > threshold, threshold)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_histogram_takes_its_colours_from_the_page():
    svg = charts.variance_histogram(layer([0, 1e-4, 1e-3, 0.1, 1, 10], threshold=0.01))
    assert svg is not None
    for variable in ("--accent", "--muted", "--soft", "--rule", "--wrong"):
        assert f"var({variable})" in svg
    assert not re.search(r"(?:fill|stroke): ?#(?!none)", svg)


def test_histogram_gives_exact_zeros_a_bar_of_their_own():
    assert "0" in texts(charts.variance_histogram(layer([0, 0, 0.01, 1])) or "")[0]
    assert texts(charts.variance_histogram(layer([0.01, 1])) or "")[0] == "10⁻²"


def test_histogram_without_positive_variances_is_not_drawn():
    assert charts.variance_histogram(layer([0, 0])) is None
    assert charts.variance_histogram(layer([])) is None
    assert charts.variance_histogram(layer([float("nan")])) is None


def test_histogram_draws_dropped_columns_only_where_there_are_some():
    everything = charts.variance_histogram(layer([0.5, 1, 2], threshold=0.1))
    nothing = charts.variance_histogram(layer([0.5, 1, 2], threshold=5))
    assert everything is not None
    assert nothing is not None
    kept, dropped = r"<path[^>]*fill: var\(--accent\)", r"<path[^>]*fill: var\(--muted\)"
    heights = {name: _heights(svg) for name, svg in (("everything", everything), ("nothing", nothing))}
    assert re.search(kept, everything)
    assert re.search(dropped, nothing)
    assert heights["everything"]["--accent"] > 0
    assert heights["everything"]["--muted"] == 0
    assert heights["nothing"]["--accent"] == 0
    assert heights["nothing"]["--muted"] > 0


def _heights(svg: str) -> dict[str, float]:
    """Sum of the heights of the bars of each colour, in the drawing's units."""
    sums = {"--accent": 0.0, "--muted": 0.0}
    for path, colour in re.findall(r'<path d="([^"]+)" clip-path="[^"]*" style="fill: var\((--\w+)\)"', svg):
        ys = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)]
        sums[colour] += max(ys) - min(ys)
    return sums


@pytest.mark.parametrize(("threshold", "lines"), [(0.0, 0), (0.01, 1), (1e-9, 1), (1e6, 1)])
def test_histogram_shows_the_threshold_wherever_it_lies(threshold, lines):
    svg = charts.variance_histogram(layer([0.001, 0.1, 1], threshold))
    assert svg is not None
    assert svg.count("stroke-dasharray") == lines


def test_histogram_of_one_variance_and_of_unknown_ones():
    assert charts.variance_histogram(layer([0.3]))
    assert charts.variance_histogram(layer([0.3, float("nan"), float("inf")]))


def test_histogram_is_the_same_twice_and_holds_no_date():
    first, second = (charts.variance_histogram(layer([0, 0.1, 1])) for _ in range(2))
    assert first == second
    assert "<metadata>" not in (first or "")


def test_cells_are_coloured_by_share_of_the_truth():
    cells = charts.confusion_cells(np.array([[6, 2, 0], [0, 0, 0], [0, 0, 4]]))
    assert [[cell.count for cell in row] for row in cells] == [[6, 2, 0], [0, 0, 0], [0, 0, 4]]
    assert cells[0][0] == charts.Cell(6, 0.75, right=True)
    assert cells[0][1] == charts.Cell(2, 0.63, right=False)
    assert cells[1][1].strength == 0
    assert cells[2][2].strength == 1


def test_image_has_a_pixel_a_cell_and_is_transparent_where_nothing_is():
    confusion = np.diag(np.full(120, 9))
    confusion[3, 5] = 1
    head, _, encoded = charts.confusion_image(confusion).partition(",")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert head == "data:image/png;base64"
    assert picture.shape == (120, 120, 4)
    assert tuple(picture[0, 0]) == (*RIGHT_RGB, 255)
    assert tuple(picture[3, 5, :3]) == WRONG_RGB
    assert 0 < picture[3, 5, 3] < 255
    assert picture[5, 3, 3] == 0


def scattered(count: int, classes: int) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, 2)), [f"class {i % classes:02}" for i in range(count)]


def test_each_of_twenty_classes_looks_different():
    cloud = charts.cloud(*scattered(200, 20))
    assert cloud is not None
    assert [group.label for group in cloud.groups] == [f"class {i:02}" for i in range(20)]
    assert len({group.style for group in cloud.groups}) == 20
    assert cloud.others == 0


def test_of_more_classes_the_most_frequent_are_coloured():
    points, labels = scattered(210, 21)
    labels[:2] = ["class 20"] * 2
    cloud = charts.cloud(points, labels)
    assert cloud is not None
    assert len(cloud.groups) == 11
    assert cloud.groups[-1].style == "rest"
    assert cloud.others == 11
    assert "class 20" in [group.label for group in cloud.groups]
    assert sum(group.count for group in cloud.groups) == 210


def test_every_point_lies_inside_the_drawing_and_none_is_lost():
    points, labels = scattered(300, 12)
    points[:, 1] *= 50
    cloud = charts.cloud(points, labels)
    assert cloud is not None
    drawn = [(float(x), float(y)) for group in cloud.groups for x, y in re.findall(r"M(\S+) ([\d.-]+?)(?=h0|l-)", group.path)]
    assert len(drawn) == 300
    assert all(0 <= x <= cloud.width and 0 <= y <= cloud.height for x, y in drawn)
    assert Counter(labels) == {group.label: group.count for group in cloud.groups}


def test_scale_is_the_same_both_ways_and_y_points_upwards():
    cloud = charts.cloud(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), ["origin", "right", "up"])
    assert cloud is not None
    origin, right, up = (np.array(group.centre) for group in cloud.groups)
    assert right[0] - origin[0] == pytest.approx(2 * (origin[1] - up[1]), abs=0.3)
    assert up[1] < origin[1]


def test_points_that_are_not_finite_are_left_out():
    cloud = charts.cloud(np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, np.inf], [1.0, 1.0]]), list("abca"))
    assert cloud is not None
    assert [(group.label, group.count) for group in cloud.groups] == [("a", 2)]


def test_too_many_points_are_thinned():
    cloud = charts.cloud(*scattered(2 * MOST_POINTS + 1, 5))
    assert cloud is not None
    assert MOST_POINTS // 2 < cloud.shown <= MOST_POINTS


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]), np.eye(2)])
def test_degenerate_clouds_and_missing_labels(points):
    cloud = charts.cloud(points, [])
    assert cloud is not None
    assert [group.label for group in cloud.groups] == ["no label"]
    assert "nan" not in cloud.groups[0].path


def test_no_points_no_cloud():
    assert charts.cloud(np.empty((0, 2)), []) is None
    assert charts.cloud(np.full((2, 2), np.nan), ["a", "b"]) is None


def test_captions_do_not_cover_each_other():
    points = np.array([[0.0, 0.0], [5.0, 5.0], [5.0, 5.1], [10.0, 10.0]])
    cloud = charts.cloud(points, ["", "middle", "twin of the middle, with a long name", "end"])
    assert cloud is not None
    captions = {group.label: group.caption for group in cloud.groups}
    assert captions["middle"] == "middle"
    assert captions["twin of the middle, with a long name"] == ""


def test_pictures_lie_where_their_points_are_drawn():
    points, labels = scattered(100, 4)
    points[3] = np.nan
    pictures = {number: Picture(f"{number}.jpg", b"x") for number in (0, 3, 4, 50)}
    cloud = charts.cloud(points, labels, pictures)
    assert cloud is not None
    assert sorted(hit.picture.id for hit in cloud.hits) == ["0.jpg", "4.jpg", "50.jpg"], "what is not drawn has no picture"
    for hit in cloud.hits:
        (group,) = [group for group in cloud.groups if group.label == hit.label]
        assert f"M{hit.x:.1f} {hit.y:.1f}h0" in group.path


def test_pictures_of_thinned_points_keep_their_own():
    points, labels = scattered(2 * MOST_POINTS + 2, 1)
    pictures = {number: Picture(f"{number}", b"") for number in range(len(points))}
    cloud = charts.cloud(points, labels, pictures)
    assert cloud is not None
    assert len(cloud.hits) == cloud.shown
    step = len(points) // cloud.shown + 1
    assert all(int(hit.picture.id) % step == 0 for hit in cloud.hits)


HOSTILE_LABEL = "$\\frac{1}{2}$ 漢字\n"
POINTS = [FilterPoint(8, 2**20, 0.5, False), FilterPoint(64, 2**23, 0.9, True), FilterPoint(3, 1, float("nan"), False)]
LEARNT = [LearningPoint(2, 20, 0.6, 0.5, 0.7), LearningPoint(64, 640, 0.9, float("nan"), float("nan"))]
BATCHES = [BatchDrift(3, 10, 0.1, [], False), BatchDrift(9, 10, 0.7, [], True), BatchDrift(10, 1, float("nan"), [], True)]


@pytest.mark.parametrize("measure", ["macro-F1", "R²", HOSTILE_LABEL, ""])
def test_labels_that_the_font_lacks_are_not_drawn(measure):
    curve = charts.filter_curve(POINTS, measure) or ""
    assert ("macro-F1" if measure == "macro-F1" else "R²" if measure == "R²" else "score") in texts(curve)
    assert (charts.learning_curve(LEARNT, measure) or "") != ""


def test_the_learning_curve_has_its_sizes_on_a_log_axis():
    drawn = texts(charts.learning_curve(LEARNT, "score") or "")
    assert drawn[:3] == ["2", "64", "labelled images a class"]
    by_rows = texts(charts.learning_curve([LearningPoint(0, 20, 0.6, 0.5, 0.7), LEARNT[1]], "score") or "")
    assert by_rows[:3] == ["20", "640", "labelled images"]


def test_batches_that_were_warned_of_are_drawn_in_another_colour():
    svg = charts.drift_bars(BATCHES, 0.5) or ""
    assert texts(svg)[:2] == ["3", "9"]
    assert len(re.findall(r'<path d="[^"]+" clip-path="[^"]*" style="fill: var\(--wrong\)"', svg)) == 1
    assert svg.count("stroke-dasharray") == 1
    assert (charts.drift_bars(BATCHES, None) or "").count("stroke-dasharray") == 0


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_curves_of_any_length_are_drawn_without_a_warning(rows):
    assert charts.learning_curve([LearningPoint(2**i, 2**i * 3, 0.5, 0.5, 0.5) for i in range(rows)], "score")
    assert charts.drift_bars([BatchDrift(i, 3, 0.0, [], False) for i in range(rows)], 0.0)
