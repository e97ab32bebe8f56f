"""Training rows as blocks: held in memory by whoever works on them as far as they fit, read again from the store in each pass where not.

A pass is `TrainingData.reduce`: a function of a block gives sums, which are added up in row order. The serial loop and Dask workers
add the same sums in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import Executor, SerialExecutor
from trunkline.heads.passes import Block, Group, Pass, Sums, Total, forget, of_group
from trunkline.heads.protocol import Features
from trunkline.heads.readers import InMemory, Reader, Rows
from trunkline.heads.standard import Standard, prepared
from trunkline.heads.targets import Target, Truth

BLOCK_BYTES = 16 * 2**20  # of whole shards in the store, before the mask
GROUPS = 16  # of blocks; fixed, so that sums do not depend on the number of workers
HELD_BYTES = 640 * 2**20  # of features that one process keeps between passes


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Masked features and truth of training rows.

    Parameters
    ----------
    reader, columns : what reads (n, kept) features, and which columns are kept.
    rows : (n,) row numbers, ascending.
    target, truth : what is predicted, and of each row.
    folds : (n,) int8, the fold that holds a row out.
    executor : where passes are worked on.
    standard : what blocks are standardised by; None for features as stored.
    """

    reader: Reader
    columns: NDArray[np.bool_] | None
    width: int
    rows: Rows
    target: Target
    truth: Truth
    folds: NDArray[np.int8]
    executor: Executor
    standard: Standard | None = None
    held_bytes: int = HELD_BYTES

    @classmethod
    def in_memory(cls, x: Features, target: Target, truth: Truth, folds: NDArray[np.int8] | None = None) -> TrainingData:
        """Of (n, kept) features in this process."""
        folds = np.zeros(len(x), np.int8) if folds is None else folds
        return cls(InMemory(x), None, x.shape[1], np.arange(len(x)), target, truth, folds, SerialExecutor())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Of all features, float32."""
        return len(self.rows) * self.width * 4

    def reduce(self, function: Callable[[Block, Any], Sums], state: Any = None) -> Sums:
        """One pass: the sums of `function(block, state)` over all blocks.

        `function` is at module level and gives a tuple of numbers and arrays of fixed shapes; it may be called again for a block
        whose worker died.
        """
        job = Pass(function, state, self.reader, self.columns, self.standard, self.token, self.held_bytes)
        total, waiting = Total(), dict[int, Sums]()
        for number, sums in self._worked(job):
            waiting[number] = sums
            while total.parts in waiting:
                total.add(waiting.pop(total.parts))
        return total.sums

    def _worked(self, job: Pass) -> Iterator[tuple[int, Sums]]:
        """In this process a thread a core, whose matrix products have one thread each: so their bits are those of Dask's workers."""
        if not isinstance(self.executor, SerialExecutor):
            yield from self.executor.map(of_group, job, self._groups)
            return
        with _thread_pools().limit(limits=1, user_api="blas"), ThreadPoolExecutor(self.executor.threads) as pool:
            yield from pool.map(partial(of_group, job), self._groups)

    def blocks(self) -> Iterator[Block]:
        """All blocks in row order, read in this process."""
        for first, last in self._cuts:
            yield self._block(first, last)

    def whole(self) -> Features:
        """(n, kept), all rows in memory. Ask `nbytes` first."""
        return self._prepared(self.reader.read(self.rows, self.columns))

    def subset(self, places: NDArray[np.int64]) -> TrainingData:
        """These training places, ascending, as data of their own."""
        return replace(self, rows=self.rows[places], truth=self.truth[places], folds=self.folds[places])

    def spread(self, rows: int) -> TrainingData:
        """Whole blocks, evenly spread, of at least so many rows in all, or all of them: cheaper to read than rows at random."""
        wanted = -(-rows * len(self._cuts) // max(len(self), 1))
        if wanted >= len(self._cuts):
            return self
        chosen = np.linspace(0, len(self._cuts) - 1, wanted).round().astype(int).tolist()
        return self.subset(np.concatenate([np.arange(*self._cuts[number]) for number in chosen]))

    def sampled(self, most_bytes: int, seed: int) -> TrainingData:
        """Itself where it fits; else as many rows as fit, drawn at random, of classes each in proportion and at least one."""
        most = max(most_bytes // (self.width * 4), 2)
        if len(self) <= most:
            return self
        return self.subset(np.sort(_drawn(self.target, self.truth, int(most), np.random.default_rng(seed))))

    def standardised(self) -> TrainingData:
        """The same with standardised blocks; a pass over the rows finds mean and deviation."""
        return self if self.standard else replace(self, standard=standard_of(self))

    def release(self) -> None:
        """Give back what processes hold of these rows."""
        self.executor.everywhere(forget)

    @cached_property
    def _cuts(self) -> list[tuple[int, int]]:
        return self.reader.cut(self.rows, BLOCK_BYTES)

    @cached_property
    def _groups(self) -> Sequence[Any]:
        edges = np.linspace(0, len(self._cuts), min(GROUPS, len(self._cuts)) + 1).astype(int).tolist()
        groups = []
        for number, (first, last) in enumerate(pairwise(edges)):
            cuts = tuple(self._cuts[first:last])
            inside = slice(cuts[0][0], cuts[-1][1])
            groups.append((number, Group(cuts, self.rows[inside], self.truth[inside], self.folds[inside])))
        return self.executor.hold(groups)

    @cached_property
    def token(self) -> str:
        """What names these features: reader, columns, rows, standard."""
        said = hashlib.sha256(repr(self.reader.__dask_tokenize__()).encode())
        for array in (self.columns, self.rows, *((self.standard.mean, self.standard.deviation) if self.standard else ())):
            said.update(b"|" if array is None else np.ascontiguousarray(array).tobytes())
        return said.hexdigest()

    def _block(self, first: int, last: int) -> Block:
        x = self._prepared(self.reader.read(self.rows[first:last], self.columns))
        return Block(first, x, self.truth[first:last], self.folds[first:last])

    def _prepared(self, features: NDArray[Any]) -> Features:
        return prepared(features, self.standard)


def standard_of(data: TrainingData) -> Standard:
    """Mean and deviation of all rows, from sums over deviations from the first row, float64."""
    origin = data.reader.read(data.rows[:1], data.columns)[0].astype(np.float64)
    count, total, squares = data.reduce(_deviations, origin)
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), 0.0)
    deviation = np.sqrt(variance)
    constant = deviation <= 1e-7 * np.abs(origin + mean)
    return Standard(
        (origin + mean).astype(np.float32), np.where(constant | (deviation == 0), 1.0, deviation).astype(np.float32)
    )


def _deviations(block: Block, origin: NDArray[np.float64]) -> Sums:
    x = block.x - origin
    return len(x), x.sum(axis=0), np.square(x).sum(axis=0)


def _drawn(target: Target, truth: Truth, most: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`most` places or a few more; of classes each gives its share, rounded up."""
    if target.kind != "classes":
        return random.choice(len(truth), most, replace=False)
    order = random.permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]
    counts = np.bincount(truth, minlength=target.outputs)
    inside = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[inside < np.repeat(np.ceil(counts * (most / len(truth))), counts)]


@cache
def _thread_pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
