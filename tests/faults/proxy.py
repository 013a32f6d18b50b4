"""A bad network before an S3 server: a real HTTP proxy that breaks a seeded share of the requests."""

from __future__ import annotations

import http.client
import http.server
import random
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

FAULTS = ("busy", "reset before", "reset after", "cut", "cut to nothing", "hang before", "hang after", "trickle")
BURST = 3  # requests that a busy store refuses one after the other
TRICKLE_S = 0.1  # between two bytes

_SOME_REFUSED = b"<DeleteResult><Error><Key>k</Key><Code>InternalError</Code></Error></DeleteResult>"
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class FaultProxy:
    """Passes requests on to `upstream`, a share `rate` of them with one of `faults`.

    `hang_s`: how long a request that hangs is held. `injected` counts (fault, kind of request); `asked` the requests
    of each kind. `script`: faults for the next requests, '' for none; they come before those by chance.
    """

    def __init__(self, upstream: str, rate: float = 0.0, seed: int = 0, hang_s: float = 1.0) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.rate, self.hang_s = rate, hang_s
        self.faults = FAULTS
        self.injected: Counter[tuple[str, str]] = Counter()
        self.asked: Counter[str] = Counter()
        self.script: deque[str] = deque()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._busy = 0

    def fault(self, kind: str) -> str:
        """What is to happen to the next request, which is of this kind."""
        with self._lock:
            self.asked[kind] += 1
            if self.script:
                fault = self.script.popleft()
            elif self._busy:
                self._busy -= 1
                fault = "busy"
            else:
                fault = self._random.choice(self.faults) if self._random.random() < self.rate else ""
                self._busy = BURST - 1 if fault == "busy" else 0
            if fault:
                self.injected[fault, kind] += 1
            return fault


def kind_of(method: str, path: str, headers: http.client.HTTPMessage) -> str:
    """What a request does."""
    if method == "PUT":
        return "conditional write" if headers.get("If-Match") or headers.get("If-None-Match") else "write"
    if method == "POST":
        return "upload" if "uploads" in path or "uploadId" in path else "delete"
    return "listing" if "list-type=2" in path else "read"


@contextmanager
def running(proxy: FaultProxy) -> Iterator[str]:
    """The endpoint of a running proxy, on loopback."""
    handler = type("Handler", (_Handler,), {"proxy": proxy, "timeout": 60})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *about: None  # clients give up on answers that hang
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault(kind_of(self.command, self.path, self.headers))
        if fault == "busy":
            self._answer(503, [], _BUSY)
        elif fault == "some refused":  # of a deletion of many; by script only
            self._answer(200, [], _SOME_REFUSED)
        elif fault == "reset before":
            self._reset()
        elif fault == "hang before":
            self._hang()
        else:
            status, headers, answer = self._ask(body)
            if fault == "reset after":
                self._reset()
            elif fault == "hang after":
                self._hang()
            elif fault in ("cut", "cut to nothing"):
                self._answer(status, headers, answer, until=0 if fault == "cut to nothing" else len(answer) // 2)
                self._reset(gently=True)
            elif fault == "trickle":
                self._trickle(status, headers, answer)
            else:
                self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, until: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:until])

    def _trickle(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._answer(status, headers, body, until=0)
        for place in range(len(body)):
            self.wfile.write(body[place : place + 1])
            time.sleep(TRICKLE_S)

    def _hang(self) -> None:
        time.sleep(self.proxy.hang_s)
        self.close_connection = True

    def _reset(self, gently: bool = False) -> None:
        """End the connection: with a RST, or after what was sent."""
        if not gently:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass
