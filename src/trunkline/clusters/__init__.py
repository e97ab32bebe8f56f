"""Where shards run: this process, workers of this machine, GPUs, an existing Dask scheduler, or pods of Kubernetes."""

from trunkline.clusters.cluster import Cluster

__all__ = ["Cluster"]
