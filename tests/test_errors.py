"""The exception tree: what the command line exits with, and near words."""

from __future__ import annotations

import inspect

import pytest

from trunkline import errors


def tree() -> list[type[errors.TrunklineError]]:
    found = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    return [each for each in found if issubclass(each, errors.TrunklineError) and each is not errors.TrunklineError]


def test_whatever_the_user_can_change_exits_2_and_a_failed_run_exits_1():
    codes = {each.__name__: each.exit_code for each in tree()}
    user = {"UserError", "SpecError", "SourceError", "BackboneError", "ClusterError", "StoreError", "DataError"}
    run = {
        "RunError",
        "TooManyBadImages",
        "LeaseHeld",
        "LeaseLost",
        "RunEnded",
        "StorageError",
        "StorageUnreachable",
        "CorruptStore",
        "GoldenMismatch",
    }
    assert codes == dict.fromkeys(user, 2) | dict.fromkeys(run, 1)


@pytest.mark.parametrize("each", tree(), ids=lambda each: each.__name__)
def test_the_drawing_at_the_top_shows_each_class_under_its_parent(each):
    lines = (errors.__doc__ or "").splitlines()
    depth = {line.replace("│", " ").lstrip(" ├└─").split()[0]: line.find("─") for line in lines if "──" in line}
    assert depth[each.__name__] == 4 * (len(each.__mro__) - 5) + 1


def test_an_unreadable_image_is_no_error_of_a_run():
    assert not issubclass(errors.UnreadableImage, errors.TrunklineError)


@pytest.mark.parametrize(("detail", "text"), [("", "empty"), ("zero bytes", "empty: zero bytes")])
def test_an_unreadable_image_says_reason_and_detail(detail, text):
    error = errors.UnreadableImage("empty", detail)
    assert (str(error), error.reason, error.detail) == (text, "empty", detail)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("avg_pol", " Did you mean avg_pool?"),
        ("head_rel", " Did you mean head_relu or head_bn?"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_did_you_mean_names_at_most_two_near_words(wrong, said):
    assert errors.did_you_mean(wrong, ["avg_pool", "head_relu", "head_bn", "head_conv"]) == said
