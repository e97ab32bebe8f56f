"""XGBoost on Dask workers: each reads its own rows from the store, and the same rows go to the same rank in every run."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import RunError
from trunkline.fan_out import DaskExecutor
from trunkline.heads.protocol import Features
from trunkline.heads.training import Reader, Rows, TrainingData

log = logging.getLogger(__name__)
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
    """A Booster. Raises RunError where a worker was lost meanwhile."""
    import xgboost.dask
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    client = executor.client
    executor.everywhere(_chatter_goes_to_the_log)
    try:
        with client.as_current():
            matrix = _matrix(data, truth, weights, client)
            trained = xgboost.dask.train(client, dict(settings), matrix, num_boost_round=rounds)
    except (KilledWorker, CommClosedError, xgboost.core.XGBoostError) as error:
        raise RunError(
            f"XGBoost failed on the Dask workers ({' '.join(str(error).split())[:500]}). Was one lost, or out of memory? Start the same "
            "command again, with fewer rows a worker or more workers; candidates that were compared are kept."
        ) from error
    return trained["booster"]


def _matrix(data: TrainingData, truth: NDArray[np.float32], weights: NDArray[np.float32] | None, client: Any) -> Any:
    """Dask arrays of pieces as XGBoost's matrix, each piece on its worker."""
    import dask.array
    import xgboost.dask

    homes = _workers(client)[: len(data)]
    pieces = [
        (home, piece) for home, some in zip(homes, _shares(data, truth, weights, len(homes)), strict=True) for piece in some
    ]
    held = [client.submit(_itself, piece, workers=[home], allow_other_workers=False, pure=False) for home, piece in pieces]

    def array(read: Any, width: tuple[int, ...]) -> Any:
        futures = [
            client.submit(read, each, workers=[home], allow_other_workers=False, pure=False)
            for each, (home, _) in zip(held, pieces, strict=True)
        ]
        shapes = [(len(piece.rows), *width) for _, piece in pieces]
        parts = [
            dask.array.from_delayed(dask.delayed(future), shape, np.float32)
            for future, shape in zip(futures, shapes, strict=True)
        ]
        return dask.array.concatenate(parts, axis=0), futures

    x, x_parts = array(_features, (data.width,))
    label, label_parts = array(_truth, truth.shape[1:])
    weight, weight_parts = array(_weights, ()) if weights is not None else (None, [None] * len(pieces))
    matrix = xgboost.dask.DaskQuantileDMatrix(client, x, label, weight=weight)
    # where a piece lies in the end is Dask's choice of the moment, and decides the last bits
    matrix.worker_map.clear()
    for (home, _), *parts in zip(pieces, x_parts, label_parts, weight_parts, strict=True):
        part = client.submit(_part, *parts, workers=[home], allow_other_workers=False, pure=False)
        matrix.worker_map[home].append(part)
        matrix.partition_order[part.key] = len(matrix.partition_order)
    return matrix


def _workers(client: Any) -> list[str]:
    """Addresses in the order of XGBoost's ranks, which are given by the sorted names of its tasks."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
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


def _logged(message: bytes) -> None:
    log.debug(message.decode(errors="replace"))


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_logged)


def _chatter_goes_to_the_log() -> None:
    """XGBoost's own callback prints ranks to the standard output, whatever its verbosity."""
    from xgboost.core import _LIB

    _LIB.XGBRegisterLogCallback(_CALLBACK)
