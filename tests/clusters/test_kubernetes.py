"""Pods: what the Dask operator would be asked for, judged by the schema of its own resource; and what is said where nobody listens."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.s3 import free_port
from trunkline.clusters import Cluster, kubernetes
from trunkline.clusters.kubernetes import custom_resource
from trunkline.errors import RunError, SpecError
from trunkline.specs import ClusterSpec

IMAGE = "registry.example/trunkline:1"


def spec_of(**changes: Any) -> ClusterSpec:
    pods = {"image": IMAGE, **changes.pop("kubernetes", {})}
    return ClusterSpec.model_validate({"kind": "kubernetes", "workers": 4, "kubernetes": pods, "patience": 2, **changes})


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """Of a DaskCluster, as the operator installs it; keys that it does not know are errors."""
    text = (files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml").read_text()
    (version,) = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    assert version["name"] == "v1"
    return Draft202012Validator(_closed(version["schema"]["openAPIV3Schema"]))


def _closed(node: Any) -> Any:
    """The API server drops keys that the schema does not name; here they are mistakes."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: _closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def resource(spec: ClusterSpec, schema: Draft202012Validator) -> dict[str, Any]:
    """The custom resource, which the schema accepts. (What the API server itself knows of every object is left out.)"""
    made = custom_resource(spec, "trunkline-test")
    judged = {key: value for key, value in made.items() if key in ("spec",)}
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors({**_envelope(made), **judged})] == []
    return made


def _envelope(made: dict[str, Any]) -> dict[str, Any]:
    assert (made["apiVersion"], made["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    return {}


def worker_of(made: dict[str, Any]) -> dict[str, Any]:
    (container,) = made["spec"]["worker"]["spec"]["containers"]
    return container


def test_the_schema_would_notice_a_mistake(schema: Draft202012Validator):
    made = custom_resource(spec_of(), "trunkline-test")
    made["spec"]["worker"]["spec"]["containers"][0]["imagee"] = "x"
    assert not schema.is_valid({"spec": made["spec"]})
    made = custom_resource(spec_of(), "trunkline-test")
    made["spec"]["worker"]["replicas"] = "four"
    assert not schema.is_valid({"spec": made["spec"]})


def test_workers_are_what_was_asked_for(schema: Draft202012Validator):
    made = resource(spec_of(kubernetes={"cpus": 3.5, "memory": "6Gi"}), schema)
    worker = worker_of(made)
    assert made["spec"]["worker"]["replicas"] == 4
    assert worker["image"] == IMAGE
    assert worker["args"][:4] == ["dask", "worker", "--nthreads", "2"]
    assert worker["resources"] == {"requests": {"cpu": "3.5", "memory": "6Gi"}, "limits": {"memory": "6Gi"}}
    assert "namespace" not in made["metadata"]
    assert {"envFrom", "volumeMounts"}.isdisjoint(worker)


def test_an_adaptive_cluster_begins_small(schema: Draft202012Validator):
    spec = spec_of(minimum=1, workers=50)
    assert resource(spec, schema)["spec"]["worker"]["replicas"] == 1
    assert Cluster(spec).workers == 50
    said = {each["name"]: each["value"] for each in worker_of(resource(spec, schema))["env"]}
    assert said["DASK_DISTRIBUTED__ADAPTIVE__TARGET_DURATION"] == "250ms"


def test_only_workers_have_gpus(schema: Draft202012Validator):
    made = resource(spec_of(kubernetes={"gpus": 1}), schema)
    assert worker_of(made)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (scheduler,) = made["spec"]["scheduler"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in scheduler["resources"]["limits"]


def test_secrets_come_by_name_and_volumes_by_claim(schema: Draft202012Validator):
    pods = {"secret": "store-keys", "config_map": "store-place", "claim": "images", "mount": "/images", "namespace": "vision"}
    made = resource(spec_of(kubernetes=pods), schema)
    assert made["metadata"]["namespace"] == "vision"
    for part in ("worker", "scheduler"):
        pod = made["spec"][part]["spec"]
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "store-keys"}}, {"configMapRef": {"name": "store-place"}}]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/images"}]
        assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "images"}}]


def test_without_dask_kubernetes_it_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", None)
    with (
        pytest.raises(
            SpecError, match=r"cluster\.kind kubernetes needs dask-kubernetes .*pip install 'trunkline\[kubernetes\]'"
        ),
        Cluster(spec_of()),
    ):
        pass


def kubeconfig(place: Path, server: str) -> Path:
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "there", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "not-to-be-said"}}],
        "contexts": [{"name": "here", "context": {"cluster": "there", "user": "me"}}],
        "current-context": "here",
    }
    place.write_text(yaml.safe_dump(said))
    return place


def test_an_api_server_that_does_not_answer_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog):
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{free_port()}")))
    with Cluster(spec_of(patience=3.0)) as cluster, pytest.raises(RunError) as refused:
        _ = cluster.executor
    words = str(refused.value)
    assert re.match(
        r"The Kubernetes API server does not answer, tried [2-9] times in \d s \(ConnectError: .*\)\. Does `kubectl version`",
        words,
    )
    assert "not-to-be-said" not in words
    assert "The Kubernetes API server does not answer yet" in caplog.text


def test_a_context_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with (
        Cluster(spec_of(patience=600, kubernetes={"namespace": "one-that-kr8s-does-not-remember"})) as cluster,
        pytest.raises(RunError, match=r"does not answer, tried once in \d s \(ValueError: Unable to find valid credentials\)"),
    ):
        _ = cluster.executor


def test_an_operator_that_does_nothing_is_said_in_words(monkeypatch: pytest.MonkeyPatch):
    """dask-kubernetes stands in for itself: what it raises where nobody acts on the resource that it creates."""
    import dask_kubernetes.operator

    asked: list[dict[str, Any]] = []

    def waits_in_vain(**how: Any) -> None:
        asked.append(how)
        raise TimeoutError("Dask Cluster resource not actioned after 60 seconds, is the Dask Operator running?")

    monkeypatch.setattr(kubernetes, "_wait_for_the_api", lambda *_: None)
    monkeypatch.setattr(dask_kubernetes.operator, "KubeCluster", waits_in_vain)
    with Cluster(spec_of(kubernetes={"namespace": "vision"})) as cluster, pytest.raises(RunError) as refused:
        _ = cluster.executor
    words = str(refused.value)
    assert "Kubernetes did not start a Dask cluster (TimeoutError: Dask Cluster resource not actioned" in words
    assert "`kubectl get crd daskclusters.kubernetes.dask.org`" in words
    assert "in the namespace vision" in words
    assert f"can the nodes fetch {IMAGE}" in words
    (how,) = asked
    assert how["namespace"] == "vision"
    assert how["shutdown_on_close"] is True
    assert how["custom_cluster_spec"]["metadata"]["name"].startswith("trunkline-")
