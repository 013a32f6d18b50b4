"""A hub of data sets on loopback, with the requests of huggingface_hub that reading one needs."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlparse

_API = "/api/datasets/user/faces"
_FILES = "/datasets/user/faces/resolve/"
_COMMIT, _OID = "a" * 40, "b" * 40


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of one data set, user/faces."""

    protocol_version = "HTTP/1.1"
    files: Mapping[str, bytes]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        if path.startswith(f"{_API}/tree/"):
            self._send(200, self._tree(path.removeprefix(f"{_API}/tree/").partition("/")[2]))
        elif path == _API or path.startswith(f"{_API}/revision/"):
            self._send(200, {"id": "user/faces", "sha": _COMMIT, "private": False, "tags": [], "siblings": []})
        elif path.startswith(_FILES) and (name := path.removeprefix(_FILES).partition("/")[2]) in self.files:
            self._send_file(self.files[name])
        else:
            self._send(404, {})

    def _tree(self, top: str) -> list[dict[str, Any]]:
        below = [name for name in self.files if not top or name.startswith(f"{top}/")]
        folders = {name.rpartition("/")[0] for name in below} - {"", top}
        entries = [{"type": "directory", "path": each, "size": 0, "oid": _OID} for each in sorted(folders)]
        return entries + [{"type": "file", "path": each, "size": len(self.files[each]), "oid": _OID} for each in below]

    def _send_file(self, data: bytes) -> None:
        headers = {"ETag": f'"{_OID}"', "X-Repo-Commit": _COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if not wanted:
            self._send(200, data, headers)
            return
        start, _, stop = wanted.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(stop or len(data)), len(data) - 1)
        self._send(206, data[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/octet-stream" if data is body else "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def hub_of(files: Mapping[str, bytes]) -> Iterator[str]:
    """The endpoint of a hub whose data set user/faces holds some files."""
    handler = type("Handler", (_Handler,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
