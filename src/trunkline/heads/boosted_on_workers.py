"""XGBoost on Dask workers: each reads its own rows from the store, and the same rows go to the same rank in every run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import RunError
from trunkline.fan_out import INFRASTRUCTURE_RETRIES, DaskExecutor, workers_of
from trunkline.heads.protocol import Features
from trunkline.heads.readers import Reader, Rows
from trunkline.heads.training import TrainingData
from trunkline.heads.watching import WorkerLostError, while_there

log = logging.getLogger(__name__)

RESTART_SECONDS = 60  # within which a worker that died comes back
PIECE_BYTES = 64 * 2**20  # of features as stored; a worker's rows are read in such pieces


@dataclass(frozen=True, eq=False)
class _Piece:
    """Consecutive training rows of one worker."""

    reader: Reader
    columns: NDArray[np.bool_] | None
    rows: Rows
    truth: NDArray[np.float32]
    weights: NDArray[np.float32] | None


def trained_on_workers(
    settings: Mapping[str, Any],
    rounds: int,
    data: TrainingData,
    truth: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    executor: DaskExecutor,
) -> Any:
    """A Booster; begun again where a worker is lost, as XGBoost cannot go on without it.

    Raises
    ------
    RunError : workers were lost again and again, or XGBoost failed.
    """
    import xgboost

    client = executor.client
    for _ in range(1 + INFRASTRUCTURE_RETRIES):
        client.wait_for_workers(1, timeout=RESTART_SECONDS)
        homes = _workers(client)[: len(data)]

        def trained(homes: Sequence[str] = homes) -> Any:
            with client.as_current():
                matrix = _matrix(data, truth, weights, homes, client)
                return xgboost.dask.train(client, dict(settings), matrix, num_boost_round=rounds)["booster"]

        try:
            return while_there(trained, homes, client)
        except WorkerLostError:
            log.warning("A worker was lost while XGBoost trained on %d; it begins again", len(homes))
        except xgboost.core.XGBoostError as error:
            words = " ".join(str(error).split())[:500]
            raise RunError(f"XGBoost failed on the Dask workers: {words}. Candidates that were compared are kept.") from error
    raise RunError(
        f"Workers were lost {1 + INFRASTRUCTURE_RETRIES} times while XGBoost trained on them, probably out of memory. Start the same "
        "command again with fewer workers, or with less memory for heads, which takes a sample; candidates that were compared are kept."
    )


def _matrix(
    data: TrainingData, truth: NDArray[np.float32], weights: NDArray[np.float32] | None, homes: Sequence[str], client: Any
) -> Any:
    """Dask arrays of pieces as XGBoost's matrix, each piece on its worker."""
    import dask.array
    import xgboost.dask

    shares = _shares(data, truth, weights, len(homes))
    pieces = [(home, piece) for home, some in zip(homes, shares, strict=True) for piece in some]

    def there(home: str, function: Any, *arguments: Any) -> Any:
        return client.submit(function, *arguments, workers=[home], allow_other_workers=False, pure=False)

    held = [there(home, _itself, piece) for home, piece in pieces]

    def array(read: Any, width: tuple[int, ...]) -> Any:
        futures = [there(home, read, each) for each, (home, _) in zip(held, pieces, strict=True)]
        shapes = [(len(piece.rows), *width) for _, piece in pieces]
        delayed = [dask.delayed(future) for future in futures]
        parts = [dask.array.from_delayed(each, shape, np.float32) for each, shape in zip(delayed, shapes, strict=True)]
        return dask.array.concatenate(parts, axis=0), futures

    x, x_parts = array(_features, (data.width,))
    label, label_parts = array(_truth, truth.shape[1:])
    weight, weight_parts = array(_weights, ()) if weights is not None else (None, [None] * len(pieces))
    matrix = xgboost.dask.DaskQuantileDMatrix(client, x, label, weight=weight)
    # where a piece lies in the end is Dask's choice of the moment, and decides the last bits
    matrix.worker_map.clear()
    for (home, _), *parts in zip(pieces, x_parts, label_parts, weight_parts, strict=True):
        matrix.worker_map[home].append(there(home, _part, *parts))
    return matrix


def _workers(client: Any) -> list[str]:
    """Addresses in the order of XGBoost's ranks, which are given by the sorted names of its tasks."""
    workers = workers_of(client)
    return sorted(workers, key=lambda address: f"[xgboost.dask-{workers[address]['name']}]:{address}")


def _shares(
    data: TrainingData, truth: NDArray[np.float32], weights: NDArray[np.float32] | None, workers: int
) -> list[list[_Piece]]:
    """Equal runs of rows, in pieces."""
    edges = np.linspace(0, len(data), workers + 1).astype(int).tolist()
    shares = []
    for start, stop in pairwise(edges):
        cuts = data.reader.cut(data.rows[start:stop], PIECE_BYTES)
        shares.append([_piece(data, truth, weights, slice(start + first, start + last)) for first, last in cuts])
    return shares


def _piece(data: TrainingData, truth: NDArray[np.float32], weights: NDArray[np.float32] | None, inside: slice) -> _Piece:
    own = None if weights is None else weights[inside]
    return _Piece(data.reader, data.columns, data.rows[inside], truth[inside], own)


def _itself(piece: _Piece) -> _Piece:
    return piece


def _features(piece: _Piece) -> Features:
    return np.ascontiguousarray(piece.reader.read(piece.rows, piece.columns), np.float32)


def _truth(piece: _Piece) -> NDArray[np.float32]:
    return piece.truth


def _weights(piece: _Piece) -> NDArray[np.float32]:
    assert piece.weights is not None
    return piece.weights


def _part(x: Features, label: NDArray[np.float32], weight: NDArray[np.float32] | None) -> dict[str, Any]:
    return {"data": x, "label": label} | ({} if weight is None else {"weight": weight})
