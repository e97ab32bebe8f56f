"""From raw repeats to medians, ratios and targets.

A ratio is taken inside each repeat, where both ways ran within a minute or two of each other, and its median over the repeats is
given: a machine that slows down over the hour then moves no ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.job import Timing
from tests.benchmarks.measure import Measured

PRECISIONS = ("f32", "bf16")
LEAST_IMAGES, LEAST_ORCHESTRATED = 1000, 10_000  # fewer measure the start of things
PER = 10_000  # images, for which seconds are given
# least steady ratios, on two cores
TARGETS: Mapping[str, Mapping[str, float]] = {
    "mobilenet-v2": {
        "ours f32 ÷ Keras": 2.1,
        "ours bf16 ÷ Keras": 3.2,
        "ours f32 ÷ limit": 0.90,
        "ours bf16 ÷ limit": 0.90,
        "Prefect + Dask ÷ plain loop": 0.95,
    },
    "resnet50": {
        "ours f32 ÷ Keras": 2.4,
        "ours bf16 ÷ Keras": 4.5,
        "ours f32 ÷ limit": 0.93,
        "ours bf16 ÷ limit": 0.93,
        "Prefect + Dask ÷ plain loop": 0.97,
    },
}

Rate = Callable[[Measured], float]
Series = Mapping[int, float]  # repeat → value


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        return Spread(median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Ratio:
    """One line of the targets: the ratio of steady rates, of whole ones, and the least it shall be, None where nobody set it.

    Limits have no start-up, so that a ratio to a limit is of steady rates only. A target is one from `least_images` on.
    """

    name: str
    images: int
    steady: Spread
    whole: Spread | None
    target: float | None
    least_images: int


@dataclass(frozen=True)
class PathSummary:
    path: str
    images: int
    steady: Spread
    whole: Spread
    peak_mib: float
    largest_process_mib: float


@dataclass(frozen=True)
class Added:
    """What Prefect and Dask add to a plain loop in one process, in seconds; less than 0 where their workers save more than they cost.

    Parameters
    ----------
    steady : for each 10,000 images, from the first read to the last commit.
    once : for each run, whatever its size: starting the workers, planning, counting.
    flow : for each run, the flow beyond its stages: Prefect's temporary server, its calls, and the report.
    """

    images: int
    steady: Spread
    once: Spread
    flow: Spread


@dataclass(frozen=True)
class NetworkSummary:
    """`limits` are 1 / (1/forward + 1/decode) by precision, images per second; `added` is None where one of the two did not run."""

    network: str
    paths: Mapping[str, PathSummary]
    limits: Mapping[str, Spread]
    ratios: Sequence[Ratio]
    added: Added | None


def summarise(network: str, runs: Sequence[Measured]) -> NetworkSummary:
    """Everything there is to say of one network's repeats; what did not run is left out."""
    good: dict[str, list[Measured]] = {}
    for each in runs:
        if each.network == network and each.timing is not None:
            good.setdefault(each.path, []).append(each)
    limits = {precision: series for precision in PRECISIONS if (series := _limit(good, precision))}
    return NetworkSummary(
        network=network,
        paths={path: _path(path, repeats) for path, repeats in good.items()},
        limits={precision: spread for precision, series in limits.items() if (spread := Spread.of([*series.values()]))},
        ratios=[ratio for ratio in _ratios(network, good, limits) if ratio is not None],
        added=_added(good),
    )


def _added(good: Mapping[str, Sequence[Measured]]) -> Added | None:
    flows = {each.repeat: each.timing for each in good.get("prefect-dask", ()) if each.timing}
    loops = {each.repeat: each.timing for each in good.get("plain-loop", ()) if each.timing}
    both = [(flows[repeat], loops[repeat]) for repeat in sorted(flows.keys() & loops.keys())]
    steady = Spread.of([PER * (flow.steady_seconds / flow.images - loop.steady_seconds / loop.images) for flow, loop in both])
    once = Spread.of([_outside(flow) - _outside(loop) for flow, loop in both])
    beyond = Spread.of([flow.notes["flow_seconds"] - sum(flow.notes["stages"].values()) for flow, _ in both])
    if steady is None or once is None or beyond is None:
        return None
    return Added(min(flow.images for flow, _ in both), steady, once, beyond)


def _outside(timing: Timing) -> float:
    """Seconds before the first read and after the last commit."""
    return timing.whole_seconds - timing.steady_seconds


def _path(path: str, repeats: Sequence[Measured]) -> PathSummary:
    steady, whole = Spread.of([each.rate for each in repeats]), Spread.of([each.whole_rate for each in repeats])
    assert steady is not None
    assert whole is not None
    memory = (max(each.peak_mib for each in repeats), max(each.largest_process_mib for each in repeats))
    return PathSummary(path, _images(repeats), steady, whole, *memory)


def _limit(good: Mapping[str, Sequence[Measured]], precision: str) -> Series:
    forward, decode = _series(good, f"forward-{precision}"), _series(good, "decode")
    return {repeat: 1.0 / (1.0 / forward[repeat] + 1.0 / decode[repeat]) for repeat in forward.keys() & decode.keys()}


def _ratios(network: str, good: Mapping[str, Sequence[Measured]], limits: Mapping[str, Series]) -> list[Ratio | None]:
    def made(name: str, over: str, steady: Spread | None, whole: Spread | None) -> Ratio | None:
        if steady is None:
            return None
        least = LEAST_ORCHESTRATED if over == "prefect-dask" else LEAST_IMAGES
        return Ratio(name, _images(good[over]), steady, whole, TARGETS.get(network, {}).get(name), least)

    def ratio(name: str, over: str, under: str) -> Ratio | None:
        steady = _divided(_series(good, over), _series(good, under))
        return made(name, over, steady, _divided(_series(good, over, whole=True), _series(good, under, whole=True)))

    def to_limit(precision: str) -> Ratio | None:
        over = f"ours-{precision}"
        return made(f"ours {precision} ÷ limit", over, _divided(_series(good, over), limits.get(precision, {})), None)

    return [
        *(ratio(f"ours {precision} ÷ Keras", f"ours-{precision}", "keras") for precision in PRECISIONS),
        *(ratio(f"ours {precision} ÷ tf.data", f"ours-{precision}", "tf.data") for precision in PRECISIONS),
        *(to_limit(precision) for precision in PRECISIONS),
        ratio("Prefect + Dask ÷ plain loop", "prefect-dask", "plain-loop"),
    ]


def _images(repeats: Sequence[Measured]) -> int:
    return min(each.timing.images for each in repeats if each.timing)


def _series(good: Mapping[str, Sequence[Measured]], path: str, *, whole: bool = False) -> Series:
    return {each.repeat: each.whole_rate if whole else each.rate for each in good.get(path, ())}


def _divided(over: Series, under: Series) -> Spread | None:
    return Spread.of([over[repeat] / under[repeat] for repeat in sorted(over.keys() & under.keys())])
