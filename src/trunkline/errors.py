"""The exception tree. The command line prints the message alone and exits with `exit_code`.

TrunklineError
├── UserError                 exit 2: something the user gave has to change
│   ├── SpecError             a spec: unknown key, wrong value, missing file
│   ├── SourceError           a source: missing, empty, or bound to another dataset
│   ├── BackboneError         a backbone, layer or weights file
│   ├── ClusterError          workers that cannot do this work, or would not do it alike
│   ├── StoreError            a store: missing, foreign, newer, of another recipe
│   └── DataError             the data cannot carry what was asked: one class, nothing kept, rows pending
└── RunError                  exit 1: the run failed; starting it again resumes it
    ├── TooManyBadImages      more than max_bad_fraction of the images could not be read
    ├── LeaseHeld             another run is writing this feature set
    ├── LeaseLost             another run has taken this feature set over
    ├── RunEnded              a worker's: the run that asked for the work has ended
    ├── StorageError          the disk or bucket refused: full, read-only, no permission
    ├── StorageUnreachable    the disk or bucket does not answer; trying again may help
    ├── CorruptStore          a committed object does not say what it should
    └── GoldenMismatch        the compiled backbone does not compute what its reference computes

`UnreadableImage` stands apart: it never leaves a shard, it becomes a quarantined row.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrunklineError(Exception):
    """What went wrong, with which values, why it matters, what to do."""

    exit_code = 1


class UserError(TrunklineError):
    exit_code = 2


class SpecError(UserError):
    pass


class SourceError(UserError):
    pass


class BackboneError(UserError):
    pass


class ClusterError(UserError):
    pass


class StoreError(UserError):
    pass


class DataError(UserError):
    pass


class RunError(TrunklineError):
    exit_code = 1


class TooManyBadImages(RunError):
    pass


class LeaseHeld(RunError):
    pass


class LeaseLost(RunError):
    pass


class RunEnded(RunError):
    pass


class StorageError(RunError):
    pass


class StorageUnreachable(RunError):
    pass


class CorruptStore(RunError):
    pass


class GoldenMismatch(RunError):
    pass


class UnreadableImage(Exception):
    """One image that cannot become pixels.

    Parameters
    ----------
    reason : one word of a fixed vocabulary, for counting: `empty`, `missing`, `truncated`, …
    detail : the decoder's own words, for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """' Did you mean x or y?', or nothing where no known word is near."""
    near = difflib.get_close_matches(wrong, list(known), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""
