"""A proxy before an S3 server that makes of it a worse one: without conditional writes, or with another clock."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import urlsplit

_HOP = ("content-length", "connection", "transfer-encoding", "date", "server")
_CONDITIONS = ("if-none-match", "if-match")


@contextmanager
def worse_store(upstream: str, has_conditions: bool = True, shift_s: float = 0.0) -> Iterator[str]:
    """The endpoint of a proxy that drops the conditions of writes, or shifts the time of every answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            dropped = ("expect", "connection", *(() if has_conditions else _CONDITIONS))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            server = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp() + shift_s
            self.send_header("Date", formatdate(date, usegmt=True))
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            server.close()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
