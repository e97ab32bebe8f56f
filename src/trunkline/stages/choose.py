"""Choose: which network, cut where, suits these images. A sample is extracted and scored; no store is read or written."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import numpy as np

from trunkline.backbones.catalogue import BACKBONES
from trunkline.backbones.compiled import compiled
from trunkline.backbones.weights import is_here
from trunkline.clusters import Cluster
from trunkline.engine import LOCAL_READERS, REMOTE_READERS
from trunkline.errors import BackboneError, SpecError
from trunkline.locations import Location
from trunkline.probing.choice import Choice, command_for
from trunkline.probing.entries import Entry, entries_of
from trunkline.probing.gathering import Gathered, gather
from trunkline.probing.measuring import Prepared, ProbeJob
from trunkline.probing.memory import refuse_what_does_not_fit
from trunkline.probing.networks import Laid, found, laid
from trunkline.probing.ranking import CutScore, NetworkScore, recommended, sentence
from trunkline.probing.sample import FEWEST, SAMPLE, Sample, draw, refuse_few_classes
from trunkline.probing.scoring import Pace, Truth, best_first, score_cuts, score_network
from trunkline.probing.signs import warnings_of
from trunkline.probing.speed import forward_speeds, speeds_of
from trunkline.progress import Progress, Step, silent
from trunkline.runtimes import refuse_what_cannot_run
from trunkline.sources import Source, source_of
from trunkline.specs import RunSpec
from trunkline.stages.extract import order_for
from trunkline.stages.up_to_date import runtime_for

PAGE = ".html"
BUILT_AT_ONCE = 4  # networks; each takes up to two gigabytes while it is built


def choose(
    spec: RunSpec,
    backbones: str | None,
    cluster: Cluster,
    sample: int = SAMPLE,
    out: str | None = None,
    scratch: str | None = None,
    progress: Progress = silent,
) -> Choice:
    """Compare networks, each at many cuts, on a sample of the training images.

    Parameters
    ----------
    spec : its source, labels, preparation, layers (for all networks; where their blocks end by default) and cluster count.
    backbones : entries with commas, as `probing.entries` says; those whose weights are on this machine by default.
    sample : images to look at.
    out : an .html file for the page.
    scratch : where compiled networks lie meanwhile; a temporary folder by default, which workers at an address cannot see.

    Raises
    ------
    SpecError, BackboneError, SourceError, DataError : before the first image is read.
    TooManyBadImages : more than `max_bad_fraction` of the sample cannot be read.
    """
    started = time.monotonic()
    _refuse_wrong_out(out)
    entries = entries_of(backbones, spec) if backbones else _here(spec)
    for entry in entries:
        found(entry, spec)
    source = source_of(spec)
    source.check()
    progress(Step("choose", 0, None, "listing"))
    drawn = draw(source, spec, sample)
    with _scratch(scratch, cluster) as folder:
        networks = prepared_networks(entries, spec, folder, cluster, progress)
        job = job_for(spec, source, [prepared for _, prepared in networks], cluster)
        workers = 0 if cluster.kind == "address" else cluster.workers  # of this machine
        refuse_what_does_not_fit(job.networks, len(drawn.images), workers, job.in_flight_bytes)
        gathered = gather(job, drawn.images, cluster.executor, spec.max_bad_fraction, progress)
        gathered, truth, small = truth_of(drawn, gathered, source, spec)
        paces = _paces(job, cluster, gathered, drawn.listed, progress)
    cuts, scores = _scored(networks, gathered, truth, paces, progress)
    ranked = best_first(cuts)
    use = recommended(ranked)
    choice = Choice(
        source=source.root.uri,
        images=drawn.listed,
        classes=truth.classes,
        sampled=len(truth.labels),
        left_out={**gathered.reasons, **({"unlabelled": drawn.unlabelled} if drawn.unlabelled else {})},
        too_few=[*drawn.too_few, *small],
        cuts=ranked,
        networks=scores,
        sentence=sentence(ranked),
        command=command_for(spec, use, next(where.own_size for where, _ in networks if where.entry.name == use.entry)),
        warnings=warnings_of(ranked, scores, gathered.grey, gathered.sides),
        decode_seconds=gathered.decode_seconds,
        cores=paces[0].cores,
        out=Location.of(out).uri if out else "",
        seconds=time.monotonic() - started,
    )
    if out:
        from trunkline.report.choice import render  # Matplotlib takes a second to import

        Location.of(out).write(render(choice).encode())
    return choice


def _refuse_wrong_out(out: str | None) -> None:
    if out is None:
        return
    place = Location.of(out)
    if not place.name.endswith(PAGE):
        raise SpecError(f"--out {out} does not end in {PAGE}: what is written is one self-contained page. Name it so.")
    if place.is_local and not place.path.parent.is_dir():
        raise SpecError(f"--out {out} lies in a folder that does not exist; make it first, or name another place.")


def _here(spec: RunSpec) -> list[Entry]:
    """The backbones whose weights are on this machine."""
    names = [name for name, backbone in BACKBONES.items() if is_here(backbone)]
    if not names:
        raise BackboneError(
            "No backbone's weights are on this machine. Name those to download with --backbones; `trunkline backbones` lists all."
        )
    return [Entry.of(name, spec) for name in names]


@contextmanager
def _scratch(asked: str | None, cluster: Cluster) -> Iterator[Location]:
    """A folder that is gone afterwards. Raises SpecError where workers could not see it."""
    if asked is None:
        if cluster.kind == "address":
            raise SpecError(
                "Workers at an address cannot see this machine's temporary folder, where compiled networks lie meanwhile. Give --scratch "
                "with a place that they see, such as a shared folder or s3://bucket/tmp."
            )
        with tempfile.TemporaryDirectory(prefix="trunkline-choose-", ignore_cleanup_errors=True) as folder:
            yield Location.of(folder)
        return
    place = Location.of(asked) / f"trunkline-choose-{uuid4().hex[:12]}"
    try:
        yield place
    finally:
        place.remove()


def prepared_networks(
    entries: Sequence[Entry], spec: RunSpec, folder: Location, cluster: Cluster, progress: Progress
) -> list[tuple[Laid, Prepared]]:
    """Every network compiled with all its cuts as outputs; each is built in processes of its own, several at once."""
    with ThreadPoolExecutor(min(len(entries), len(os.sched_getaffinity(0)), BUILT_AT_ONCE), "building") as builders:
        building = [builders.submit(_prepared, entry, spec, folder, cluster) for entry in entries]
        networks = []
        try:
            for number, (entry, network) in enumerate(zip(entries, building, strict=True), 1):
                progress(Step("choose", 0, None, f"preparing {entry.name}, {number} of {len(entries)}"))
                networks.append(network.result())
        except BaseException:
            builders.shutdown(wait=False, cancel_futures=True)
            raise
    return networks


def _prepared(entry: Entry, spec: RunSpec, folder: Location, cluster: Cluster) -> tuple[Laid, Prepared]:
    where = laid(entry, spec)
    order = order_for(where.spec, cluster)
    backbone = compiled(folder, order)
    runtime = runtime_for(spec.runtime, backbone, cluster)
    refuse_what_cannot_run(runtime, backbone)
    return where, Prepared(order.recipe, backbone, runtime, where.classifier)


def job_for(spec: RunSpec, source: Source, networks: Sequence[Prepared], cluster: Cluster) -> ProbeJob:
    threads = spec.engine.threads or cluster.executor.threads
    readers = spec.engine.readers or max(threads, LOCAL_READERS if source.is_local else REMOTE_READERS)
    return ProbeJob(source.said(), tuple(networks), threads, readers, spec.engine.in_flight_mib * 2**20)


def truth_of(drawn: Sample, gathered: Gathered, source: Source, spec: RunSpec) -> tuple[Gathered, Truth, list[str]]:
    """Labels of the readable images; classes that are left with fewer than two are left out, and named."""
    labels = np.array(drawn.labels, np.int64)[gathered.places]
    counts = np.bincount(labels, minlength=len(drawn.classes))
    refuse_few_classes(dict(zip(drawn.classes, counts.tolist(), strict=True)), f"what could be read of {source.root}")
    enough = counts >= FEWEST
    small = [name for name, is_enough in zip(drawn.classes, enough, strict=True) if not is_enough]
    kept = enough[labels]
    numbers = np.cumsum(enough) - 1
    return gathered.only(kept) if small else gathered, Truth(numbers[labels[kept]], int(enough.sum()), spec.seed), small


def _paces(job: ProbeJob, cluster: Cluster, gathered: Gathered, images: int, progress: Progress) -> list[Pace]:
    """How fast each network is at each cut: on all cores of this machine, one after another; or on one worker elsewhere."""
    here = cluster.kind in ("inline", "local")
    cores = len(os.sched_getaffinity(0)) if here else job.threads
    paces = []
    for number, network in enumerate(job.networks):
        progress(Step("choose", 0, None, f"timing {network.recipe.backbone}, {number + 1} of {len(job.networks)}"))
        if here:
            layers = [layer for layer in network.backbone.dims if layer != network.classifier]
            forward = forward_speeds(network, cores, layers)
        else:
            (forward,) = cluster.executor.map(speeds_of, job, [number])
        paces.append(Pace(forward, gathered.decode_seconds, cores, images))
    return paces


def _scored(
    networks: Sequence[tuple[Laid, Prepared]],
    gathered: Gathered,
    truth: Truth,
    paces: Sequence[Pace],
    progress: Progress,
) -> tuple[list[CutScore], list[NetworkScore]]:
    cuts: list[CutScore] = []
    scores: list[NetworkScore] = []
    total = sum(len(where.layers) for where, _ in networks)
    for (where, prepared), vectors, pace in zip(networks, gathered.vectors, paces, strict=True):
        for cut in score_cuts(where, prepared, vectors, truth, pace):
            cuts.append(cut)
            progress(Step("rank", len(cuts), total))
        if network := score_network(where, vectors, truth):
            scores.append(network)
    return cuts, scores
