"""Every store behaves alike: the same assertions over a local folder and a bucket."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.storage import ObjectInfo, Store, local, open_store
from i2s_batch.storage.files import TEMPORARY_PREFIX, temporary_beside
from tests.material import open_to_others, without_power


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return open_store(str(tmp_path / "out"))
    return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/runs/out/")


def test_put_get_replace(store: Store) -> None:
    store.put("a/b.bin", b"one")
    assert store.get("a/b.bin") == b"one"
    store.put("a/b.bin", b"")
    assert store.get("a/b.bin") == b""
    assert store.uri("a/b.bin") == f"{store.url}/a/b.bin"


def test_put_file(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "made"
    source.write_bytes(data := bytes(range(256)) * 10_000)
    store.put("a/1", b"old")
    store.put_file("a/1", source)
    assert store.get("a/1") == data and [info.key for info in store.list()] == ["a/1"]
    source.write_bytes(b"")
    store.put_file("a/1", source)
    assert store.get("a/1") == b"" and source.exists()
    with pytest.raises(StorageError, match="missing"):
        store.put_file("a/1", tmp_path / "missing")
    assert store.get("a/1") == b""


def test_put_all(store: Store) -> None:
    store.put_all({})
    objects = {f"{folder}/{number}": bytes([number]) * number for folder in ("a", "b/c") for number in range(5)}
    store.put("a/3", b"old")
    store.put_all(objects)
    assert {info.key: store.get(info.key) for info in store.list()} == objects


def test_many_files_are_written_where_there_is_no_call_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for instead in (None, lambda descriptor: -1):
        monkeypatch.setattr("i2s_batch.storage.local.SYNC_FILE_SYSTEM", instead)
        store = open_store(str(tmp_path / str(instead is None)))
        store.put_all({"a/1": b"one", "2": b"two"})
        assert [(info.key, store.get(info.key)) for info in store.list()] == [("2", b"two"), ("a/1", b"one")]


def test_get_of_a_missing_object_names_it(store: Store) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"a/missing.bin'.* does not exist"):
        store.get("a/missing.bin")


def test_get_honours_its_limit(store: Store) -> None:
    store.put("a", b"12345")
    assert store.get("a", limit_bytes=5) == b"12345"
    with pytest.raises(StorageError, match="has 5 bytes; the limit is 4"):
        store.get("a", limit_bytes=4)


@pytest.mark.parametrize("size", [5, 1 << 16, 200_000])
def test_open_reads_any_part(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    store.put("a/b.bin", data)
    with store.open("a/b.bin") as file:
        assert file.seek(0, os.SEEK_END) == size
        for start, length in [(0, 1), (size - 4, 4), (size // 2, 3), (0, size), (size - 2, 10), (size + 5, 1)]:
            assert file.seek(start) == start
            assert file.read(length) == data[start : start + length]
        assert file.seek(-3, os.SEEK_END) == size - 3
        assert file.read() == data[-3:]
    with pytest.raises(ObjectNotFoundError, match=r"a/missing.bin'.* does not exist"):
        store.open("a/missing.bin")


def test_what_is_read_from_an_open_object_is_one_version(store: Store) -> None:
    old = b"a" * 200_000
    store.put("a", old)
    with store.open("a") as file:
        store.put("a", b"b" * 200_000)
        try:
            data = file.read(1000)
        except StorageError as error:
            assert "was replaced while it was read" in str(error)
        else:
            assert data == old[:1000]


def test_put_new_is_exclusive(store: Store) -> None:
    assert store.put_new("lease", b"me") is True
    assert store.put_new("lease", b"you") is False
    assert store.get("lease") == b"me"


def test_swap(store: Store) -> None:
    assert store.swap("lease", b"", b"x") is False
    store.put("lease", b"one")
    assert store.swap("lease", b"other", b"x") is False
    assert store.swap("lease", b"one", b"two") is True
    assert store.get("lease") == b"two"


def test_list_is_sorted_by_bytes_and_recursive(store: Store) -> None:
    keys = ["b/x", "b-c", "b.d/y", "a", "b/é", "b/z/deep/er", "\U0001f600", "￿"]
    for key in keys:
        store.put(key, key.encode())
    expected = sorted(keys, key=str.encode)
    assert list(store.list()) == [ObjectInfo(key, len(key.encode())) for key in expected]
    assert [info.key for info in store.list("b")] == [key for key in expected if key.startswith("b")]
    assert [info.key for info in store.list("b/")] == ["b/x", "b/z/deep/er", "b/é"]
    assert list(store.list("c/d/e")) == []


def test_delete_is_idempotent_and_leaves_nothing(store: Store) -> None:
    store.put("work/rows/1", b"")
    store.put("work/rows/2", b"")
    store.put("keep", b"")
    store.delete(["work/rows/1", "work/rows/2", "work/rows/3", "no/such/folder"])
    store.delete(["work/rows/1"])
    store.delete([])
    assert [info.key for info in store.list()] == ["keep"]


def test_store_is_a_value(store: Store) -> None:
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.get("a") == b"1"


def test_check_writable_leaves_nothing(store: Store) -> None:
    store.check_writable()
    store.sweep(lambda folder: True)
    assert list(store.list()) == []


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_threads_one_creates_and_one_swaps(store: Store, attempt: int) -> None:
    claims = [f"claim {i}".encode() for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda claim: store.put_new("lease", claim), claims))
    assert created.count(True) == 1
    winner = claims[created.index(True)]
    assert store.get("lease") == winner
    with ThreadPoolExecutor(8) as pool:
        swapped = list(pool.map(lambda claim: store.swap("lease", winner, claim + b"!"), claims))
    assert swapped.count(True) == 1
    assert store.get("lease") == claims[swapped.index(True)] + b"!"


def _claim(store: Store, number: int) -> bool:
    return store.put_new("work/lease", b"%d" % number)


def test_of_many_processes_one_creates(store: Store) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        created = pool.starmap(_claim, [(store, number) for number in range(12)])
    assert created.count(True) == 1
    assert store.get("work/lease") == b"%d" % created.index(True)


def test_writers_survive_a_folder_that_is_deleted_under_them(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def write_and_delete(number: int) -> None:
        for turn in range(50):
            key = f"work/rows/{number}-{turn}"
            store.put(key, b"row")
            store.delete([key])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_delete, range(4)))
    assert not (tmp_path / "work").exists()


def test_a_failed_local_write_leaves_the_old_object_and_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store.put("a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local.os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        store.put("a", b"new")
    assert store.get("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_temporary_files_are_not_listed_and_can_be_swept(tmp_path: Path) -> None:
    half = temporary_beside(tmp_path / "work" / "rows" / "1")
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    store = open_store(str(tmp_path))
    store.put("a", b"1")
    assert [info.key for info in store.list()] == ["a"]
    assert list(store.everything()) == ["a", f"work/rows/{half.name}"]
    store.sweep(lambda folder: folder == "work/rows")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_only_temporary_files_of_the_store_are_swept(tmp_path: Path) -> None:
    """Names that only begin so, or lie in other folders, or are no files, are somebody else's."""
    exact = temporary_beside(Path("x")).name
    names = [f"{TEMPORARY_PREFIX}123", f"{exact}.tar", f"{TEMPORARY_PREFIX}{'g' * 32}", exact.upper(), f"mine/{exact}"]
    store = open_store(str(tmp_path / "out"))
    for name in names:
        store.put(name, b"mine")
    (tmp_path / "out" / "work").mkdir()
    (tmp_path / "out" / "work" / exact).symlink_to(tmp_path / "out" / names[0])
    (tmp_path / "out" / exact).mkdir()
    before = sorted(store.everything())
    store.sweep(lambda folder: folder in ("", "work"))
    assert sorted(store.everything()) == before == sorted([*names, f"work/{exact}"])
    assert [info.key for info in store.list()] == sorted(name for name in names if name != f"mine/{exact}")


