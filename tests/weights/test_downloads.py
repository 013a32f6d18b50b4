"""Weights come whole, or not at all: from a real server, a process of its own, that does what servers do."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.models import read_generator
from i2s_batch.storage.downloads import WebFetchError, stage
from i2s_batch.storage.resumed_download import DownloadRules
from tests.faults.test_disk import SmallDisk
from tests.weights.conftest import Web
from tests.weights.web_server import Handler

QUICK = DownloadRules(timeout_s=20, pause_s=0.001, from_this_machine=True)
IMPATIENT = DownloadRules(timeout_s=2, pause_s=0.001)
MIDDLE = 2  # the server cuts in the middle


def fetch(url: str, cache: Path, rules: DownloadRules = QUICK) -> bytes:
    return stage(url, None, cache, check=read_generator, rules=rules).read_bytes()


def cached(cache: Path) -> list[str]:
    """What a cache holds beside locks: files, and folders of fetches that can be continued."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.parametrize("how", ["good", "cut", "stall", "cut-without-tag", "changed", "spliced", "busy"])
def test_the_file_comes_whole_whatever_happens_on_the_way(web: Web, cache: Path, how: str) -> None:
    path = f"/{how}/whole.bin"
    assert fetch(web.url + path, cache, IMPATIENT if how == "stall" else QUICK) == web.content
    (name,) = cached(cache)
    assert name.endswith("-whole.bin")
    asked = [each["Range"] for each in web.requests(path)]
    middle = f"bytes={len(web.content) // MIDDLE}-"
    expected = {
        "good": [None],
        "cut": [None, middle],
        "stall": [None, middle],
        "cut-without-tag": [None, None],
        "changed": [None, middle],
        "spliced": [None, middle, None],
        "busy": [None, None, None],
    }
    assert asked == expected[how]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("gone", "the server responded with 404 Not Found"),
        ("no-content", "the server responded with 204 No Content, not with the file"),
        ("part", "the server responded with 206 Partial Content, not with the file"),
        ("page", "a web page came instead of the file"),
        ("unlabelled-page", "a web page came instead of the file"),
        ("empty", "the response was empty"),
        ("announces-more", "it broke off after .* of .* bytes \\(at 4 attempts\\)"),
        ("announces-less", "is not cached: .*; give the right file"),
        ("huge", "it has more than 1000000 bytes, the limit"),
        ("endless", "it has more than 1000000 bytes, the limit"),
    ],
)
def test_what_is_not_the_file_is_one_line_and_leaves_nothing(web: Web, cache: Path, how: str, reason: str) -> None:
    rules = DownloadRules(limit_bytes=10**6, timeout_s=20, pause_s=0.001)
    with pytest.raises(CheckpointError, match=reason) as caught:
        fetch(f"{web.url}/{how}/file.bin?token=secret", cache, rules)
    line = str(caught.value)
    assert "secret" not in line and "\n" not in line and "file.bin" in line
    assert cached(cache) == []


def test_a_response_that_trickles_is_given_up(web: Web, cache: Path) -> None:
    with pytest.raises(WebFetchError, match=r"only .* bytes came in 1 s \(at 1 attempts\)"):
        fetch(f"{web.url}/trickle/g.bin", cache, DownloadRules(timeout_s=1, attempts=1))
    assert cached(cache) == []


def test_a_length_that_is_no_number_does_not_matter(web: Web, cache: Path) -> None:
    assert fetch(f"{web.url}/announces-nonsense/file.bin", cache) == web.content


