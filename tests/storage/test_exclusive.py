"""Exclusive creation and replacement on file systems that lack hard links, locks, or both."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from i2s_batch.errors import RunConflictError, StorageError
from i2s_batch.output.lease import Lease
from i2s_batch.storage import Store, exclusive, open_store
from tests.storage.store_contract import StoreContract

DRIVE, EXFAT, GCSFUSE = errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)


@pytest.fixture
def no_exclusive_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "RENAMEAT2", None)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("no_links", [DRIVE, EXFAT, GCSFUSE], indirect=True)
@pytest.mark.parametrize("renames", [True, False], ids=["renames", "locks"])
@pytest.mark.usefixtures("no_links")
def test_of_many_that_create_one_file_without_hard_links_one_succeeds(
    tmp_path: Path, renames: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not renames:
        monkeypatch.setattr(exclusive, "RENAMEAT2", None)
    store = open_store(str(tmp_path / "out"))
    store.check_writable()
    contents = [b"%d" % number * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda data: store.put_new("a/b", data), contents))
    assert created.count(True) == 1
    assert store.get("a/b") == contents[created.index(True)]
    assert names(tmp_path / "out" / "a") == ["b"], "no temporary file and no lock is left"


@pytest.mark.parametrize("no_links", [DRIVE], indirect=True)
@pytest.mark.usefixtures("no_links", "no_exclusive_rename", "no_locks")
def test_of_many_that_replace_one_file_without_locks_one_succeeds(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for rounds in range(5):
        store.put("lease", b"before")
        contents = [b"%d %d" % (rounds, number) for number in range(8)]
        with ThreadPoolExecutor(8) as threads:
            swapped = list(threads.map(lambda data: store.swap("lease", b"before", data), contents))
        assert swapped.count(True) == 1 and store.get("lease") == contents[swapped.index(True)]
    assert names(tmp_path) == ["lease"]


@pytest.mark.parametrize("no_links", [GCSFUSE], indirect=True)
@pytest.mark.usefixtures("no_links", "no_exclusive_rename", "no_locks")
def test_the_contract_of_a_store_holds_without_links_and_locks(tmp_path: Path) -> None:
    class Contract(StoreContract):
        def new_store(self) -> Store:
            return open_store(str(tmp_path / os.urandom(8).hex()))

    run_state_machine_as_test(Contract)


@pytest.mark.parametrize("no_links", [EXFAT], indirect=True)
@pytest.mark.usefixtures("no_links", "no_exclusive_rename", "no_locks")
def test_a_lease_is_taken_renewed_and_released(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    lease = Lease(store, "work/lease.json")
    lease.acquire()
    lease.confirm()
    with pytest.raises(RunConflictError, match="another driver is working on this output"):
        Lease(store, "work/lease.json").acquire()
    lease.release()
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.usefixtures("no_locks")
def test_the_lock_of_a_process_that_was_killed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    store.put("lease", b"before")
    opened: list[Path] = []
    os_open = os.open

    def seen(path: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(Path(path))
        return os_open(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", seen)
        assert store.swap("lease", b"before", b"after")
    (lock,) = {path for path in opened if not path.exists() and path.name == opened[0].name}
    lock.write_bytes(b"of a process that was killed")
    monkeypatch.setattr(exclusive, "LOCK_TIMEOUT_S", 0.1)
    assert store.swap("lease", b"after", b"again") and store.get("lease") == b"again"
    assert not lock.exists()


def test_an_error_that_is_no_lack_of_links_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError, match="the disk is full"):
        open_store(str(tmp_path)).put_new("a", b"1")


def test_a_folder_that_cannot_be_synchronised_holds_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    store = open_store(str(tmp_path / "out"))
    store.put("a/b", b"1")
    assert store.put_new("a/c", b"2") and store.get("a/c") == b"2"
