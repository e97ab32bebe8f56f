"""What a stranger must not get: passwords, root, open ports, images that change under their name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.infra.files import INFRA, OVERLAYS, built, compose, containers, pods

SECRET = re.compile(r"(?i)(password|secret|access_key)")
REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
PINNED = re.compile(r".+:\d+\.\d+[\w.-]*$")
SERVICES = sorted(compose()["services"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_gets_its_secrets_from_outside(name: str) -> None:
    environment = compose()["services"][name].get("environment", {})
    secrets = {key: value for key, value in environment.items() if SECRET.search(key)}
    assert all(REQUIRED.fullmatch(value) for value in secrets.values()), secrets


def test_compose_names_all_its_secrets() -> None:
    asked = {key for body in compose()["services"].values() for key in body.get("environment", {}) if SECRET.search(key)}
    assert asked == {"POSTGRES_PASSWORD", "PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_no_other_file_holds_a_password() -> None:
    """A value behind a name that sounds like a secret's: only the files for trying out have one."""
    assigned = re.compile(r"(?im)^[^#\n]*(?:password|secret[_-]?access[_-]?key|access[_-]?key[_-]?id)\"?[=:] ?([\w+/.-]+)")
    holding = {
        str(file.relative_to(INFRA)): assigned.findall(file.read_text())
        for file in INFRA.rglob("*")
        if file.suffix in {".yaml", ".env", ".sh"} or file.name == "Dockerfile"
    }
    found = {name: values for name, values in holding.items() if values}
    assert set(found) == {"local.env", "kubernetes/overlays/trial/secret.yaml"}
    assert {value for values in found.values() for value in values} == {"local", "trial"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_as_nobody_in_particular_and_is_reached_by_loopback_alone(name: str) -> None:
    body = compose()["services"][name]
    assert int(body["user"].split(":")[0]) > 0
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in body
    assert all(port.startswith("127.0.0.1:") for port in body.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_looked_after(name: str) -> None:
    body = compose()["services"][name]
    job = body["restart"].startswith("on-failure")
    assert job or (body["restart"] == "unless-stopped" and body["healthcheck"]["test"][0] == "CMD")
    assert body["deploy"]["resources"]["limits"]["memory"]
    assert PINNED.fullmatch(re.sub(r"\$\{\w+:-(.+)\}", r"\1", body["image"])), body["image"]


def test_images_are_built_from_pinned_ones_and_end_as_another_user() -> None:
    lines = (INFRA / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    python = next(line for line in lines if line.startswith("ARG PYTHON="))
    assert re.fullmatch(r"ARG PYTHON=3\.11\.\d+-slim-\w+", python)
    stages = {line.split()[3] for line in lines if line.startswith("FROM") and " AS " in line}
    assert set(bases) - stages == {"python:${PYTHON}"}
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert lines.index("USER 10001:10001") > lines.index("FROM python:${PYTHON} AS base")
    assert all(f"FROM base AS {target}" in lines for target in ("cpu", "gpu", "s3"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_in_kubernetes_are_locked_in(overlay: str) -> None:
    for name, spec in pods(built(overlay)).items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
    for name, container in containers(built(overlay)).items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert PINNED.fullmatch(container["image"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_in_kubernetes_say_what_they_need(overlay: str) -> None:
    once = {"prefect-worker/work-pool", "bucket/bucket"}
    for name, container in containers(built(overlay)).items():
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name
        assert name in once or {"readinessProbe", "livenessProbe"} & set(container), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_in_kubernetes_are_referred_to(overlay: str) -> None:
    def secret(entry: dict[str, Any]) -> bool:
        return bool(SECRET.search(entry["name"]))

    entries = [
        entry for container in containers(built(overlay)).values() for entry in container.get("env", []) if secret(entry)
    ]
    assert entries
    assert all(entry["valueFrom"]["secretKeyRef"]["name"] == "trunkline" for entry in entries)
    assert [each["kind"] for each in built(overlay)].count("Secret") == (overlay == "overlays/trial")
