"""A scheduler that somebody else runs: reached with patience, over TLS too, and given up with what to check."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import certificates
from tests.clusters.certificates import Certificates
from tests.clusters.processes import scheduler, worker
from tests.s3 import free_port
from trunkline.clusters import Cluster
from trunkline.errors import RunError, SpecError
from trunkline.progress import Step
from trunkline.specs import ClusterSpec, TlsSpec


def square(job: int, item: int) -> tuple[int, int]:
    return item, job + item * item


def spec_of(address: str, patience: float = 60.0, tls: TlsSpec | None = None) -> ClusterSpec:
    return ClusterSpec(kind="address", address=address, patience=patience, tls=tls or TlsSpec())


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.made(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with one worker."""
    folder = tmp_path_factory.mktemp("there")
    with scheduler(folder) as address, worker(folder, address):
        yield address


def test_an_existing_scheduler_is_used_and_left_running(there: str):
    for _ in range(2):
        with Cluster(spec_of(there)) as cluster:
            assert cluster.workers == 1
            assert cluster.executor.threads >= 1
            assert list(cluster.executor.map(square, 0, [4])) == [(4, 16)]


def test_no_scheduler_answers(caplog: pytest.LogCaptureFixture):
    said: list[Step] = []
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        Cluster(spec_of(address, patience=4.0), said.append) as cluster,
        caplog.at_level(logging.WARNING),
        pytest.raises(
            RunError,
            match=rf"No Dask scheduler answers at {address}, tried \d times in \d+ s \(.*\). Is it running \(`dask scheduler`\), "
            r"is this its host and port, does a firewall lie between, does it ask for TLS \(tls:// and cluster\.tls\)\?",
        ),
    ):
        _ = cluster.executor
    assert f"The Dask scheduler {address} does not answer yet" in caplog.text
    assert "does not answer yet" in said[0].note


@pytest.mark.slow
def test_a_scheduler_that_comes_late_is_waited_for(tmp_path: Path):
    """And its worker later still."""
    port, waited = free_port(), threading.Event()

    def start_when_it_is_missed() -> None:
        waited.wait(60)
        later.enter_context(scheduler(tmp_path, port=port))
        later.enter_context(worker(tmp_path, f"tcp://127.0.0.1:{port}"))

    starting = threading.Thread(target=start_when_it_is_missed)
    with contextlib.ExitStack() as later:
        starting.start()
        with Cluster(spec_of(f"tcp://127.0.0.1:{port}"), lambda _: waited.set()) as cluster:
            assert list(cluster.executor.map(square, 0, [4])) == [(4, 16)]
        starting.join()


def test_a_scheduler_without_workers_is_waited_for_and_then_refused(tmp_path: Path):
    said: list[Step] = []
    with (
        scheduler(tmp_path) as address,
        Cluster(spec_of(address, patience=1.0), said.append) as cluster,
        pytest.raises(
            RunError,
            match=rf"The Dask scheduler {address} answers and has no workers, after waiting 1 s\. Start some \(`dask worker",
        ),
    ):
        _ = cluster.executor
    assert f"{address} has no workers yet" in said[-1].note


def test_something_else_answers():
    """A web server on the port that was named."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.server_address[1]}"
        with Cluster(spec_of(address, patience=0.5)) as cluster, pytest.raises(RunError, match=r"No Dask scheduler answers"):
            _ = cluster.executor
        server.shutdown()


@pytest.mark.slow
def test_over_tls(tmp_path: Path, signed: Certificates):
    with (
        scheduler(tmp_path, *signed.options(), protocol="tls") as address,
        worker(tmp_path, address, *signed.options()),
    ):
        with Cluster(spec_of(address, tls=signed.spec)) as cluster:
            assert list(cluster.executor.map(square, 0, [4])) == [(4, 16)]
        plain = address.replace("tls://", "tcp://")
        with Cluster(spec_of(plain, patience=1.0)) as cluster, pytest.raises(RunError, match=r"does it ask for TLS"):
            _ = cluster.executor
        strangers = certificates.made(tmp_path / "strangers").spec
        with (
            Cluster(spec_of(address, patience=1.0, tls=strangers)) as cluster,
            pytest.raises(RunError, match=r"is it one without encryption \(tcp://\)"),
        ):
            _ = cluster.executor


@pytest.mark.parametrize("name", ["ca", "certificate", "key"])
def test_certificate_files_have_to_be_there(signed: Certificates, tmp_path: Path, name: str):
    tls = signed.spec.model_copy(update={name: str(tmp_path / "nowhere.pem")})
    with (
        pytest.raises(SpecError, match=rf"cluster\.tls\.{name} is '.*nowhere\.pem', which cannot be read \(No such file"),
        Cluster(spec_of("tls://127.0.0.1:1", tls=tls)),
    ):
        pass


def test_certificate_files_need_an_encrypted_address(signed: Certificates):
    with (
        pytest.raises(SpecError, match=r"cluster\.address tcp://127\.0\.0\.1:1 is not encrypted: write tls:// in front"),
        Cluster(spec_of("tcp://127.0.0.1:1", tls=signed.spec)),
    ):
        pass


def test_an_encrypted_address_needs_certificate_files():
    with (
        Cluster(spec_of("tls://127.0.0.1:1")) as cluster,
        pytest.raises(
            SpecError, match=r"cluster\.address is tls://127\.0\.0\.1:1, and no certificate is named: give cluster\.tls\.ca"
        ),
    ):
        _ = cluster.executor


def test_a_key_of_another_certificate_is_refused(signed: Certificates, tmp_path: Path):
    other = certificates.made(tmp_path)
    tls = signed.spec.model_copy(update={"key": str(other.key)})
    with (
        Cluster(spec_of("tls://127.0.0.1:1", tls=tls)) as cluster,
        pytest.raises(
            SpecError, match=r"The certificate files for tls://127\.0\.0\.1:1 cannot be used \(.*\): cluster\.tls wants PEM"
        ),
    ):
        _ = cluster.executor


def test_a_file_that_is_no_certificate_is_refused(signed: Certificates, tmp_path: Path):
    (tmp_path / "ca.pem").write_text("this is no certificate")
    tls = signed.spec.model_copy(update={"ca": str(tmp_path / "ca.pem")})
    with Cluster(spec_of("tls://127.0.0.1:1", tls=tls)) as cluster, pytest.raises(SpecError, match=r"cannot be used"):
        _ = cluster.executor
