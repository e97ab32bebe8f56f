"""`/metrics` in Prometheus's format and `/healthz`, of a folder of figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.core import CollectorRegistry, Metric

from trunkline.errors import SpecError
from trunkline.telemetry.folder import collect
from trunkline.telemetry.names import FIGURES, Kind, parsed

PORT = 9750
REQUEST_SECONDS = 10.0

Start = Callable[[str, list[tuple[str, str]]], Any]


class FolderCollector:
    """prometheus_client's collector of a folder: read anew at each scrape."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collect(self) -> Iterator[Metric]:
        found = {
            name: Metric(name.removesuffix("_total"), figure.help, "counter" if figure.kind == Kind.COUNTER else "gauge")
            for name, figure in FIGURES.items()
        }
        for key, value in sorted(collect(self.folder).items()):
            name, labels = parsed(key)
            found[name].add_sample(name, labels, value)
        yield from found.values()


class Endpoint:
    """An HTTP server; `serve` blocks until `stop`.

    Raises
    ------
    SpecError : the folder cannot be made, or the port cannot be had.
    """

    def __init__(self, folder: Path, host: str, port: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"{folder} cannot be a folder of metrics ({error}). Name another with --folder.") from error
        self._folder = folder
        registry = CollectorRegistry()
        registry.register(FolderCollector(folder))
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(host, port, self._answer, _Server, _Requests)
        except OSError as error:
            raise SpecError(
                f"The metrics cannot be served at {host}:{port} ({error}). Is it in use? Name another with --port or "
                "TRUNKLINE_METRICS_PORT."
            ) from error

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]!s}:{self._server.server_port}/metrics"

    def serve(self) -> None:
        with self._server:
            self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End `serve`; may be called in a signal handler."""
        threading.Thread(target=self._server.shutdown, daemon=True).start()

    def _answer(self, request: dict[str, Any], start: Start) -> Iterable[bytes]:
        match request["PATH_INFO"]:
            case "/metrics":
                try:
                    answer: Iterable[bytes] = self._metrics(request, start)
                    return answer
                except OSError as error:
                    return _plain(start, "500 Internal Server Error", f"{error}\n")
            case "/healthz":
                try:
                    collect(self._folder)
                except OSError as error:
                    return _plain(start, "503 Service Unavailable", f"{error}\n")
                return _plain(start, "200 OK", "ok\n")
            case _:
                return _plain(start, "404 Not Found", "There is /metrics and /healthz.\n")


def _plain(start: Start, status: str, text: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Requests(WSGIRequestHandler):
    timeout = REQUEST_SECONDS  # of a client that connects and says nothing

    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is no news."""
