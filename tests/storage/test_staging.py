"""Weights are fetched once, whole and checked, from a real server."""

from __future__ import annotations

import hashlib
import http.server
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.storage.downloads import stage
from i2s_batch.storage.resumed_download import DownloadRules

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
QUICK = DownloadRules(pause_s=0.001)
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


class _Server(http.server.BaseHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/missing.pt":
            self.send_error(404)
            return
        self.send_response(302 if self.path == "/away.pt" else 200)
        if self.path == "/away.pt":
            self.send_header("Location", "http://example.com/g.pt")
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        self.wfile.write(WEIGHTS[: 1000 if self.path in ("/short.pt", "/away.pt") else None])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """Address of a web server on loopback, and the paths that were asked for."""
    requests: list[str] = []
    handler = type("Handler", (_Server,), {"requests": requests})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def left_in(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


def test_a_local_path_is_returned_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "g.pt"
    file.write_bytes(WEIGHTS)
    assert stage(str(file)) == file
    assert stage(file, sha256_prefix=DIGEST[:8].upper()) == file
    with pytest.raises(CheckpointError, match=rf"g.pt' has SHA-256 {DIGEST}, not 00ff"):
        stage(file, sha256_prefix="00ff")
    with pytest.raises(CheckpointError, match=r"missing.pt' does not exist"):
        stage(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match=r"is a folder"):
        stage(tmp_path)


def test_download_once(web: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requests = web
    first = stage(f"{url}/nets/g.pt", DIGEST[:8], tmp_path)
    assert first.read_bytes() == WEIGHTS
    assert first.name.endswith("-g.pt")
    assert stage(f"{url}/nets/g.pt", DIGEST[:8], tmp_path) == first
    assert requests == ["/nets/g.pt"]
    assert stage(f"{url}/other/g.pt", None, tmp_path) != first
    assert len(left_in(tmp_path)) == 2


def test_the_cache_follows_the_environment(
    web: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2S_CACHE", str(tmp_path / "cache"))
    assert stage(f"{web[0]}/g.pt").parent == tmp_path / "cache"
    monkeypatch.delenv("I2S_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stage(f"{web[0]}/g.pt").parent == tmp_path / ".cache" / "i2s_batch"


def _stage(url: str, cache: str) -> str:
    return str(stage(url, None, cache))


def test_many_processes_download_once(web: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requests = web
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.starmap(_stage, [(f"{url}/g.pt", str(tmp_path))] * 6)
    assert len(set(paths)) == 1
    assert requests == ["/g.pt"]


def test_a_wrong_hash_is_not_kept(web: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requests = web
    with pytest.raises(CheckpointError, match=rf"has SHA-256 {DIGEST}, not 00ff"):
        stage(f"{url}/g.pt", "00ff", tmp_path)
    assert left_in(tmp_path) == []
    cached = stage(f"{url}/g.pt", None, tmp_path)
    cached.write_bytes(b"stale")
    assert stage(f"{url}/g.pt", DIGEST, tmp_path).read_bytes() == WEIGHTS
    assert len(requests) == 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing.pt", "the server responded with 404 Not Found"),
        ("/short.pt", "broke off after 1000 of 1048576 bytes"),
        ("/away.pt", "'http://example.com/g.pt' cannot be fetched, only https:// urls can; check"),
    ],
)
def test_failed_downloads(web: tuple[str, list[str]], tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        stage(web[0] + path, None, tmp_path, rules=QUICK)
    assert "local" in str(caught.value)
    assert left_in(tmp_path) == []


def test_unreachable_and_unsafe_urls(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Connection refused \(at 4 attempts\); check .* the local file"):
        stage("https://127.0.0.1:9/g.pt", None, tmp_path, rules=QUICK)
    for url in ("http://example.com/g.pt", "ftp://127.0.0.1/g.pt", "file:///etc/passwd"):
        with pytest.raises(
            CheckpointError, match=r"cannot be fetched; give a local path, or a url with s3://, https://"
        ):
            stage(url, None, tmp_path)


def test_s3(s3: Any, s3_bucket: str, tmp_path: Path) -> None:
    s3.client().put_object(Bucket=s3_bucket, Key="nets/g.pt", Body=WEIGHTS)
    url = f"s3://{s3_bucket}/nets/g.pt"
    first = stage(url, DIGEST, tmp_path)
    assert first.read_bytes() == WEIGHTS
    inode = first.stat().st_ino
    assert stage(url, DIGEST, tmp_path).stat().st_ino == inode
    s3.client().put_object(Bucket=s3_bucket, Key="nets/g.pt", Body=b"new")
    assert stage(url, None, tmp_path).read_bytes() == b"new"
    with pytest.raises(CheckpointError, match=r"missing.pt' does not exist"):
        stage(f"s3://{s3_bucket}/missing.pt", None, tmp_path)
    with pytest.raises(CheckpointError, match=r"the bucket does not exist.*or give a local file"):
        stage("s3://no-such-bucket-for-weights/g.pt", None, tmp_path)


def test_a_cache_that_cannot_be_written(web: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"it is a file, where|a part of the path"):
        stage(f"{web[0]}/g.pt", None, tmp_path / "file" / "cache")
