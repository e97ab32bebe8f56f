"""How long images take under a recipe, from the timings that stand in its commit records."""

from __future__ import annotations

import os
from dataclasses import dataclass

from trunkline.clusters import Cluster
from trunkline.engine import chosen
from trunkline.specs import EngineSpec
from trunkline.stages.up_to_date import Target, runtime_for

RECORDS = 4  # of the last shards; enough to tell


@dataclass(frozen=True)
class Pace:
    """Seconds an image of each part, on one worker of `workers`; `threads` decode, and `readers` read, at once."""

    read: float
    decode: float
    forward: float
    write: float
    workers: int
    threads: int
    readers: int

    def seconds(self, images: int) -> float:
        """Of so many images on all workers: decoding and forward passes share the cores, reading waits beside them."""
        busy = self.forward + self.write + self.decode / self.threads
        return images * max(busy, self.read / self.readers) / self.workers


def pace_of(target: Target, cluster: Cluster, how: EngineSpec) -> Pace | None:
    """From the newest shards of a feature set; None where there are none. Their images may have been read from another place."""
    commits = target.features.commits
    names = sorted(commits.done())[-RECORDS:]
    if not names:
        return None
    timings = [commit.timings for commit in commits.each(names, ("status",))]
    rows = sum(commit.shard.rows for commit in commits.each(names, ("status",)))
    workers = cluster.workers
    engine = chosen(
        how,
        target.backbone,
        runtime=runtime_for(target.runtime, target.backbone, cluster),
        workers=workers,
        threads=max(1, len(os.sched_getaffinity(0)) // workers) if cluster.kind in ("inline", "local", "cuda") else 1,
        local_source=True,
    )
    parts = {part: sum(getattr(each, part) for each in timings) / rows for part in ("read", "decode", "forward", "write")}
    return Pace(**parts, workers=workers, threads=engine.threads, readers=engine.readers)