def test_what_has_come_is_kept_for_the_next_process(web: Web, cache: Path) -> None:
    path = "/cut-always/g.bin?key=secret"
    with pytest.raises(WebFetchError, match=r"g\.bin' cannot be fetched"):
        fetch(web.url + path, cache)
    part, note = (next(cache.rglob(pattern)) for pattern in ("*.part", "*.part.json"))
    assert part.read_bytes() == web.content[: len(web.content) // MIDDLE]
    assert "secret" not in note.read_text() and json.loads(note.read_text())["validator"] == '"first"'
    assert all(each["Range"] for each in web.requests(path)[1:])
    # Another address has nothing to do with it; without the note the part is of no use, and is begun anew.
    assert fetch(f"{web.url}/good/g.bin", cache) == web.content
    note.unlink()
    with pytest.raises(WebFetchError):
        fetch(web.url + path, cache)
    assert web.requests(path)[4]["Range"] is None


def test_redirects(web: Web, cache: Path) -> None:
    url = f"{web.url}/redirect/g.bin?/good/after.bin"
    assert fetch(url, cache) == web.content
    with pytest.raises(
        WebFetchError, match=r"a redirect to 127\.0\.0\.1, an address of this machine or of its own net"
    ):
        fetch(f"{url}&2", cache, DownloadRules(pause_s=0.001))
    for target, reason in (
        ("http://example.com/g", "only https:// urls can"),
        ("https://169.254.169.254/latest", "a redirect to 169.254.169.254, an address of this machine or of its own"),
        ("https://[fe80::1]/g", "a redirect to fe80::1"),
        ("https://[::ffff:127.0.0.1]/g", "a redirect to .*127.0.0.1|7f00:1"),
        ("file:///etc/passwd", "is not allowed"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            fetch(f"{web.url}/redirect/g.bin?{target}", cache)
    assert len(cached(cache)) == 1


@pytest.fixture
def from_afar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The https url of a server whose name is not one of this machine, and that redirects to what follows a `?`."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-subj", "/CN=far.example", "-addext", "subjectAltName=DNS:far.example", "-days", "2", "-nodes"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *options, "-keyout", str(key), "-out", str(certificate)]
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate of an https server, is not installed")
    subprocess.run(made, check=True, capture_output=True)
    Handler.content = b""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = socket.getaddrinfo

    def addresses(host: str, *arguments: Any, **options: Any) -> Any:
        return found("127.0.0.1" if host == "far.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield f"https://far.example:{server.server_address[1]}/redirect/g.bin?"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_other_machine_redirects_to_this_one(web: Web, cache: Path, from_afar: str) -> None:
    for target, reason in (
        (f"{web.url}/good/g.bin", r"a redirect to 127\.0\.0\.1, an address of this machine or"),
        (f"{web.url}/good/g.bin".replace("http:", "https:"), r"a redirect to 127\.0\.0\.1"),
        ("https://far.example/g.bin", r"a redirect to 127\.0\.0\.1"),  # as its name resolves
        ("https://169.254.169.254/latest/meta-data", r"a redirect to 169\.254\.169\.254"),
        ("http://example.com/g.bin", "only https:// urls can"),
    ):
        for rules in (QUICK, DownloadRules(pause_s=0.001)):  # the first lets servers of this machine do so
            with pytest.raises(WebFetchError, match=reason):
                fetch(from_afar + target, cache, rules)
    assert web.requests("/good/g.bin?") == [] and cached(cache) == []


PROGRAM = "import sys; from i2s_batch.storage.downloads import stage; print(stage(sys.argv[1], None, sys.argv[2]))"


def test_two_processes_fetch_once(web: Web, cache: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, f"{web.url}/slow/g.bin", str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in both}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == web.content
    assert len(web.requests("/slow/g.bin")) == 1


def test_a_process_that_is_killed_leaves_what_the_next_one_continues(web: Web, cache: Path) -> None:
    path = "/stall/killed.bin"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, web.url + path, str(cache)]) as process:
        while not any(each.stat().st_size for each in cache.rglob("*.part")):
            assert process.poll() is None
        process.kill()
    assert fetch(web.url + path, cache) == web.content
    assert len(cached(cache)) == 1 and not list(cache.glob(".i2s-tmp-*"))
    assert [each["Range"] for each in web.requests(path)] == [None, f"bytes={len(web.content) // MIDDLE}-"]


@pytest.mark.parametrize("how", ["good", "endless"])  # the size is announced, or is not
def test_a_full_disk(web: Web, how: str) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        disk = SmallDisk(folder, 64)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        folder.rmdir()
        pytest.skip(f"a file system cannot be mounted here ({error})")
    try:
        with pytest.raises(
            CheckpointError, match=r"the disk is full; free some space .*; or set I2S_CACHE to a folder"
        ):
            fetch(f"{web.url}/{how}/full.bin", folder)
        assert cached(folder) == []
    finally:
        disk.close()
        folder.rmdir()


def test_a_cache_that_cannot_be_written_to(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2S_CACHE", "/dev/null/cache")
    with pytest.raises(CheckpointError, match=r"a part of the path is a file.*set I2S_CACHE to a folder that can be"):
        stage(f"{web.url}/good/nowhere.bin")


def test_offline_nothing_is_fetched_and_what_is_cached_is_used(
    web: Web, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = stage(f"{web.url}/good/there.bin", None, cache)
    monkeypatch.setenv("I2S_OFFLINE", "1")
    assert stage(f"{web.url}/good/there.bin", None, cache) == there
    with pytest.raises(WebFetchError, match="is not cached and I2S_OFFLINE is set: nothing is fetched; give a local"):
        stage(f"{web.url}/good/away.bin", None, cache)
    assert web.requests("/good/away.bin") == []
