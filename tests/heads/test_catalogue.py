"""From a spec to the head it names, and from files to a head."""

from __future__ import annotations

import pytest

from tests.heads.made import CLASSES, data_of
from trunkline.errors import CorruptStore
from trunkline.fan_out import SerialExecutor
from trunkline.heads.catalogue import fit_head, load_head
from trunkline.heads.protocol import Work


def test_what_is_no_head_is_refused():
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        fit_head("softmax", data_of(), Work(SerialExecutor()))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["softmax", "svm", "ridge", "centroid", "knn", "tree", "forest", "boosted", "mlp"])
def test_a_head_without_its_file_is_corrupt(kind):
    with pytest.raises(CorruptStore, match=rf"The saved {kind} head lacks the file '.*'\. Delete the head: it is fitted again"):
        load_head(kind, {}, CLASSES)


def test_a_kind_of_a_later_version_is_said():
    with pytest.raises(CorruptStore, match=r"it is of the kind 'oracle', which this version does not know"):
        load_head("oracle", {}, CLASSES)
