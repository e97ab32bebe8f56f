"""The plots: what is drawn, what is left out, and that colours come from the page."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from trunkline.report import charts
from trunkline.report.data import LayerResult


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
    assert tuple(picture[0, 0]) == (*charts.RIGHT_RGB, 255)
    assert tuple(picture[3, 5, :3]) == charts.WRONG_RGB
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
    cloud = charts.cloud(*scattered(2 * charts.MOST_POINTS + 1, 5))
    assert cloud is not None
    assert charts.MOST_POINTS // 2 < cloud.shown <= charts.MOST_POINTS


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
