"""compose.yaml becomes records: variables, profiles, replicas, ports, folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.stack.compose import Mount, Port, Service, published_ports, read_services, read_variables, resolved
from infra.stack.errors import MissingPart
from infra.stack.stack import LOCAL
from tests.infra.files import COMPOSE

VARIABLES = read_variables(LOCAL)


def service(name: str, **variables: str) -> Service:
    return next(each for each in read_services(COMPOSE, {**VARIABLES, **variables}) if each.name == name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("${A:-2}/${B:-3}", "1/3"),
        ("${EMPTY:-4}", "4"),
        ("${B:-http://host:${A:-5}/api}", "http://host:1/api"),
        ("${A:?say what}", "1"),
    ],
)
def test_variables_are_resolved_as_compose_does(text: str, expected: str) -> None:
    assert resolved(text, {"A": "1", "EMPTY": ""}) == expected


def test_a_missing_variable_says_what_to_do() -> None:
    with pytest.raises(MissingPart, match=r"compose.yaml needs the variable SECRET: set it to your own\.") as caught:
        resolved("${SECRET:?set it to your own.}", {})
    assert caught.value.exit_code == 2


def test_without_its_variables_compose_starts_nothing() -> None:
    with pytest.raises(MissingPart, match="needs the variable POSTGRES_PASSWORD: set it to a password of your own"):
        read_services(COMPOSE, {})


def test_profiles_choose_services() -> None:
    always = {"postgres", "prefect-server", "work-pool", "prefect-worker", "dask-scheduler", "dask-worker", "metrics"}
    chosen = {profile: {each.name for each in read_services(COMPOSE, {**VARIABLES, "COMPOSE_PROFILES": profile})} for profile in
              ("", "local", "gpu", "local,gpu")}  # fmt: skip
    assert chosen == {
        "": always,
        "local": always | {"s3", "bucket"},
        "gpu": always | {"dask-worker-gpu"},
        "local,gpu": always | {"s3", "bucket", "dask-worker-gpu"},
    }


def test_a_service_is_read_whole() -> None:
    server = service("prefect-server", PREFECT_PORT="4321")
    assert server.command == ("prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200")
    assert server.environment["PREFECT_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert server.ports == (Port(4200, "PREFECT_PORT"),)
    assert server.mounts == (Mount("/tmp"), Mount("/home/trunkline"))
    assert server.check == ("python", "-m", "infra.healthy", "http://127.0.0.1:4200/api/ready")
    assert server.needs == {"postgres": "service_healthy"}
    assert (server.runs_once, server.start_period, server.grace, server.stop_signal) == (False, 120, 10, "SIGTERM")


def test_workers_are_as_many_as_asked_for() -> None:
    assert service("dask-worker").processes == ("dask-worker-1", "dask-worker-2")
    assert service("dask-worker", WORKERS="1").processes == ("dask-worker",)
    assert service("dask-worker").mounts[:2] == (Mount("/var/lib/dask"), Mount("/var/lib/trunkline/metrics", "metrics"))
    assert service("bucket").runs_once
    assert service("postgres").stop_signal == "SIGINT"


def test_published_ports_have_variables() -> None:
    assert published_ports(COMPOSE.read_text()) == {
        "PREFECT_PORT": 4200,
        "DASK_PORT": 8786,
        "DASK_DASHBOARD_PORT": 8787,
        "TRUNKLINE_METRICS_PORT": 9750,
        "S3_PORT": 5000,
    }


def test_an_environment_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "some.env").write_text("# words\n\nA=1\nB=x=y\n")
    assert read_variables(tmp_path / "some.env") == {"A": "1", "B": "x=y"}
