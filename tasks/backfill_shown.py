"""What a backfill shows while it goes on: a progress bar and a page that move, from what its slices say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from tasks.backfilling import SLICE_PROGRESS
from trunkline.stages.backfill import SliceReceipt
from trunkline.wording import in_time

LABELS = "trunkline."
KEY = "backfill"


@dataclass(frozen=True)
class Tally:
    """What the slices of a backfill did so far; `seconds` are theirs, without the waits between them."""

    slices: int = 0
    images: int = 0
    seconds: float = 0.0
    worker_hours: float = 0.0

    def with_slice(self, said: Mapping[str, Any]) -> Tally:
        """One more, by the labels of its run; a run without them did nothing that is known."""
        if f"{LABELS}images" not in said:
            return self
        return Tally(
            self.slices + 1,
            self.images + int(said[f"{LABELS}images"]),
            self.seconds + float(said[f"{LABELS}seconds"]),
            self.worker_hours + float(said[f"{LABELS}worker-hours"]),
        )

    @property
    def images_per_second(self) -> float | None:
        return self.images / self.seconds if self.images and self.seconds else None


def labels_of(receipt: SliceReceipt) -> dict[str, int | float | bool]:
    """What a slice's run says of itself, for the backfill to count, in whichever process that is."""
    return {
        f"{LABELS}images": receipt.images,
        f"{LABELS}seconds": round(receipt.seconds, 3),
        f"{LABELS}worker-hours": round(receipt.worker_hours, 6),
        f"{LABELS}stopped": receipt.stopped,
    }


@dataclass(frozen=True)
class Shown:
    """A backfill at a moment.

    Parameters
    ----------
    now : what it is at, in words.
    slices, images : of all there is to do, those that are done before it was resumed among them.
    running : images of the slice that runs that are done.
    estimate : seconds for all that is left, where no slice tells yet.
    left_out : slices that were cancelled.
    """

    dataset: str
    recipes: Sequence[str]
    now: str
    slices: int
    images: int
    tally: Tally
    running: float = 0.0
    estimate: float | None = None
    price: float | None = None
    left_out: tuple[str, ...] = ()

    @property
    def percent(self) -> float:
        return min(100.0, 100.0 * (self.tally.images + self.running) / self.images) if self.images else 100.0

    @property
    def remaining(self) -> float | None:
        """Seconds."""
        speed = self.tally.images_per_second
        return (self.images - self.tally.images - self.running) / speed if speed else self.estimate

    def markdown(self) -> str:
        speed, remaining = self.tally.images_per_second, self.remaining
        lines = [
            f"# Backfill of {self.dataset}",
            "",
            f"**{self.now}**",
            "",
            "| | |",
            "|---|---|",
            f"| slices | {self.tally.slices:,} of {self.slices:,} done |",
            f"| images | {self.tally.images + int(self.running):,} of {self.images:,} ({self.percent:.0f} %) |",
            f"| images/s | {f'{speed:,.1f}' if speed else 'not known yet'} |",
            f"| remaining | {'not known yet' if remaining is None else 'about ' + in_time(max(remaining, 0.0))} |",
            f"| worker hours | {self.tally.worker_hours:,.3f} |",
        ]
        if self.price is not None:
            lines.append(f"| cost so far | {self.tally.worker_hours * self.price:,.2f} |")
        if self.left_out:
            lines.append(f"| cancelled, left out | {'; '.join(self.left_out)} |")
        return "\n".join([*lines, "", "Recipes, from one decode of each image:", "", *(f"- {words}" for words in self.recipes)])


@dataclass
class Board:
    """The two artifacts of a backfill's run; they are made once and moved. A server that does not answer is a warning."""

    client: SyncPrefectClient
    shown: Shown
    _bar: UUID | None = None
    _page: UUID | None = None
    _last: Shown | None = field(default=None)

    def show(self, **changes: Any) -> None:
        """Move both where anything changed."""
        self.shown = replace(self.shown, **changes)
        if self.shown == self._last:
            return
        if self._last is None or self._last.now != self.shown.now:
            get_run_logger().info(self.shown.now)
        try:
            self._publish(self.shown.percent, self.shown.markdown())
            self._last = self.shown
        except Exception as error:
            get_run_logger().warning("The backfill's artifacts were not updated: %s", error)

    def _publish(self, percent: float, text: str) -> None:
        words = f"{self.shown.tally.images + int(self.shown.running):,} of {self.shown.images:,} images; {self.shown.now}"
        if self._bar is None or self._page is None:
            bar: Any = create_progress_artifact(percent, key=f"{KEY}-progress", description=words)
            page: Any = create_markdown_artifact(text, key=KEY, description=f"Backfill of {self.shown.dataset}")
            self._bar, self._page = bar, page
        else:
            update_progress_artifact(self._bar, percent, description=words)
            self.client.update_artifact(self._page, ArtifactUpdate(data=text))

    def progress_of(self, run: UUID) -> float:
        """The share of a slice that is done, 0 to 1, by its own progress artifact."""
        try:
            found = self.client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=[SLICE_PROGRESS])
                )
            )
            return max((float(str(each.data)) for each in found), default=0.0) / 100.0
        except Exception:  # it is shown a moment later
            return 0.0
