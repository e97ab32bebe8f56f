"""One job in a process of its own: `python -m tests.benchmarks.child JOB.json TIMING.json`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    # imported here: worker processes import this file too, and need none of it
    from tests.benchmarks.catalogue import PATHS
    from tests.benchmarks.job import Job, write

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    write(PATHS[job.path].run(job), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
