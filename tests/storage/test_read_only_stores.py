"""What is only read: web servers, Google Cloud Storage (an emulator of it), other file systems of fsspec."""

from __future__ import annotations

import http.server
import io
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import (
    CheckpointError,
    ObjectNotFoundError,
    ObjectUnreadableError,
    PictureError,
    SourceError,
    StorageError,
)
from i2s_batch.output.ownership import claim
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store, web
from i2s_batch.storage.downloads import stage
from i2s_batch.storage.schemes import SCHEMES, Scheme
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import status_of
from tests.runs import embed


class _Web(http.server.BaseHTTPRequestHandler):
    """A web server with some files, which fails as its paths say."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        tries = self.asked.count(self.path)
        data = self.files.get(self.path)
        if data is None or (self.path == "/busy.png" and tries < 3) or self.path == "/dead.png":
            self.send_error(404 if data is None else 503)
            return
        self.send_response(302 if self.path == "/away.png" else 200)
        if self.path == "/away.png":
            self.send_header("Location", "http://example.com/a.png")
        if self.path != "/chunks.png":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path == "/broken.png" and tries < 2 else data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[_Web]]]:
    """The address of a web server on loopback, and its files."""
    monkeypatch.setattr(web, "PAUSE_S", 0.001)
    handler = type("Handler", (_Web,), {"asked": [], "files": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler
        running.shutdown()
        thread.join()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


IMAGE = png(Image.new("RGB", (8, 8), (90, 20, 5)))


def test_images_of_a_list_that_are_on_the_web(
    server: tuple[str, type[_Web]], tmp_path: Path, generator: Path, vgg: Path
) -> None:
    url, handler = server
    handler.files |= {"/a.png": png(scene(0, (24, 24))), "/text.png": b"no image", "/busy.png": IMAGE}
    handler.files |= {f"/lists/{name}.png": IMAGE for name in ("b%20c", "%C3%A9")}
    handler.files["/lists/all.csv"] = f"path,label\n{url}/a.png,1\nb c.png,2\né.png,3\n".encode()
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), precision="fp64")

    def rows(source: str, out: str) -> dict[str, str]:
        embed(EmbedRunRequest(source, str(tmp_path / out), str(generator), str(vgg), config))
        return {row["image_id"]: row["status"] for row in read_table(str(tmp_path / out)).to_pylist()}

    listed = tmp_path / "list.txt"
    listed.write_text(f"{url}/a.png\n{url}/text.png\n{url}/missing.png\n{url}/busy.png\n")
    found = rows(str(listed), "first")
    assert found == {
        f"{url}/a.png": "ok",
        f"{url}/busy.png": "ok",
        f"{url}/missing.png": "unreadable",
        f"{url}/text.png": "unreadable",
    }
    assert rows(f"{url}/lists/all.csv", "second") == {f"{url}/a.png": "ok", "b c.png": "ok", "é.png": "ok"}
    assert rows(f"{url}/a.png", "third") == {"a.png": "ok"}


def test_what_a_web_server_does_wrong_is_about_one_image(server: tuple[str, type[_Web]]) -> None:
    url, handler = server
    names = ("busy", "dead", "broken", "chunks", "away", "large")
    handler.files = {f"/{name}.png": IMAGE for name in names}
    handler.files["/large.png"] = bytes(5000)
    for name in ("busy", "broken", "chunks"):
        assert read_bytes(f"{url}/{name}.png") == IMAGE, name
    assert handler.asked == ["/busy.png"] * 3 + ["/broken.png"] * 2 + ["/chunks.png"]
    for path, reason in (
        ("dead.png", r"503 Service Unavailable \(at 3 attempts\)"),
        ("missing.png", "404 Not Found"),
    ):
        with pytest.raises(PictureError, match=reason):
            read_bytes(f"{url}/{path}")
    for limit, reason in ((4000, "has 5000 bytes; the limit is 4000"),):
        with pytest.raises(PictureError, match=reason):
            read_bytes(f"{url}/large.png", limit)
    with pytest.raises(PictureError, match=f"has more than {len(IMAGE) - 1} bytes"):
        read_bytes(f"{url}/chunks.png", len(IMAGE) - 1)
    with pytest.raises(PictureError, match=r"'http://example.com/a.png' cannot be fetched, only https"):
        read_bytes(f"{url}/away.png")
    with pytest.raises(PictureError, match="Connection refused"):
        read_bytes("https://127.0.0.1:9/a.png")


def test_a_folder_of_a_web_server_cannot_be_listed(server: tuple[str, type[_Web]]) -> None:
    with pytest.raises(StorageError, match=r"cannot be listed; give an image, or a list of urls \(.txt"):
        list_images(f"{server[0]}/images/")


@pytest.mark.parametrize(
    "url", ["https://me:hidden@host/a.png", "https://host/a.png?key=hidden", "https://host/a#hidden"]
)
def test_a_url_with_a_secret_is_refused_without_it(url: str) -> None:
    with pytest.raises(StorageError, match="was given with a user, a query or a fragment") as raised:
        list_images(url)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("url", ["gs://bucket/out", "az://c/out", "hf://datasets/a/b", "https://host/out"])
def test_no_run_has_its_output_where_it_can_only_read(
    url: str, tmp_path: Path, generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StorageError, match=r"cannot be written: .*:// is only read; give a local path or s3://"):
        claim(open_store(url))
    scene(0, (24, 24)).save(tmp_path / "a.png")
    words = ("--generator", generator, "--vgg", "random", "--in-process")
    assert status_of("embed", tmp_path / "a.png", url, *words) == 2
    assert status_of("sample", generator, url, "--seeds", "1", "--device", "cpu") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert all("is only read; give a local path or s3://" in line for line in (first, second))


def test_a_file_system_whose_package_is_not_installed_is_one_line(generator: Path) -> None:
    code = (
        "import sys; sys.modules['adlfs'] = None\n"
        "from i2s_batch.cli import main; "
        f"main(['embed', 'az://container/images', 'out', '--generator', {str(generator)!r}, '--vgg', 'random'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        "az:// needs the package adlfs; install 'i2s_batch[clouds]'" in done.stderr and "Traceback" not in done.stderr
    )


@pytest.fixture
def memory() -> Iterator[str]:
    """A prefix in fsspec's file system in memory, with some files."""
    files = fsspec.filesystem("memory")
    top = f"/store-{os.getpid()}"
    for name, data in (("a b.png", b"1"), ("é/#?.png", b"22"), ("é.png", b"333"), ("other", b"4")):
        files.pipe_file(f"{top}/{name}", data)
    with SCHEMES.added(Scheme("memory", "Memory.", "i2s_batch.storage.file_systems:open_file_system")):
        yield f"memory:/{top}"
    files.rm(top, recursive=True)