def test_everything_shows_what_listings_leave_out(store: Store, tmp_path: Path) -> None:
    store.put("a", b"1")
    store.put("b/c", b"")
    assert sorted(store.everything()) == ["a", "b/c"]
    if store.url.startswith("s3://"):
        store.put("folder/", b"")  # what consoles make in place of a folder
        assert sorted(store.everything()) == ["a", "b/c"]
        return
    out = tmp_path / "out"
    (out / "link").symlink_to("nowhere")
    (out / "folder").symlink_to(tmp_path)
    (out / "empty").mkdir()
    os.mkfifo(out / "pipe")
    (out / "lost+found").mkdir()
    (out / "lost+found" / "#1").touch()
    assert sorted(store.everything()) == ["a", "b/c", "folder", "link", "pipe"]
    assert list(open_store(str(tmp_path / "not-yet")).everything()) == []


def test_a_folder_that_is_a_link_is_left_when_it_is_empty(tmp_path: Path) -> None:
    """Scratch disks are put into outputs by links."""
    (tmp_path / "scratch").mkdir()
    store = open_store(str(tmp_path / "out"))
    store.put("a", b"1")
    (tmp_path / "out" / "work").symlink_to(tmp_path / "scratch")
    store.put("work/rows/1", b"row")
    store.delete(["work/rows/1"])
    assert list((tmp_path / "scratch").iterdir()) == [] and (tmp_path / "out" / "work").is_symlink()


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a//b", "a/./b"])
def test_a_key_cannot_leave_the_root(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match="is no key"):
        open_store(str(tmp_path)).put(key, b"")


def test_local_troubles_have_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    store = open_store(str(tmp_path))
    with pytest.raises(StorageError, match="it is a file, where a folder is needed"):
        store.put("file/a", b"")
    with pytest.raises(StorageError, match="it is a file, where a folder is needed"):
        open_store(str(tmp_path / "file")).check_writable()
    with pytest.raises(StorageError, match="it is a folder"):
        store.put("folder", b"")
    with pytest.raises(StorageError, match="is a folder"):
        store.get("folder")
    with pytest.raises(ObjectNotFoundError):
        store.get("file/a")


def test_permission_denied_is_named(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    store = open_store(str(tmp_path))
    store.put("secret", b"")
    (tmp_path / "secret").chmod(0)
    (tmp_path / "closed").mkdir(0o500)
    with without_power():
        with pytest.raises(StorageError, match="permission denied"):
            open_store(str(tmp_path / "closed")).check_writable()
        with pytest.raises(StorageError, match="permission denied"):
            store.get("secret")


def test_a_relative_store_means_the_same_after_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("a", b"1")
    assert (tmp_path / "out" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["", "ftp://host/x", "s3:///x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StorageError, match=r"give (a local path or )?(a url such as )?s3://bucket/prefix"):
        open_store(url)


def test_importing_storage_and_a_local_store_loads_no_boto3() -> None:
    code = (
        "import sys, i2s_batch.storage, i2s_batch.storage as o; o.open_store('/tmp').url; "
        "print(sorted({'boto3', 'botocore', 'pyarrow', 'torch', 'ray', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
