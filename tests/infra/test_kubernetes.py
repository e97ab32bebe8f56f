"""The objects for Kubernetes: valid by Kubernetes' own schemas, and by those of the Dask operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.infra.files import OVERLAYS, built, compose, containers

VERSION = "1.37.0"
DASK = "kubernetes.dask.org/v1"
# what the operator's schemas refer to in Kubernetes' own: a part of these objects
WHOLES = {"io.k8s.api.core.v1.PodSpec": "Pod", "io.k8s.api.core.v1.ServiceSpec": "Service"}


def check(each: dict[str, Any]) -> None:
    """Raises kubernetes_validate's ValidationError, or jsonschema's for the operator's own fields."""
    if each["apiVersion"] != DASK:
        kubernetes_validate.validate(each, VERSION, strict=True)
        return
    crd = _shipped(f"{each['kind'].lower()}.yaml")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate({"spec": each["spec"]}, _whole(schema))
    for kind, part in _parts(schema, each):
        kubernetes_validate.validate({"apiVersion": "v1", "kind": kind, "spec": part}, VERSION, strict=True)


def _whole(schema: Any) -> Any:
    """A schema with the operator's own parts in place of references; its objects allow nothing that they do not name."""
    if isinstance(schema, list):
        return [_whole(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"type": "object"} if _whole_of(schema) else _whole(_definition(schema))
    closed = {"additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else {}
    return closed | {name: _whole(value) for name, value in schema.items()}


def _parts(schema: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The specs of pods and services in a custom resource, each with its kind."""
    if "$ref" in schema:
        kind = _whole_of(schema)
        yield from [(kind, value)] if kind else _parts(_definition(schema), value)
    for name, below in schema.get("properties", {}).items():
        if name in value:
            yield from _parts(below, value[name])


def _whole_of(schema: Any) -> str | None:
    return WHOLES.get(schema["$ref"].rsplit("/", 1)[1])


def _definition(schema: Any) -> Any:
    place, _, name = schema["$ref"].removeprefix("python://").partition("#/definitions/")
    return _shipped(place.rsplit("/", 1)[1])["definitions"][name]


@cache
def _shipped(name: str) -> Any:
    return yaml.safe_load((files("dask_kubernetes.operator") / "customresources" / name).read_text())


def test_every_object_is_valid() -> None:
    different = {json.dumps(each, sort_keys=True): each for overlay in OVERLAYS for each in built(overlay)}
    kinds = {each["kind"] for each in different.values()}
    assert kinds >= {"DaskCluster", "DaskAutoscaler", "Deployment", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget"}
    for each in different.values():
        check(each)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (("worker", "spec", "container"), kubernetes_validate.ValidationError),
        (("scheduler", "service", "port"), kubernetes_validate.ValidationError),
        (("scheduler", "services"), jsonschema.ValidationError),
        (("worker", "replica"), jsonschema.ValidationError),
    ],
)
def test_a_slip_in_a_custom_resource_would_be_found(path: tuple[str, ...], error: type[Exception]) -> None:
    cluster = next(each for each in built("base") if each["kind"] == "DaskCluster")
    spec: Any = yaml.safe_load(yaml.safe_dump(cluster["spec"]))
    place = spec
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = 1
    with pytest.raises(error, match=path[-1]):
        check({**cluster, "spec": spec})


def test_kubernetes_starts_what_compose_starts() -> None:
    """The same commands; a worker has the name that the operator gives it besides."""
    trial, gpu = containers(built("overlays/trial")), containers(built("overlays/gpu"))
    here = {
        "postgres": trial["postgres/postgres"],
        "prefect-server": trial["prefect-server/prefect-server"],
        "work-pool": trial["prefect-worker/work-pool"],
        "prefect-worker": trial["prefect-worker/prefect-worker"],
        "metrics": trial["prefect-worker/metrics"],
        "dask-scheduler": trial["dask-scheduler/scheduler"],
        "dask-worker": trial["dask-worker/worker"],
        "dask-worker-gpu": gpu["dask-worker/worker"],
        "s3": trial["s3/s3"],
        "bucket": trial["bucket/bucket"],
    }
    assert set(here) == set(compose()["services"])
    for name, container in here.items():
        said = [
            _default(word).replace("dask-scheduler:", "trunkline-scheduler:") for word in compose()["services"][name]["command"]
        ]
        args = [word for word in container["args"] if word != "--name=$(DASK_WORKER_NAME)"]
        assert args == said, name


def test_kubernetes_has_the_environment_that_compose_has() -> None:
    """Of the flow runs' processes; what the image sets already is not repeated."""
    settings = next(each for each in built("base") if each["kind"] == "ConfigMap")["data"]
    worker = containers(built("base"))["prefect-worker/prefect-worker"]
    here = {**settings, **{entry["name"]: entry.get("value") for entry in worker["env"]}}
    said = compose()["services"]["prefect-worker"]["environment"]
    assert set(said) - set(here) == {"PYTHONPATH", "PYTHONUNBUFFERED", "DO_NOT_TRACK"}
    same = [name for name in said if name in here and "${" not in said[name] and name != "TRUNKLINE_DASK_SCHEDULER"]
    assert {name: here[name] for name in same} == {name: said[name] for name in same}
    assert here["TRUNKLINE_DASK_SCHEDULER"] == "tcp://trunkline-scheduler:8786"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_is_selected_is_there(overlay: str) -> None:
    """Services, policies and budgets name labels that pods have; those of Dask's pods are the operator's."""
    objects = built(overlay)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in objects if "template" in each.get("spec", {})]
    labels += [{"dask.org/cluster-name": "trunkline", "dask.org/component": part} for part in ("scheduler", "worker")]
    for each in objects:
        spec = each.get("spec", {})
        wanted = {
            "Service": spec.get("selector"),
            "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels"),
            "PodDisruptionBudget": (spec.get("selector") or {}).get("matchLabels"),
        }.get(each["kind"])
        if wanted:
            assert any(wanted.items() <= have.items() for have in labels), each["metadata"]["name"]


def _default(word: str) -> str:
    return word if "${" not in word else word[: word.index("${")] + word.partition(":-")[2].removesuffix("}")
