"""The store contract, of each kind of store."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from i2s_batch.errors import StorageError
from i2s_batch.storage import ObjectInfo, Store, open_store
from i2s_batch.storage.local import LocalStore
from tests.storage.store_contract import StoreContract


def test_a_local_folder(tmp_path: Path) -> None:
    class LocalContract(StoreContract):
        def new_store(self) -> Store:
            return open_store(tempfile.mkdtemp(dir=tmp_path))

        def teardown(self) -> None:
            super().teardown()
            self.store.delete(list(self.model))
            assert list(Path(self.store.url).iterdir()) == [], "no folder and no temporary file is left"

    run_state_machine_as_test(LocalContract)


def test_no_folder_stays_of_chunks_that_break_off(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise StorageError("no more chunks")

    store = open_store(str(tmp_path))
    with pytest.raises(StorageError, match="no more chunks"):
        store.put_chunks("a/b/c", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_on_s3(s3_bucket: str) -> None:
    class S3Contract(StoreContract):
        def new_store(self) -> Store:
            return open_store(f"s3://{s3_bucket}/runs/{uuid.uuid4().hex}/")

    fewer = settings(max_examples=settings.default.max_examples // 4)  # each call is a request
    run_state_machine_as_test(S3Contract, settings=fewer)


class Overwrites(LocalStore):
    def put_new(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class WritesInPlace(LocalStore):
    def put(self, key: str, data: bytes) -> None:
        path = Path(self.uri(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class ListsByFolder(LocalStore):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from sorted(super().list(prefix), key=lambda info: info.key.split("/"))


class HasNoLimit(LocalStore):
    def get(self, key: str, limit_bytes: int | None = None) -> bytes:
        return super().get(key)


class SwapsAnything(LocalStore):
    def swap(self, key: str, expected: bytes, data: bytes) -> bool:
        return super().swap(key, self.get(key), data) if Path(self.uri(key)).exists() else False


class DeletesTheFirst(LocalStore):
    def delete(self, keys: Iterable[str]) -> None:
        super().delete(list(keys)[:1])


@pytest.mark.parametrize("kind", [Overwrites, WritesInPlace, ListsByFolder, HasNoLimit, SwapsAnything, DeletesTheFirst])
def test_a_store_that_breaks_the_contract_is_found(kind: type[LocalStore], tmp_path: Path) -> None:
    class BrokenContract(StoreContract):
        def new_store(self) -> Store:
            return kind(tempfile.mkdtemp(dir=tmp_path))

    once = settings(derandomize=True, max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, StorageError, pytest.fail.Exception)):
        run_state_machine_as_test(BrokenContract, settings=once)
