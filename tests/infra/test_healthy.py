"""Whether something answers."""

from __future__ import annotations

import http.server
import threading

import pytest

from infra.healthy import healthy


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_it_asks_directly_and_believes_good_answers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert healthy(f"{url}/well")
        assert not healthy(f"{url}/ill")
        server.shutdown()
    assert not healthy(f"{url}/well")
    assert not healthy("no address")
