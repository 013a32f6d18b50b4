"""One file that the user names is written as `cp` writes it, on links, pipes and devices that these tests make."""

from __future__ import annotations

import errno
import os
import pty
import stat
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.errors import StorageError
from i2s_batch.images.draw.animations import encode_animation
from i2s_batch.storage import files
from i2s_batch.storage.files import is_temporary, temporary_beside, temporary_folder, written_whole
from tests.material import open_to_others, without_power

SEEKABLE = pytest.mark.parametrize("seekable", [False, True])


def write(path: Path, data: bytes, seekable: bool = False) -> None:
    with written_whole(path, seekable) as file:
        file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class Reader:
    """Reads a pipe to its end in a thread."""

    def __init__(self, path: Path) -> None:
        self.data = b""
        self._path = path
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self.data = self._path.read_bytes()

    def wait(self) -> bytes:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the pipe was never closed"
        return self.data


@SEEKABLE
def test_a_new_file_obeys_the_umask(tmp_path: Path, seekable: bool) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        with umask(mask):
            write(tmp_path / f"{mask:o}", b"new", seekable)
        assert stat.S_IMODE((tmp_path / f"{mask:o}").stat().st_mode) == mode
    assert names(tmp_path) == ["2", "22", "77"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    path.chmod(mode)
    write(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode and names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o2640)
    os.chown(path, 65534, 65533)
    path.chmod(0o2640)
    write(path, b"new")
    info = path.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (65534, 65533, 0o2640)


@SEEKABLE
def test_symbolic_links_are_followed(tmp_path: Path, seekable: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    for content in (None, b"old"):
        if content is not None:
            target.write_bytes(content)
        for number, leads_to in enumerate(("elsewhere/target", target, "link0")):
            link = tmp_path / f"link{number}"
            link.unlink(missing_ok=True)
            link.symlink_to(leads_to)
            write(link, b"new %d" % number, seekable)
            assert link.is_symlink() and target.read_bytes() == b"new %d" % number and not target.is_symlink()
        target.unlink()
    assert names(tmp_path) == ["elsewhere", "link0", "link1", "link2"] and names(tmp_path / "elsewhere") == []


def test_another_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(b"old")
    (tmp_path / "file").hardlink_to(tmp_path / "backup")
    write(tmp_path / "file", b"new")
    assert (tmp_path / "backup").read_bytes() == b"old" and (tmp_path / "file").read_bytes() == b"new"


@SEEKABLE
def test_a_pipe_is_written_through(tmp_path: Path, seekable: bool) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    for path in (pipe, link):
        reader = Reader(pipe)
        data = os.urandom(300_000)  # more than a pipe holds
        write(path, data, seekable)
        assert reader.wait() == data and stat.S_ISFIFO(pipe.lstat().st_mode) and link.is_symlink()
    assert names(tmp_path) == ["link", "pipe"]


@SEEKABLE
def test_a_character_device_is_written_through(tmp_path: Path, seekable: bool) -> None:
    controller, terminal = pty.openpty()
    try:
        tty.setraw(terminal)
        device = os.ttyname(terminal)
        (tmp_path / "link").symlink_to(device)
        for path in (Path(device), tmp_path / "link"):
            write(path, b"to the terminal\n", seekable)
            assert os.read(controller, 100) == b"to the terminal\n"
            assert Path(device).is_char_device()
    finally:
        os.close(controller)
        os.close(terminal)


def test_seekable_content_can_be_gone_back_in(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "file"):
        reader = Reader(path) if path.name == "pipe" else None
        with written_whole(path, seekable=True) as file:
            file.write(b"later, body")
            file.seek(0)
            file.write(b"first")
            file.seek(0, os.SEEK_END)
        assert (reader.wait() if reader else path.read_bytes()) == b"first, body"


def test_a_block_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As none can be made here, a file that says it is one."""
    path = tmp_path / "disk"
    path.write_bytes(b"a file system")
    monkeypatch.setattr(files.stat, "S_ISBLK", stat.S_ISREG)
    with pytest.raises(StorageError, match="disk' is a block device, which may hold a file system; name a file"):
        write(path, b"new")
    assert path.read_bytes() == b"a file system"


def test_a_failing_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="no more"), written_whole(path) as file:
        file.write(b"new")
        raise ValueError("no more")
    with pytest.raises(StorageError, match="file': the disk is full"), written_whole(path) as file:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="file': the disk is full"):
        write(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "dangling").symlink_to("no/such/file")
    for name, message in (
        ("folder", "is a folder; name a file"),
        ("no/file", "no/file': there is no folder .*no'; create it first"),
        ("dangling", "dangling': there is no folder .*no/such'; create it first"),
        ("file/below", "a part of the path is a file"),
        ("round", "form a loop"),
    ):
        with pytest.raises(StorageError, match=message):
            write(tmp_path / name, b"new")
    assert names(tmp_path) == ["dangling", "file", "folder", "round"]


def test_a_file_that_is_protected_stays(tmp_path: Path) -> None:
    """Taking its place would need no leave but the folder's."""
    open_to_others(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "file").write_bytes(b"old")
    (tmp_path / "open" / "file").chmod(0o444)
    with without_power(), pytest.raises(StorageError, match="permission denied"):
        write(tmp_path / "open" / "file", b"new")
    assert (tmp_path / "open" / "file").read_bytes() == b"old" and names(tmp_path / "open") == ["file"]


@SEEKABLE
def test_a_file_may_be_written_where_its_folder_may_not(tmp_path: Path, seekable: bool) -> None:
    open_to_others(tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "file").write_bytes(b"old and longer")
    (folder / "file").chmod(0o666)
    folder.chmod(0o555)
    with without_power():
        write(folder / "file", b"new", seekable)
    assert (folder / "file").read_bytes() == b"new" and names(folder) == ["file"]


def test_a_file_that_is_mounted_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers do it; nothing can take its place."""
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")

    def busy(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "replace", busy)
    write(path, b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["file"]
    with pytest.raises(StorageError, match="busy"):
        write(tmp_path / "new", b"new")
    assert names(tmp_path) == ["file"]


PROGRAM = """
import sys
from pathlib import Path
from i2s_batch.storage.files import written_whole
print("before")
with written_whole(Path(sys.argv[1]), seekable=sys.argv[2] == "True") as file:
    file.write(b"content\\n")
print("after")
"""


@SEEKABLE
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_open_files_of_the_process_are_used_as_they_are(tmp_path: Path, name: str, seekable: bool) -> None:
    """A file that the shell appends to keeps what it holds, which `open` would cut off."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    command = [sys.executable, "-c", PROGRAM, name, str(seekable)]
    piped = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    log = tmp_path / "log"
    log.write_bytes(b"yesterday\n")
    with log.open("ab") as appended:
        subprocess.run(command, cwd=tmp_path, stdout=appended, check=True)
    assert piped == b"before\ncontent\nafter\n" and log.read_bytes() == b"yesterday\n" + piped
    assert names(tmp_path) == ["link", "log"] and (tmp_path / "link").is_symlink()


def test_a_reader_that_goes_away_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(StorageError, match="its reader has closed it"), written_whole(pipe) as file:
        os.close(reading)
        file.write(bytes(100_000))


def test_only_names_that_are_given_are_temporary() -> None:
    name = temporary_beside(Path("folder/file")).name
    assert is_temporary(name) and temporary_beside(Path("folder/file")).name != name
    for other in (name[:-1], f"{name}0", name.upper(), f".i2s-tmp-{'x' * 32}", ".i2s-tmp-", f"a{name}", f"{name}\n"):
        assert not is_temporary(other)


def test_a_temporary_folder_is_removed_and_its_lack_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder("i2s-") as folder:
        (folder / "a").touch()
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    with pytest.raises(StorageError, match=r"no temporary folder can be made .*set TMPDIR"), temporary_folder("i2s-"):
        pass
    with pytest.raises(StorageError, match=r"without a temporary folder .*set TMPDIR"):
        encode_animation(lambda index: np.zeros((4, 4, 3), np.uint8), 1, "mp4", 12)
