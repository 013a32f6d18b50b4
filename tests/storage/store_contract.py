"""What every store does, as a state machine against a dictionary. A new kind of store inherits it:

class MyContract(StoreContract):
    def new_store(self) -> Store:
        return MyStore(...)  # empty

def test_my_store() -> None:
    run_state_machine_as_test(MyContract)
"""

from __future__ import annotations

import pickle
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from i2s_batch.errors import ObjectNotFoundError, ObjectUnreadableError, StorageError
from i2s_batch.storage import Store

# No key is a folder of another, which file systems cannot have. Their order by UTF-8 is not that of their folders.
KEYS = st.sampled_from(["a", "aa", "a.b", "a b/c", "deep/a", "deep/b/c", "deep.x", "ä/%41", "😀", "\ue000"])
PREFIXES = st.sampled_from(["", "a", "a ", "a b/", "deep", "deep/", "deep/b", "deep/b/", "deep/b/c", "zz/", "ä", "😀"])
# The larger ones are more than a store fetches of an object when it is opened.
LARGE = st.sampled_from([(b"\0", 70_000), (b"0123456789", 20_000)]).map(lambda repeated: repeated[0] * repeated[1])
DATA = st.one_of(st.binary(max_size=20), LARGE)


class StoreContract(RuleBasedStateMachine):
    """Compares a store with a dictionary that goes through the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.new_store()
        self.model: dict[str, bytes] = {}
        self.files: list[tuple[BinaryIO, str, bytes]] = []
        self.numbers = count()

    @abstractmethod
    def new_store(self) -> Store:
        """Return a store that holds nothing."""

    def unique(self, data: bytes) -> bytes:
        """Return data that nobody else writes, as conditional writes demand."""
        return b"%d " % next(self.numbers) + data

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)
        self.model[key] = data

    @rule(key=KEYS, data=DATA)
    def put_file(self, key: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "source")
            source.write_bytes(data)
            self.store.put_file(key, source)
            assert source.read_bytes() == data, "the source stays"
        self.model[key] = data

    @rule(key=KEYS, chunks=st.lists(DATA, max_size=3))
    def put_chunks(self, key: str, chunks: list[bytes]) -> None:
        self.store.put_chunks(key, iter(chunks))
        self.model[key] = b"".join(chunks)

    @rule(key=KEYS, chunks=st.lists(DATA, max_size=3))
    def put_new_chunks(self, key: str, chunks: list[bytes]) -> None:
        chunks = [self.unique(b""), *chunks]
        assert self.store.put_new_chunks(key, iter(chunks)) == (key not in self.model)
        self.model.setdefault(key, b"".join(chunks))

    @rule(key=KEYS, data=DATA)
    def put_chunks_that_break_off(self, key: str, data: bytes) -> None:
        """What was there stays, and nothing of the new object is seen."""

        def broken() -> Iterator[bytes]:
            yield data
            raise StorageError("no more chunks")

        with pytest.raises(StorageError, match="no more chunks"):
            self.store.put_chunks(key, broken())

    @rule(objects=st.dictionaries(KEYS, DATA, max_size=4))
    def put_all(self, objects: dict[str, bytes]) -> None:
        self.store.put_all(objects)
        self.model |= objects

    @rule(key=KEYS, data=DATA)
    def put_new(self, key: str, data: bytes) -> None:
        data = self.unique(data)
        assert self.store.put_new(key, data) == (key not in self.model)
        self.model.setdefault(key, data)

    @rule(key=KEYS, data=DATA, other=DATA, right=st.booleans())
    def swap(self, key: str, data: bytes, other: bytes, right: bool) -> None:
        data, expected = self.unique(data), self.model.get(key, other) if right else other
        swaps = self.model.get(key) == expected
        assert self.store.swap(key, expected, data) == swaps
        if swaps:
            self.model[key] = data

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete(self, keys: list[str]) -> None:
        self.store.delete(keys)
        for key in keys:
            self.model.pop(key, None)

    @rule(key=KEYS, limit_bytes=st.one_of(st.none(), st.integers(0, 30), st.integers(69_000, 71_000)))
    def get(self, key: str, limit_bytes: int | None) -> None:
        held = self.model.get(key)
        if held is None:
            with pytest.raises(ObjectNotFoundError, match="does not exist"):
                self.store.get(key, limit_bytes)
        elif limit_bytes is not None and len(held) > limit_bytes:
            with pytest.raises(ObjectUnreadableError, match=f"has {len(held)} bytes; the limit is {limit_bytes}"):
                self.store.get(key, limit_bytes)
        else:
            assert self.store.get(key, limit_bytes) == held

    @rule(key=KEYS)
    def open_file(self, key: str) -> None:
        if key in self.model:
            self.files.append((self.store.open(key), key, self.model[key]))
        else:
            with pytest.raises(ObjectNotFoundError, match="does not exist"):
                self.store.open(key)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), start=st.integers(0, 210_000), size=st.integers(0, 80_000))
    def read_part(self, data: st.DataObject, start: int, size: int) -> None:
        """What is read belongs to the version that was opened, whatever has been written since, or it fails."""
        file, key, held = data.draw(st.sampled_from(self.files))
        file.seek(start)
        try:
            assert file.read(size) == held[start : start + size]
        except StorageError as error:
            assert "\n" not in str(error) and self.model.get(key) != held

    @rule(key=KEYS, data=DATA, start=st.integers(0, 30))
    def replace_while_open(self, key: str, data: bytes, start: int) -> None:
        self.put(key, data)
        self.open_file(key)
        self.put(key, self.unique(data))
        file, _, held = self.files[-1]
        file.seek(start)
        try:
            assert file.read() == held[start:]
        except StorageError as error:
            assert "\n" not in str(error)

    @rule(prefix=PREFIXES)
    def list_prefix(self, prefix: str) -> None:
        expected = sorted((key for key in self.model if key.startswith(prefix)), key=str.encode)
        found = [(info.key, info.size) for info in self.store.list(prefix)]
        assert found == [(key, len(self.model[key])) for key in expected]

    @rule()
    def everything(self) -> None:
        assert sorted(self.store.everything()) == sorted(self.model)

    @rule()
    def check_writable(self) -> None:
        self.store.check_writable()

    @rule()
    def sweep(self) -> None:
        """Whole objects are never swept."""
        self.store.sweep(lambda folder: True)

    @rule()
    def reopen(self) -> None:
        """A store is a value: another process makes it anew."""
        self.store = pickle.loads(pickle.dumps(self.store))

    @invariant()
    def holds_what_was_put(self) -> None:
        assert {info.key: info.size for info in self.store.list()} == {k: len(v) for k, v in self.model.items()}

    def teardown(self) -> None:
        for file, _, _ in self.files:
            file.close()
        assert {key: self.store.get(key) for key in self.model} == self.model
