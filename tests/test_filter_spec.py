"""What may be asked of the variance filter, and what goes with what."""

from __future__ import annotations

import math

import pytest

from trunkline.errors import SpecError
from trunkline.specs import RunSpec, SelectSpec, build_spec


def test_new_rules_at_their_defaults_leave_the_digest_as_it_was():
    assert SelectSpec().digest() == "44136fa355b3678a"
    assert SelectSpec(quantile=None, min_active=0.0, duplicates=None).digest() == "44136fa355b3678a"
    rules = [{"quantile": 0.1}, {"min_active": 0.1}, {"duplicates": 0.9}, {"threshold": 0.1}]
    assert len({SelectSpec(**rule).digest() for rule in rules} | {SelectSpec().digest()}) == 5


def test_a_warning_of_drift_changes_no_mask():
    assert RunSpec(source="a", store="b").drift_warning == 0.5
    assert RunSpec(source="a", store="b", drift_warning=2.0).select.digest() == SelectSpec().digest()


@pytest.mark.parametrize(
    ("rules", "both"),
    [
        ({"threshold": 0.1, "quantile": 0.2}, "threshold and quantile both say"),
        ({"threshold": 0.1, "relative_threshold": 0.2}, "threshold and relative_threshold both say"),
        ({"quantile": 0.1, "relative_threshold": 0.2}, "quantile and relative_threshold both say"),
    ],
)
def test_one_rule_says_how_much_variance_is_enough(rules, both):
    with pytest.raises(SpecError, match=rf"{both} how much variance is enough; give one of"):
        build_spec({"source": "a", "store": "b", "select": rules}, "here")


def test_activity_and_duplicates_go_with_each_rule():
    for rule in ({"threshold": 0.1}, {"quantile": 0.1}, {"relative_threshold": 0.1}):
        assert SelectSpec(min_active=0.1, duplicates=0.9, **rule).duplicates == 0.9


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("quantile", 1.0, "less than 1"),
        ("quantile", -0.1, "greater than or equal to 0"),
        ("min_active", 1.0, "less than 1"),
        ("min_active", -0.1, "greater than or equal to 0"),
        ("duplicates", 0.0, "greater than 0"),
        ("duplicates", 1.1, "less than or equal to 1"),
        ("threshold", -1.0, "greater than or equal to 0"),
        *((name, math.nan, "finite") for name in SelectSpec.model_fields),
        ("threshold", math.inf, "finite"),
    ],
)
def test_values_outside_their_range_are_refused(key, value, why):
    with pytest.raises(SpecError, match=rf"'select\.{key}' is {value}: .*{why}"):
        build_spec({"source": "a", "store": "b", "select": {key: value}}, "here")


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_drift_to_warn_of_is_a_number(value):
    with pytest.raises(SpecError, match=rf"'drift_warning' is {value}: "):
        build_spec({"source": "a", "store": "b", "drift_warning": value}, "here")
