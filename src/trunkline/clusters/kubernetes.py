"""Pods that the Dask operator starts for a run, and removes at its end."""

from __future__ import annotations

import importlib
import secrets
import time
from typing import Any

from trunkline.clusters.patience import Patience
from trunkline.clusters.settings import GROW_WITHIN, quiet_dask
from trunkline.errors import RunError, SpecError
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.specs import ClusterSpec, KubernetesSpec

GPU = "nvidia.com/gpu"
SCHEDULER = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
WORKER_COMMAND = ["dask", "worker", "--nthreads", str(SHARDS_PER_WORKER_AT_ONCE)]
ENVIRONMENT = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "2 minutes",
    "DASK_DISTRIBUTED__ADAPTIVE__TARGET_DURATION": GROW_WITHIN,
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
VOLUME = "shared"


def refuse_without_dask_kubernetes() -> None:
    """Raises SpecError where dask-kubernetes is missing."""
    try:
        importlib.import_module("dask_kubernetes.operator")
    except ImportError as error:
        raise SpecError(
            f"cluster.kind kubernetes needs dask-kubernetes ({error}): pip install 'trunkline[kubernetes]', and the Dask operator in the "
            "Kubernetes cluster."
        ) from error


def custom_resource(spec: ClusterSpec, name: str) -> dict[str, Any]:
    """The DaskCluster that the operator is asked for; it begins with the least workers there may be.

    dask-kubernetes writes it; added are environments from Secret and ConfigMap, the volume, and a scheduler of its own size.
    """
    from dask_kubernetes.operator import make_cluster_spec

    pods = spec.kubernetes
    made: dict[str, Any] = make_cluster_spec(
        name,
        image=pods.image,
        n_workers=spec.minimum or spec.workers,
        resources=_resources(pods),
        env=ENVIRONMENT,
        worker_command=WORKER_COMMAND,
    )
    for part in ("worker", "scheduler"):
        _complete(made["spec"][part]["spec"], pods)
    made["spec"]["scheduler"]["spec"]["containers"][0]["resources"] = SCHEDULER
    if pods.namespace:
        made["metadata"]["namespace"] = pods.namespace
    return made


def kubernetes_cluster(spec: ClusterSpec, patience: Patience) -> Any:
    """A KubeCluster whose scheduler answers; its pods go with it.

    Raises
    ------
    SpecError : dask-kubernetes is missing.
    RunError : the API server does not answer, the operator is not there, or the scheduler's pod does not start.
    """
    refuse_without_dask_kubernetes()
    from dask_kubernetes.operator import KubeCluster

    quiet_dask()
    _wait_for_the_api(spec.kubernetes, patience)
    wanted = custom_resource(spec, f"trunkline-{secrets.token_hex(4)}")
    patience.say(f"Starting {spec.minimum or spec.workers} pods of {spec.kubernetes.image}")
    try:
        cluster = KubeCluster(
            custom_cluster_spec=wanted,
            namespace=spec.kubernetes.namespace,
            resource_timeout=max(1, int(patience.left)),
            shutdown_on_close=True,
            quiet=True,
        )
        if spec.is_adaptive:
            cluster.adapt(minimum=spec.minimum, maximum=spec.workers)
    except Exception as error:  # of httpx, kr8s, dask-kubernetes and distributed, which share no base
        raise RunError(
            f"Kubernetes did not start a Dask cluster ({_words(error)}). Is the Dask operator installed (`kubectl get crd "
            "daskclusters.kubernetes.dask.org`), may you create a DaskCluster in the namespace "
            f"{spec.kubernetes.namespace or 'of your context'}, and can the nodes fetch {spec.kubernetes.image}? Mend it, or wait longer "
            "with cluster.patience; then start the same command again."
        ) from error
    return cluster


def _wait_for_the_api(pods: KubernetesSpec, patience: Patience) -> None:
    """Ask the API server for its version until it answers. A context that is not there does not come by waiting."""
    import kr8s

    while True:
        started, seconds = time.monotonic(), patience.next_attempt()
        try:
            kr8s.api(namespace=pods.namespace).version()
            return
        except Exception as error:  # of httpx, kr8s and anyio
            if patience.left <= 0 or isinstance(error, ValueError):
                raise RunError(
                    f"The Kubernetes API server does not answer, tried {patience.tried} "
                    f"({_words(error)}). Does `kubectl version` answer with the same KUBECONFIG and context, or in the same pod with its "
                    "service account? Mend it, or wait longer with cluster.patience; then start the same command again."
                ) from error
            patience.say("The Kubernetes API server does not answer yet")
            time.sleep(max(0.0, min(started + seconds - time.monotonic(), patience.left)))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _resources(pods: KubernetesSpec) -> dict[str, dict[str, str]]:
    """What a worker's pod is promised, and at most given: memory and GPUs are the same in both, processors may be more."""
    fixed = {"memory": pods.memory} | ({GPU: str(pods.gpus)} if pods.gpus else {})
    return {"requests": {"cpu": f"{pods.cpus:g}", **fixed}, "limits": fixed}


def _complete(pod: dict[str, Any], pods: KubernetesSpec) -> None:
    container = pod["containers"][0]
    references = {"secretRef": pods.secret, "configMapRef": pods.config_map}
    if any(references.values()):
        container["envFrom"] = [{kind: {"name": name}} for kind, name in references.items() if name]
    if pods.claim:
        container["volumeMounts"] = [{"name": VOLUME, "mountPath": pods.mount}]
        pod["volumes"] = [{"name": VOLUME, "persistentVolumeClaim": {"claimName": pods.claim}}]
