"""L-BFGS against functions whose minimum is known, and against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from trunkline.heads.lbfgs import Minimiser, Stop


def minimised(function, start: np.ndarray, stop: Stop, **settings) -> tuple[Minimiser, int]:
    minimiser, asked = Minimiser(start, stop, **settings), 0
    while not minimiser.done:
        minimiser.tell(*function(minimiser.point))
        asked += 1
        assert asked < 5000
    return minimiser, asked


def quadratic(scales: np.ndarray):
    return lambda x: (float(0.5 * (scales * np.square(x - 3.0)).sum()), scales * (x - 3.0))


def logistic(rows: int, seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, 8)), rng.choice([-1.0, 1.0], rows)

    def function(w: np.ndarray) -> tuple[float, np.ndarray]:
        margins = y * (x @ w)
        slope = -y / (1.0 + np.exp(margins))
        return float(np.logaddexp(0.0, -margins).mean() + 0.005 * w @ w), x.T @ slope / rows + 0.01 * w

    return function


def test_a_quadratic_ends_at_its_minimum_whatever_its_scales():
    found, _ = minimised(quadratic(np.geomspace(1e-2, 1e2, 30)), np.zeros(30), Stop(1e-9, 0.0, 2000))
    np.testing.assert_allclose(found.best, 3.0, atol=1e-5)
    assert found.converged


@pytest.mark.parametrize("seed", range(5))
def test_it_ends_where_scipys_does(seed):
    function = logistic(200, seed)
    found, asked = minimised(function, np.zeros(8), Stop(1e-8, 0.0, 500))
    theirs = minimize(function, np.zeros(8), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 1e-15})
    assert found.value == pytest.approx(theirs.fun, rel=1e-9)
    np.testing.assert_allclose(found.best, theirs.x, atol=1e-5)
    assert asked <= 2 * theirs.nfev + 10


def test_what_is_known_of_the_hessian_saves_steps():
    scales = np.geomspace(1e-2, 1e2, 30)
    plain, many = minimised(quadratic(scales), np.zeros(30), Stop(1e-9, 0.0, 2000))
    known, few = minimised(quadratic(scales), np.zeros(30), Stop(1e-9, 0.0, 2000), precondition=lambda g: g / (1.1 * scales))
    np.testing.assert_allclose(known.best, plain.best, atol=1e-5)
    assert few < many / 3


def test_it_stops_after_so_many_iterations_and_says_that_it_did_not_converge():
    found, _ = minimised(quadratic(np.geomspace(1e-2, 1e2, 30)), np.zeros(30), Stop(0.0, 0.0, 3))
    assert (found.iterations, found.converged) == (3, False)


def test_it_starts_at_the_minimum_and_is_done():
    found, asked = minimised(quadratic(np.ones(3)), np.full(3, 3.0), Stop(1e-6, 1e-9, 10))
    assert (asked, found.iterations, found.converged) == (1, 0, True)


def test_a_function_that_is_not_finite_at_the_start_ends_it():
    found, asked = minimised(lambda x: (float("nan"), np.zeros_like(x)), np.zeros(2), Stop())
    assert asked == 1
    assert not np.isfinite(found.value)


def test_a_step_into_infinity_is_shortened():
    def function(x: np.ndarray) -> tuple[float, np.ndarray]:  # −log x + x: infinite from 0 down
        with np.errstate(all="ignore"):
            value = float((x - np.log(x)).sum()) if (x > 0).all() else float("inf")
            return value, 1.0 - 1.0 / x

    found, _ = minimised(function, np.array([0.01]), Stop(1e-8, 0.0, 200))
    assert found.best[0] == pytest.approx(1.0, abs=1e-6)
