"""Caches without a home, with one that cannot be written to, and on file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from i2s_batch.errors import CheckpointError
from i2s_batch.run.speed_cache import Measured, figures_file, load_measured, save_measured
from i2s_batch.storage import cache_folder
from i2s_batch.storage.cache_folder import cache_folders, temporary_cache, writable_cache
from i2s_batch.storage.downloads import stage
from tests.storage.test_staging import DIGEST, WEIGHTS, web  # noqa: F401

FIGURE = Measured("some GPU", "abc", "fp32", 8, 0.002, "plain", "torch 2.15")
NOWHERE = "/dev/null"  # a home in which nothing can be made, for root neither


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files; no other setting says where a cache is."""
    for name in ("I2S_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id without an entry in the user database, and no HOME."""
    monkeypatch.delenv("HOME", raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("no_home")
def test_weights_are_cached_beside_the_temporary_files_without_a_home(
    web: tuple[str, list[str]],  # noqa: F811
    temporary: Path,
) -> None:
    url, requests = web
    file = stage(f"{url}/g.pt", DIGEST[:8])
    assert file.parent == temporary / f"i2s_batch-{os.getuid()}" and file.read_bytes() == WEIGHTS
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert stage(f"{url}/g.pt", DIGEST[:8]) == file and requests == ["/g.pt"]


def test_weights_are_cached_elsewhere_where_the_home_cannot_be_written_to(
    web: tuple[str, list[str]],  # noqa: F811
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    assert stage(f"{web[0]}/g.pt").is_relative_to(temporary)


def test_what_a_read_only_home_holds_is_used(
    web: tuple[str, list[str]],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cached = stage(f"{web[0]}/g.pt")
    (cached.parent / f"{cached.name}.lock").unlink()
    (cached.parent / f"{cached.name}.lock").mkdir()  # cannot be opened for writing
    assert stage(f"{web[0]}/g.pt") == cached and len(web[1]) == 1


def test_a_cache_of_the_user_s_choice_that_cannot_be_written_to_is_one_line(
    web: tuple[str, list[str]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("I2S_CACHE", f"{NOWHERE}/cache")
    with pytest.raises(CheckpointError, match="set I2S_CACHE to a folder that can be written to"):
        stage(f"{web[0]}/g.pt")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_weights_are_fetched_where_files_cannot_be_locked(
    web: tuple[str, list[str]],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert stage(f"{web[0]}/g.pt", DIGEST, tmp_path / "cache").read_bytes() == WEIGHTS


@pytest.mark.usefixtures("no_home")
def test_a_folder_of_another_user_is_no_cache(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary_cache()
    assert folder is not None
    folder.chmod(0o777)
    assert list(cache_folders()) == [], "anybody may write there"
    folder.chmod(0o700)
    assert list(cache_folders()) == [folder]
    target = temporary / "elsewhere"
    folder.rename(target)
    folder.symlink_to(target)
    assert list(cache_folders()) == [], "a link leads where somebody else says"
    folder.unlink()
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    assert list(cache_folders()) == [] and writable_cache("torch") is None


@pytest.mark.usefixtures("no_home")
def test_measured_figures_are_kept_without_a_home_and_need_no_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    save_measured(FIGURE, lines.append)
    assert load_measured(lines.append) == [FIGURE] and figures_file().is_relative_to(temporary) and lines == []
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    assert load_measured(lines.append) == [] and lines == []
    save_measured(FIGURE, lines.append)
    assert len(lines) == 1 and "are not cached" in lines[0]


def test_a_full_disk_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert writable_cache("torch") == tmp_path / ".cache" / "i2s_batch" / "torch"

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert writable_cache("torch") is None and cache_folder.can_write(tmp_path) is False
