"""L-BFGS as a dialogue: it names a point, is told value and gradient there, and names the next. Many fits can share a pass over the data.

Source: J. Nocedal, S. Wright, "Numerical Optimization" (2006), algorithm 7.5; the line search brackets a step that meets the weak
Wolfe conditions (A. Lewis, M. Overton, "Nonsmooth optimization via quasi-Newton methods", 2013), with quadratic interpolation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
SUFFICIENT, CURVATURE = 1e-4, 0.9
MOST_STEPS = 25  # of one line search
NOISE = 1e-9  # relative, of a value made of float32 products


@dataclass(frozen=True)
class Stop:
    """When a fit is done.

    Parameters
    ----------
    gradient : largest absolute entry of the gradient.
    decrease : smallest decrease of the value in an iteration, as a share of the value, and of all that it has decreased.
    iterations : at most.
    """

    gradient: float = 1e-6
    decrease: float = 1e-8
    iterations: int = 300


class Minimiser:
    """One smooth convex function.

    Parameters
    ----------
    start : (d,) float64.
    stop : when it is done.
    memory : pairs of steps and gradient changes that are kept.
    origin : the value from which it counts as decreased; by default that at the start, which may be near the minimum already.
    precondition : gives an approximate inverse Hessian times a gradient; what is known of the function before the first step.
    """

    def __init__(
        self,
        start: Vector,
        stop: Stop,
        memory: int = 10,
        origin: float | None = None,
        precondition: Callable[[Vector], Vector] | None = None,
    ) -> None:
        self.point = np.array(start, np.float64)  # where value and gradient are wanted
        self.best, self.value, self.iterations = self.point, np.inf, 0
        self.done, self.converged = False, False
        self._stop, self._precondition = stop, precondition or _unchanged
        self._known, self._origin = precondition is not None, origin
        self._pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=memory)
        self._gradient: Vector = np.zeros(0)
        self._direction: Vector = np.zeros(0)
        self._slope, self._step, self._low, self._high, self._steps = 0.0, 1.0, 0.0, np.inf, 0

    def tell(self, value: float, gradient: Vector) -> bool:
        """Value and gradient at `point`; True where the point was taken, as the best so far."""
        if not self._gradient.size:
            self._take(value, gradient)
            return True
        self._steps += 1
        enough = value <= self.value + SUFFICIENT * self._step * self._slope + NOISE * abs(self.value)
        if not (np.isfinite(value) and enough):
            self._high = self._step
            return self._try_shorter(value)
        if float(gradient @ self._direction) < CURVATURE * self._slope and self._steps < MOST_STEPS:
            self._low = self._step
            self._step = 2.0 * self._step if np.isinf(self._high) else 0.5 * (self._low + self._high)
            self.point = self.best + self._step * self._direction
            return False
        self._take(value, gradient)
        return True

    def _try_shorter(self, value: float) -> bool:
        if self._steps >= MOST_STEPS:  # as far as float32 products can tell
            self.done, self.converged = True, bool(np.isfinite(self.value))
            return False
        bend = value - self.value - self._step * self._slope
        guess = -self._slope * self._step**2 / (2.0 * bend) if np.isfinite(bend) and bend > 0 else 0.0
        width = self._high - self._low
        self._step = min(max(guess, self._low + 0.1 * width), self._low + 0.9 * width)
        self.point = self.best + self._step * self._direction
        return False

    def _take(self, value: float, gradient: Vector) -> None:
        if self._gradient.size:
            step, change = self.point - self.best, gradient - self._gradient
            curvature = float(step @ change)
            if curvature > 1e-12 * float(change @ change):
                self._pairs.append((step, change, curvature))
            self.iterations += 1
            self.converged = self.value - value <= self._stop.decrease * min(abs(value), self._decreased(value))
        self.best, self.value, self._gradient = self.point, value, gradient
        self.converged = self.converged or float(np.abs(gradient).max()) <= self._stop.gradient
        self.done = self.converged or self.iterations >= self._stop.iterations or not np.isfinite(value)
        if not self.done:
            self._start_line_search()

    def _decreased(self, value: float) -> float:
        """By how much, in all."""
        self._origin = self.value if self._origin is None else self._origin
        return max(self._origin - value, 0.0)

    def _start_line_search(self) -> None:
        self._direction = -self._product(self._gradient)
        self._slope = float(self._gradient @ self._direction)
        if self._slope >= 0:  # rounding has spoilt the pairs
            self._pairs.clear()
            self._direction = -self._gradient
            self._slope = -float(self._gradient @ self._gradient)
        self._step = 1.0 if self._pairs or self._known else 1.0 / max(float(np.linalg.norm(self._gradient)), 1e-12)
        self._low, self._high, self._steps = 0.0, np.inf, 0
        self.point = self.best + self._step * self._direction

    def _product(self, gradient: Vector) -> Vector:
        """The two-loop recursion: the approximate inverse Hessian times the gradient."""
        out = gradient.copy()
        factors = []
        for step, change, curvature in reversed(self._pairs):
            factor = float(step @ out) / curvature
            out -= factor * change
            factors.append(factor)
        out = self._precondition(out)
        if self._pairs:
            _, change, curvature = self._pairs[-1]
            out *= curvature / float(change @ self._precondition(change))
        for (step, change, curvature), factor in zip(self._pairs, reversed(factors), strict=True):
            out += (factor - float(change @ out) / curvature) * step
        return out


def _unchanged(vector: Vector) -> Vector:
    return vector
