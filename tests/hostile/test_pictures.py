"""A folder of hostile and odd files: each becomes a row of its own that helps, and no other row minds."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from pathlib import Path

import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import PictureError, SourceError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.names import path_of_image_id
from i2s_batch.sources.source import list_images
from i2s_batch.storage import local
from i2s_batch.table.shards import read_table
from tests import runs
from tests.hostile import zoo
from tests.material import open_to_others, without_power


@pytest.mark.parametrize(
    ("name", "data", "words"), list(zoo.kinds()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_kinds(name: str, data: bytes, words: str | None) -> None:
    if words is None:
        picture = decode_image(data)
        assert picture.ndim == 3 and picture.shape[2] == 3
        return
    with pytest.raises(PictureError) as caught:
        decode_image(data)
    message = str(caught.value)
    assert re.search(words, message) and message.isprintable() and len(message) < 400


def test_there_are_many_kinds() -> None:
    assert len(list(zoo.kinds())) > 60


def test_a_whole_run(tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row for each file, of that file: among hostile ones the good pictures are as if alone."""
    source = tmp_path / "zoo"
    source.mkdir()
    expected = zoo.build(source)
    for name, data in zoo.flipped(36):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
        expected[name] = "."  # a picture or not
    for name, change in (("vanishes.png", _vanish), ("changes.png", _repaint), ("a-pipe-now.png", _become_a_pipe)):
        (source / name).write_bytes(zoo.png_of((255, 0, 0)))
        expected[name] = {"vanishes.png": "does not exist", "changes.png": None}.get(name, "is a pipe")
        _after_the_plan(monkeypatch, source / name, change)
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=8, device="cpu", max_failed_fraction=1.0)
    monkeypatch.chdir(tmp_path)
    runs.embed(EmbedRunRequest(str(source), str(tmp_path / "out"), str(generator), str(vgg), config))
    rows = {path_of_image_id(row["image_id"]): row for row in read_table(str(tmp_path / "out")).to_pylist()}
    assert rows.keys() == expected.keys()
    for name, row in rows.items():
        _check_row(source / name, row, expected[name])
    assert rows["changes.png"]["sha256"] == hashlib.sha256(zoo.png_of((0, 0, 255))).hexdigest()
    losses = [rows[f"names/{os.fsdecode(name)}"]["loss"] for name in zoo.NAMES]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-3), "the same picture under every name"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "zoo"], "nothing ran, nothing was left"


def _check_row(path: Path, row: dict, words: str | None) -> None:
    if words is None:
        assert (row["status"], row["error"]) == ("ok", None), path
    elif words != ".":
        assert row["status"] == "unreadable", path
    if row["status"] == "ok":
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and row["latent"]
        return
    assert row["status"] == "unreadable" and row["latent"] is None and row["error_type"] == "PictureError"
    assert row["error"].isprintable() and re.search(words or "", row["error"]), row["error"]


def _after_the_plan(monkeypatch: pytest.MonkeyPatch, path: Path, change) -> None:
    """Change a file whenever it is about to be read."""
    original = local.open_regular

    def changed_first(name: str, limit_bytes: int | None = None):
        if name == str(path):
            change(path)
        return original(name, limit_bytes)

    monkeypatch.setattr(local, "open_regular", changed_first)


def _vanish(path: Path) -> None:
    path.unlink(missing_ok=True)


def _repaint(path: Path) -> None:
    path.write_bytes(zoo.png_of((0, 0, 255)))


def _become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_a_pipe_that_takes_a_files_place_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a file and its opening: a plain open would wait for a writer that never comes."""
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    original = os.open

    def swapped(name, flags, *rest, **more):
        if name == str(path):
            _become_a_pipe(path)
        return original(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", swapped)
    told: list[PictureError] = []

    def read() -> None:
        try:
            read_bytes(str(path))
        except PictureError as error:
            told.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=60)
    assert "is a pipe" in str(told[0]), "it hangs"


@pytest.mark.parametrize("after", [b"", b"shorter", b"l" * 100_000])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 50)
    original = local.open_regular

    def changed(name: str, limit_bytes: int | None = None):
        file = original(name, limit_bytes)
        size = os.fstat(file.fileno())
        monkeypatch.setattr(local.os, "fstat", lambda _: size)
        path.write_bytes(after)
        return file

    monkeypatch.setattr(local, "open_regular", changed)
    with pytest.raises(PictureError, match="had 50 bytes and changed while it was read"):
        read_bytes(str(path), limit_bytes=60)


def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    """Its names can be listed, its folders not be looked at."""
    top = tmp_path / "top"
    (top / "half" / "below").mkdir(parents=True)
    open_to_others(tmp_path)
    (top / "half").chmod(0o444)
    with without_power(), pytest.raises(SourceError, match="below': permission denied"):
        list_images(str(top))
    (top / "half").chmod(0o755)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r'{"path": "a\udc00b.png"}', "every row must name an image"),
        (r'{"path": "\ud800.png"}', "every row must name an image"),
        (r'{"path": "a\u0000.png"}', "every row must name an image"),
        ('{"path": "a.png", "n": ' + "9" * 5000 + "}", "is no JSON"),
        ('{"path": ' + "[" * 100_000, "is no JSON"),
    ],
)
def test_hostile_lists(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(line)
    with pytest.raises(SourceError, match=reason) as caught:
        list_images(str(path))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