def test_a_file_system_reads_as_a_store(memory: str) -> None:
    store = pickle.loads(pickle.dumps(open_store(f"{memory}/")))
    assert [(info.key, info.size) for info in store.list()] == [
        ("a b.png", 1),
        ("other", 1),
        ("é.png", 3),
        ("é/#?.png", 2),
    ]
    assert [info.key for info in store.list("é/")] == ["é/#?.png"]
    assert [info.key for info in store.list("o")] == ["other"]
    assert store.get("é/#?.png", 2) == b"22" and store.etag("other") == store.etag("other")
    with store.open("é.png") as file:
        assert file.read(1) == b"3" and file.seek(0, 2) == 3
    with pytest.raises(ObjectUnreadableError, match="has 3 bytes; the limit is 2"):
        store.get("é.png", 2)
    for action in (store.get, store.open, store.etag):
        with pytest.raises(ObjectNotFoundError, match=r"missing.png' does not exist"):
            action("missing.png")
    with pytest.raises(SourceError, match="holds no files"):
        list_images(f"{memory}/nothing")


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    """The address of an emulator of Google Cloud Storage on loopback, with a bucket that holds some files."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = create_server("127.0.0.1", port, in_memory=True, default_bucket="photos")
    running.start()
    yield f"http://127.0.0.1:{port}"
    running.stop()


def test_google_cloud_storage(
    google: str, tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
    files = fsspec.filesystem("gs")
    image = png(scene(0, (24, 24)))
    for name, data in (("set/a.png", image), ("set/cats/b c.png", image), ("set/x.txt", b"text"), ("other.png", image)):
        files.pipe_file(f"photos/{name}", data)
    files.pipe_file("photos/nets/g.safetensors", generator.read_bytes())
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), precision="fp64")
    network = "gs://photos/nets/g.safetensors"
    monkeypatch.setenv("I2S_CACHE", str(tmp_path / "cache"))
    embed(EmbedRunRequest("gs://photos/set", str(tmp_path / "out"), network, str(vgg), config))
    rows = read_table(str(tmp_path / "out")).to_pylist()
    assert [(row["image_id"], row["uri"], row["status"]) for row in rows] == [
        ("a.png", "gs://photos/set/a.png", "ok"),
        ("cats/b c.png", "gs://photos/set/cats/b c.png", "ok"),
        ("x.txt", "gs://photos/set/x.txt", "not_an_image"),
    ]
    with pytest.raises(PictureError, match=r"'gs://photos/none.png' does not exist"):
        read_bytes("gs://photos/none.png")
    with pytest.raises(CheckpointError, match=r"'gs://photos/none.pkl' does not exist; give the file"):
        stage("gs://photos/none.pkl")
