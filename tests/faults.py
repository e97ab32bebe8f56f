"""A faulty S3 endpoint: stands before a real one, and fails a share of the requests in the ways that real ones fail."""

from __future__ import annotations

import http.client
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

KINDS = ("500", "503", "reset", "reset-after", "truncated", "slow")
ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "409": (409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflicting operation."),
    "403": (403, "AccessDenied", "Access Denied"),
}
SLOW_SECONDS = 0.05
NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


@dataclass
class Rule:
    """Fail the next `times` requests with this method whose path and query hold `part`; an empty method is any."""

    kind: str
    method: str = ""
    part: str = ""
    times: int = 1


class FaultyEndpoint:
    """A proxy before `upstream`, as a context manager. What it did is counted by kind in `done`, and asked for in `asked`."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._lock = threading.Lock()
        self.one_write_at_a_time = threading.Lock()  # moto looks, then writes: of two exclusive creates both could win
        self.begin()

    def begin(self, rate: float = 0.0, kinds: Sequence[str] = KINDS, seed: int = 0, conditions: bool = True) -> None:
        """Forget what was.

        Parameters
        ----------
        rate : share of requests that fail, each in one of `kinds`, drawn from `seed`.
        conditions : whether `If-None-Match` is passed on; there are endpoints that ignore it.
        """
        with self._lock:
            self.rate, self.kinds, self.conditions = rate, kinds, conditions
            self._random = random.Random(seed)
            self._rules: list[Rule] = []
            self.done: Counter[str] = Counter()
            self.asked: list[tuple[str, str]] = []  # method, path and query

    def __enter__(self) -> FaultyEndpoint:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, kind: str, method: str = "", part: str = "", times: int = 1) -> None:
        """The next requests like this fail for certain."""
        self._rules.append(Rule(kind, method, part, times))

    def requests(self, method: str, part: str = "") -> int:
        """How many came with this method, whose path and query hold `part`."""
        return sum(asked == method and part in path for asked, path in self.asked)

    def fault(self, method: str, path: str) -> str:
        """What shall go wrong with this request; '' for nothing."""
        with self._lock:
            self.asked.append((method, path))
            kind = self._ruled(method, path)
            if not kind and self._random.random() < self.rate:
                kind = self._random.choice(self.kinds)
            if kind:
                self.done[kind] += 1
            return kind

    def _ruled(self, method: str, path: str) -> str:
        for rule in self._rules:
            if rule.times and rule.method in ("", method) and rule.part in path:
                rule.times -= 1
                return rule.kind
        return ""


def _handler(endpoint: FaultyEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = endpoint.fault(self.command, self.path)
            if kind in ANSWERS:
                self._refuse(*ANSWERS[kind])
            elif kind == "reset":
                self._reset()
            else:
                status, headers, content = self._forwarded(body)
                if kind == "reset-after" or (kind == "truncated" and len(content) < 2):
                    self._reset()
                elif kind == "truncated":
                    self._answer(status, headers, content[: len(content) // 2], len(content))
                    self._reset()
                else:
                    if kind == "slow":
                        time.sleep(SLOW_SECONDS)
                    self._answer(status, headers, content, len(content))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815

        def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            headers = dict(self.headers.items())
            if not endpoint.conditions:
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
            headers.pop("Expect", None)
            connection = http.client.HTTPConnection(urlsplit(endpoint.upstream).netloc, timeout=60)
            try:
                if self.command == "PUT":
                    with endpoint.one_write_at_a_time:
                        return self._ask(connection, body, headers)
                return self._ask(connection, body, headers)
            finally:
                connection.close()

        def _ask(
            self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]
        ) -> tuple[int, list[tuple[str, str]], bytes]:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int) -> None:
            said = {name.lower(): value for name, value in headers}
            if self.command == "HEAD":
                length = int(said.get("content-length", 0))
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def _refuse(self, status: int, code: str, message: str) -> None:
            content = b""
            if self.command != "HEAD":
                content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], content, len(content))

        def _reset(self) -> None:
            """Not a polite end, but a reset; what was sent before may or may not arrive."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    return Handler
