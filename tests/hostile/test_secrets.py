"""Keys, passwords, tokens and signatures: given in every place that takes them, found in none that is written."""

from __future__ import annotations

import http.server
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2s_batch.api.reports import write_report
from i2s_batch.cli import main
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import CheckpointError, I2SError, SourceError, StorageError
from i2s_batch.models.loading import generator_weights
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store
from i2s_batch.storage.downloads import stage
from i2s_batch.storage.urls import hide_secrets, without_secrets
from tests import runs
from tests.material import scene
from tests.storage.test_pictures import save

SECRETS = {
    "password": "pa55word-of-the-server",
    "signature": "5ignature0f-the-url",
    "key": "AKIAFAKEKEYOFTHETESTS",
    "secret key": "s3cret/key+of-the-tests",
    "token": "t0ken-of-the-session",
}
QUERY = f"X-Amz-Signature={SECRETS['signature']}&X-Amz-Security-Token={SECRETS['token']}"


def secrets_in(data: bytes) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret.encode() in data]


@pytest.fixture
def web(generator: Path, vgg: Path) -> Iterator[str]:
    """A server of weights that wants a password and a signature, at `http://user:password@host`."""
    expected = "Basic " + b64encode(f"user:{SECRETS['password']}".encode()).decode()
    files = {"/g.safetensors": generator, "/vgg.pth": vgg}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/moved":
                self.send_response(302)
                self.send_header("Location", f"http://example.com/x?{QUERY}")
                self.end_headers()
                return
            if self.headers["Authorization"] != expected or query != QUERY or path not in files:
                self.send_error(403, f"no access to http://user:{SECRETS['password']}@host{self.path}")
                return
            data = files[path].read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://user:{SECRETS['password']}@127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_whole_run(
    s3_bucket: str, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["secret key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS["token"])
    monkeypatch.setenv("I2S_CACHE", str(tmp_path / "cache"))
    pictures = open_store(f"s3://{s3_bucket}/pictures")
    for number in range(3):
        pictures.put(f"{number}.png", save(scene(number, (24, 24)), "PNG"))
    pictures.put("broken.png", b"\x89PNG")
    out = f"s3://{s3_bucket}/out"
    config = EmbedRunConfig(embed=EmbedConfig(steps=2), batch_size=2, device="cpu", max_failed_fraction=1.0)
    said: list[str] = []
    weights = [f"{web}/{name}?{QUERY}" for name in ("g.safetensors", "vgg.pth")]
    job = EmbedRunRequest(pictures.url, out, *weights, config)
    assert runs.embed(job, said=said).failed == 1
    write_report(out, generator_weights(weights[0]))
    written = {info.key: open_store(out).get(info.key) for info in open_store(out).list()}
    assert {"run.json", "summary.json", "report.html"} <= written.keys() and len(written) >= 5
    for key, data in written.items():
        assert secrets_in(data) == [], key
    output = capfd.readouterr()
    assert secrets_in("\n".join([*said, output.out, output.err]).encode()) == []
    assert [path.name for path in (tmp_path / "cache").iterdir() if secrets_in(path.name.encode())] == []


@pytest.mark.parametrize("path", ["/missing", "/moved", "/a b", "/g.safetensors"])
def test_failed_downloads(web: str, tmp_path: Path, path: str) -> None:
    """Messages name the place, not the way in: not even those of the server or of the standard library."""
    wrong = web.replace("user:", "nobody:") if path == "/g.safetensors" else web
    with pytest.raises(CheckpointError) as caught:
        stage(f"{wrong}{path}?{QUERY}", None, tmp_path)
    assert secrets_in(str(caught.value).encode()) == []
    assert ("example.com" if path == "/moved" else "127.0.0.1") in str(caught.value)


@pytest.mark.parametrize("url", ["https://[half", "https://user:{0}@[::1/x?{0}", "ftp://user:{0}@host/x", "https://"])
def test_urls_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        stage(url.format(SECRETS["password"]), None, tmp_path)
    assert secrets_in(str(caught.value).encode()) == []


KEYED = f"s3://{SECRETS['key']}:{SECRETS['password']}@bucket/pictures"


def test_keys_in_a_url_of_s3_are_refused_and_not_shown(tmp_path: Path) -> None:
    for name, line in (("a.txt", f"{KEYED}/x.png\n"), ("b.txt", f"https://host/x.png?{QUERY}\n")):
        (tmp_path / name).write_text(line)
    sources = [KEYED, f"{KEYED}/list.csv", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), f"https://h/x?{QUERY}"]
    for source in sources:
        with pytest.raises((SourceError, StorageError)) as caught:
            list_images(source)
        assert secrets_in(str(caught.value).encode()) == []
    for url in (KEYED, f"https://user:{SECRETS['password']}@host/out?{QUERY}"):
        with pytest.raises(I2SError) as refused:
            open_store(url).put("a", b"")
        assert secrets_in(str(refused.value).encode()) == []


def test_the_endpoint_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["secret key"])
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for endpoint in (f"http://user:{SECRETS['password']}@127.0.0.1:9", f"{SECRETS['password']}, no url"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(StorageError) as caught:
            open_store("s3://bucket/x").get("a")
        assert secrets_in(str(caught.value).encode()) == []


def test_the_command_line_shows_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is fetched; what is said goes into somebody's log."""
    (tmp_path / "a.png").write_bytes(save(scene(1, (8, 8)), "PNG"))
    for option in (["--generator", f"ftp://user:{SECRETS['password']}@host/g?{QUERY}"], [f"--generator={KEYED}"]):
        with pytest.raises(SystemExit) as left:
            main(["embed", str(tmp_path), str(tmp_path / "out"), "--vgg", "random", *option])
        output = capsys.readouterr()
        assert left.value.code == 2 and secrets_in((output.out + output.err).encode()) == []
        assert output.err.startswith("i2s-batch: ") and output.err.count("\n") == 1


def test_what_is_shown_of_urls() -> None:
    assert without_secrets("https://u:p@host:1/a/b.pkl?sig=x#frag") == "https://host:1/a/b.pkl"
    assert without_secrets("https://host?sig=x") == "https://host"
    assert without_secrets("s3://bucket/a?b#c@d") == "s3://bucket/a?b#c@d"
    assert without_secrets("s3://k:s@bucket/a") == "s3://bucket/a"
    assert without_secrets("/a/b?c@d") == "/a/b?c@d"
    assert (
        hide_secrets("see 'https://u:p@h/x?y=z' and --generator=http://a@b/c")
        == "see 'https://h/x' and --generator=http://b/c"
    )
