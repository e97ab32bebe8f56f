"""Tests mirror the tree of the sources."""

import os

# several test processes share the cores: OpenMP threads of one would spin while they wait for those of another
os.environ.setdefault("OMP_NUM_THREADS", "1")
