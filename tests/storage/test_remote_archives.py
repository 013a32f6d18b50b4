"""Archives in stores: S3 by a real server, and a web server that sends parts or does not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from i2s_batch.errors import PictureError
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import open_store, web
from tests.storage.archive_files import contents, listed, png, tar_of
from tests.storage.test_image_tables import write


@pytest.mark.slow
def test_archives_on_s3_are_read_by_ranges(tmp_path: Path, s3_bucket: str, s3_downloads: list[int]) -> None:
    client = boto3.client("s3")
    large = {f"{number}.bmp": bytes([number]) * (3 << 20) for number in range(4)}
    for shard in range(3):
        path = tar_of(tmp_path / f"s-{shard:02d}.tar", {**large, "a.png": png(shard), "a.txt": b"one"})
        client.upload_file(str(path), s3_bucket, f"p/{path.name}")
    path = write(tmp_path / "t.parquet", {"image": [{"bytes": png(number), "path": None} for number in range(40)]})
    client.upload_file(str(path), s3_bucket, "q/t.parquet")
    names = sorted([*large, "a.png"])
    for source in (f"s3://{s3_bucket}/p", f"s3://{s3_bucket}/p/s-{{00..02}}.tar", f"s3://{s3_bucket}/p/*.tar"):
        s3_downloads.clear()
        rows = listed(source)
        assert sorted(rows) == sorted(f"s-{shard:02d}.tar/{name}" for shard in range(3) for name in names)
        assert sum(s3_downloads) < 18 << 20, "the half of what the tars hold: between headers nothing is read"
    assert listed(f"s3://{s3_bucket}/p/s-01.tar")["s-01.tar/a.png"]["txt"] == "one"
    s3_downloads.clear()
    assert read_bytes(str(rows["s-01.tar/a.png"]["uri"])) == png(1)
    assert s3_downloads == [len(png(1)) + 512]
    assert read_bytes(str(rows["s-02.tar/3.bmp"]["uri"])) == large["3.bmp"]
    assert list(contents(listed(f"s3://{s3_bucket}/q")).values()) == [png(number) for number in range(40)]
    client.put_object(Bucket=s3_bucket, Key="p/s-02.tar", Body=b"short")
    with pytest.raises(PictureError, match="written again"):
        read_bytes(str(rows["s-02.tar/3.bmp"]["uri"]))
    client.delete_object(Bucket=s3_bucket, Key="p/s-02.tar")
    with pytest.raises(PictureError, match="does not exist"):
        read_bytes(str(rows["s-02.tar/3.bmp"]["uri"]))
    store = open_store(f"s3://{s3_bucket}/p")
    assert store.get_part("s-01.tar", 1 << 40, (1 << 40) + 5) == store.get_part("s-01.tar", 5, 5) == b""


class _Parts(http.server.BaseHTTPRequestHandler):
    data: bytes
    sends_parts = True

    def do_GET(self) -> None:
        wanted, data = self.headers.get("Range"), self.data
        if wanted and self.sends_parts:
            start, stop = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            data = data[start : stop + 1]
            self.send_response(206 if data else 416)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[_Parts]]]:
    monkeypatch.setattr(web, "PAUSE_S", 0.001)
    handler = type("Handler", (_Parts,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler
        running.shutdown()
        thread.join()


def test_archives_of_a_web_server(tmp_path: Path, server: tuple[str, type[_Parts]]) -> None:
    url, handler = server
    images = {f"x/{number}.png": png(number) for number in range(5)}
    handler.data = tar_of(tmp_path / "a.tar", images).read_bytes()
    rows = listed(f"{url}/d/s-{{0..1}}.tar")
    assert contents(rows) == {f"s-{shard}.tar/{name}": data for shard in range(2) for name, data in images.items()}
    store = open_store(f"{url}/d")
    assert store.get_part("s-0.tar", 1 << 30, (1 << 30) + 9) == b"" and store.get_part("s-0.tar", 0, 1) == b"x"
    handler.sends_parts = False
    with pytest.raises(PictureError, match="its server sends no parts of a file; download the file"):
        read_bytes(str(rows["s-0.tar/x/1.png"]["uri"]))
