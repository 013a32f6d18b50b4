"""A web server, a process of its own on loopback, that does what servers do: it stalls, cuts, redirects, lies.

    python web_server.py FILE        prints its port; the first part of a path says what it does (`BEHAVIOURS`)

`/log` gives the requests so far as JSON: path, Range, If-Range, Authorization.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

TAG = '"first"'


class Handler(http.server.BaseHTTPRequestHandler):
    content: bytes
    log: ClassVar[list[dict[str, str | None]]] = []
    seen: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/log":
            self.whole(json.dumps(self.log).encode())
            return
        with self.lock:
            headers = ("Range", "If-Range", "Authorization")
            self.log.append({"path": self.path, **{name: self.headers.get(name) for name in headers}})
            self.seen[self.path] += 1
            self.time = self.seen[self.path]  # counted from 1: a request may get another answer than the first one
        name = self.path.split("/")[1].partition("?")[0]
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, name.replace("-", "_"))()

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def whole(self, content: bytes, **headers: str) -> None:
        self.head(200, len(content), **headers)
        self.wfile.write(content)

    def start(self) -> int:
        """The first byte that is asked for; 0 without a Range, or where If-Range has another tag."""
        wanted = self.headers.get("Range")
        if not wanted or self.headers.get("If-Range", TAG) != TAG:
            return 0
        return int(wanted.removeprefix("bytes=").split("-")[0])

    def rest(self, tag: str = TAG) -> None:
        """Answer as a good server does, also to a Range."""
        start, size = self.start(), len(self.content)
        if not start:
            self.whole(self.content, ETag=tag)
            return
        self.head(206, size - start, Content_Range=f"bytes {start}-{size - 1}/{size}", ETag=tag)
        self.wfile.write(self.content[start:])

    def half(self, status: int = 200, tag: str | None = TAG) -> None:
        headers = {} if tag is None else {"ETag": tag}
        self.head(status, len(self.content), **headers)
        self.wfile.write(self.content[: len(self.content) // 2])
        self.wfile.flush()

    good = rest

    def slow(self) -> None:
        time.sleep(1)
        self.rest()

    def cut(self) -> None:
        self.half() if self.time == 1 else self.rest()

    def cut_always(self) -> None:
        """Cut the first response in the middle; send nothing later."""
        if self.time == 1:
            self.half()
        else:
            self.close_connection = True

    def cut_without_tag(self) -> None:
        self.half(tag=None) if self.time == 1 else self.whole(self.content)

    def stall(self) -> None:
        if self.time == 1:
            self.half()
            time.sleep(30)
        else:
            self.rest()

    def trickle(self) -> None:
        self.head(200, len(self.content))
        for byte in self.content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.02)

    def changed(self) -> None:
        """Cut the old version in the middle; have another one afterwards."""
        if self.time == 1:
            self.head(200, len(self.content), ETag='"old"')
            self.wfile.write(b"\x00" * (len(self.content) // 2))
        else:
            self.rest()

    def spliced(self) -> None:
        """Cut the old version, and then continue with another one, whatever If-Range says."""
        if self.time == 1:
            self.head(200, len(self.content), ETag='"old"')
            self.wfile.write(b"\x00" * (len(self.content) // 2))
        elif wanted := self.headers.get("Range"):
            start, size = int(wanted.removeprefix("bytes=").split("-")[0]), len(self.content)
            self.head(206, size - start, Content_Range=f"bytes {start}-{size - 1}/{size}", ETag=TAG)
            self.wfile.write(self.content[start:])
        else:
            self.rest()

    def busy(self) -> None:
        self.send_error(503) if self.time < 3 else self.rest()

    def gone(self) -> None:
        self.send_error(404)

    def redirect(self) -> None:
        self.head(302, 0, Location=self.path.partition("?")[2])

    def no_content(self) -> None:
        self.send_response(204)
        self.end_headers()

    def part(self) -> None:
        """Send a part to somebody who asked for all."""
        self.head(206, 100, Content_Range=f"bytes 0-99/{len(self.content)}")
        self.wfile.write(self.content[:100])

    def page(self) -> None:
        self.whole(b"<!DOCTYPE html><title>Quota exceeded</title>", Content_Type="text/html; charset=utf-8")

    def unlabelled_page(self) -> None:
        self.whole(b"\n <html><title>Sign in</title></html>", Content_Type="application/octet-stream")

    def empty(self) -> None:
        self.whole(b"")

    def announces_more(self) -> None:
        self.head(200, len(self.content) + 100)
        self.wfile.write(self.content)

    def announces_less(self) -> None:
        self.head(200, len(self.content) - 100)
        self.wfile.write(self.content)

    def announces_nonsense(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "many")
        self.end_headers()
        self.wfile.write(self.content)

    def huge(self) -> None:
        self.head(200, 10**15)
        self.wfile.write(self.content)

    def endless(self) -> None:
        self.head(200, None)
        while True:
            self.wfile.write(self.content)

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    Handler.content = Path(sys.argv[1]).read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
