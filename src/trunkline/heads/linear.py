"""Softmax regression and linear SVM, L2, exact: C is chosen by cross-validation on standardised features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trunkline.heads.folds import usable_folds
from trunkline.heads.linear_head import Activation, LinearHead
from trunkline.heads.lockstep import CANDIDATE, FINAL, NOBODY, Fit, Problem, Solution, solve
from trunkline.heads.protocol import Candidate, Scores, Work
from trunkline.heads.standard import Standard
from trunkline.heads.training import TrainingData
from trunkline.specs import SoftmaxSpec, SvmSpec


def fit_linear(spec: SoftmaxSpec | SvmSpec, data: TrainingData, work: Work) -> LinearHead:
    """Choose C by cross-validation on the training rows, then fit on all of them.

    Raises
    ------
    DataError : a fit diverged.
    """
    data = data.standardised()
    problem = _problem(spec, data)
    path = sorted(spec.C)
    folds = usable_folds(data.target, data.truth, spec.folds)
    chosen, how, temperature = path[len(path) // 2], "the only one", 1.0
    table: Sequence[Candidate] = ()
    start = None
    if folds < 2:
        how = "the middle one: no class has two images to cross-validate with" if len(path) > 1 else how
    elif len(path) > 1 or problem.calibrated:
        scores, solutions = _cross_validated(spec, path, folds, problem, data, work)
        best = max(path, key=lambda c: (_mean(scores[c], "score"), -_mean(scores[c], "loss"), -c))
        table = [_candidate(c, scores[c], c == best) for c in path] if len(path) > 1 else []
        chosen, how = best, f"{folds}-fold cross-validation" if len(path) > 1 else how
        temperature = float(np.exp(np.mean([np.log(each.temperature) for each in scores[best]])))
        starts = [solutions[fit].weights for fit in solutions if fit.c == best]
        start = np.mean(starts, axis=0) if starts else None
    final = Fit(chosen, NOBODY)
    stop = replace(FINAL, iterations=spec.max_iterations)
    solution = solve([final], problem, data, stop, work, "all training images", {final: start} if start is not None else {})[
        final
    ]
    said = {"C": f"{chosen:g}", "chosen by": how, "iterations": str(solution.iterations)}
    notes = [] if solution.converged else [f"{spec.kind} stopped after {solution.iterations} iterations before it converged."]
    activation: Activation = "sigmoid" if data.target.kind == "multilabel" else "softmax"
    return LinearHead(_standard(data), solution.weights * temperature, activation, said, notes, table)


def _problem(spec: SoftmaxSpec | SvmSpec, data: TrainingData) -> Problem:
    weights = None
    if spec.class_weight == "balanced":
        weights = data.target.balance(data.truth)
    if spec.kind == "svm":
        return Problem(data.target, "squared_hinge", weights, calibrated=True)
    return Problem(data.target, "softmax" if data.target.kind == "classes" else "logistic", weights, calibrated=False)


def _cross_validated(
    spec: SoftmaxSpec | SvmSpec, path: Sequence[float], folds: int, problem: Problem, data: TrainingData, work: Work
) -> tuple[dict[float, list[Scores]], dict[Fit, Solution]]:
    """Scores of every candidate by fold, those of an earlier try as they were kept; and the fits that were made now."""
    keys = {Fit(c, fold): f"{spec.model_copy(update={'C': (c,)}).digest()}-{fold}" for c in path for fold in range(folds)}
    kept = {fit: work.log.get(key) for fit, key in keys.items()}

    def keep(fit: Fit, solution: Solution) -> None:
        assert solution.scores is not None
        work.log.put(keys[fit], solution.scores)
        kept[fit] = solution.scores

    missing = [fit for fit, scores in kept.items() if scores is None]
    in_folds = replace(data, folds=(data.folds % folds).astype(np.int8))
    stop = replace(CANDIDATE, iterations=spec.max_iterations)
    solutions = solve(missing, problem, in_folds, stop, work, "cross-validation", done=keep)
    return {c: [scores for fit, scores in kept.items() if fit.c == c and scores] for c in path}, solutions


def _candidate(c: float, scores: Sequence[Scores], chosen: bool) -> Candidate:
    each = [one.score for one in scores]
    return Candidate({"C": f"{c:g}"}, float(np.mean(each)), float(np.std(each)), chosen)


def _mean(scores: Sequence[Scores], what: str) -> float:
    return round(float(np.mean([getattr(each, what) for each in scores])), 9)


def _standard(data: TrainingData) -> Standard:
    assert data.standard is not None
    return data.standard
