"""The web server of these tests, and published weights whose file it has."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from i2s_batch.weights.licences import Licence
from i2s_batch.weights.published import PUBLISHED, PublishedWeights
from tests.weights import web_server

LICENCE = Licence("Licence of Tests", "https://example.com/licence", "For tests.")


@dataclass(frozen=True)
class Web:
    """The running server and the file that it has."""

    url: str
    content: bytes

    def requests(self, path: str) -> list[dict[str, str | None]]:
        """The requests for a path so far."""
        with urllib.request.urlopen(f"{self.url}/log", timeout=10) as response:
            return [each for each in json.load(response) if each["path"] == path]


@pytest.fixture(scope="session")
def web(generator: Path) -> Iterator[Web]:
    """A web server, a process of its own, that has a small generator."""
    command = [sys.executable, web_server.__file__, str(generator)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Web(f"http://127.0.0.1:{int(server.stdout.readline())}", generator.read_bytes())
        server.terminate()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of caches of this test alone, with which nothing is offline."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("I2S_CACHE", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("I2S_OFFLINE", "0")
    return folder


@pytest.fixture
def published(web: Web) -> Iterator[PublishedWeights]:
    """Published weights of the name `tiny16`, under a licence that is asked for."""
    address = f"{web.url}/good/tiny16.safetensors"
    entry = PublishedWeights("tiny16", "stylegan1", "Nothing.", address, LICENCE, "https://example.com/tiny")
    PUBLISHED.add(entry)
    yield entry
    PUBLISHED.remove("tiny16")
