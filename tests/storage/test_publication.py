"""Shards and their checksums: whenever a driver is killed, the shard is what its records say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.publication import Checksum, publish_shard, recorded_checksums, settle_publications
from i2s_batch.schema.codec import decode_rows, encode_cells
from i2s_batch.storage import Store, open_store
from tests.runs import rewrite_shard
from tests.storage.test_table import META, SCHEMA, row

WRITES = 4  # of a publication: note, shard, checksum, note deleted


class KilledError(Exception):
    """Nothing after this moment happens."""


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(
        str(tmp_path / "out") if request.param == "local" else f"s3://{request.getfixturevalue('s3_bucket')}/out"
    )


def publish(store: Store, count: int) -> None:
    """Shard 3 with `count` rows."""
    rows = decode_rows([encode_cells([row(number)], SCHEMA) for number in range(count)], SCHEMA)
    rewrite_shard(store, 3, rows, META)


def present(store: Store) -> Checksum | None:
    there = any(info.key == RunLayout.shard(3) for info in store.list())
    return Checksum.of(store.get(RunLayout.shard(3))) if there else None


def kill_after(writes: int, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [writes]
    for name in ("put", "put_new", "swap", "delete"):
        original = getattr(type(store), name)

        def counted(self: Store, *args: Any, original: Any = original) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return original(self, *args)

        monkeypatch.setattr(type(store), name, counted)


def test_what_is_recorded(store: Store) -> None:
    publish(store, 2)
    data = store.get(RunLayout.shard(3))
    assert recorded_checksums(store, 3) == [Checksum(hashlib.sha256(data).hexdigest(), len(data))]
    assert recorded_checksums(store, 2) == []
    assert [info.key for info in store.list()] == [RunLayout.shard(3), RunLayout.checksum(3)]


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("writes", range(WRITES + 1))
def test_a_driver_that_is_killed(store: Store, before: int, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first publication of a shard, or in a later one, after any number of writes."""
    if before:
        publish(store, before)
    old = present(store)
    with monkeypatch.context() as patch:
        kill_after(writes, store, patch)
        if writes < WRITES:
            with pytest.raises(KilledError):
                publish(store, 3)
        else:
            publish(store, 3)
    found = present(store)
    assert (found == old) == (writes < 2), "the shard is the old one or the new one"
    if found is not None:
        assert found in recorded_checksums(store, 3), "also for whoever looks before the run goes on"
    settle_publications(store)
    assert list(store.list(RunLayout.work_prefix)) == [] and present(store) == found
    assert recorded_checksums(store, 3) == ([] if found is None else [found])
    publish(store, 3)
    assert recorded_checksums(store, 3) == [present(store)]


def test_a_publication_that_ends_while_its_records_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, 2)
    with monkeypatch.context() as patch:
        kill_after(2, store, patch)
        with pytest.raises(KilledError):
            publish(store, 3)
    found, get, ended = present(store), type(store).get, []

    def get_and_end(self: Store, *args: Any) -> bytes:
        data = get(self, *args)
        if not ended:
            ended.append(True)
            settle_publications(store)
        return data

    monkeypatch.setattr(type(store), "get", get_and_end)
    assert found in recorded_checksums(store, 3)


def test_damage_is_not_made_right(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, 2)
    (published,) = recorded_checksums(store, 3)
    with monkeypatch.context() as patch:
        kill_after(1, store, patch)
        with pytest.raises(KilledError):
            publish(store, 3)
    store.put(RunLayout.shard(3), b"neither the old one nor the new one")
    settle_publications(store)
    assert recorded_checksums(store, 3) == [published] and list(store.list(RunLayout.work_prefix)) == []


def test_a_damaged_record_is_named(store: Store) -> None:
    for damaged in (b"", b"[]", b"{", b'{"sha256": "ab"}', b'{"sha256": "ab", "size": null}', b"\xff"):
        store.put(RunLayout.checksum(3), damaged)
        with pytest.raises(StorageError, match=r"checksums/shard-00003.json' is not the record of a checksum") as error:
            recorded_checksums(store, 3)
        assert "\n" not in str(error.value)


def test_a_driver_that_was_stopped_writes_over_nobody(store: Store) -> None:
    """It had read the shard; meanwhile another has published it anew."""
    publish(store, 2)
    seen = store.get(RunLayout.shard(3))
    publish(store, 3)
    current = present(store)
    rows = decode_rows([encode_cells([row(0)], SCHEMA)], SCHEMA)
    for before in (seen, None):
        assert not publish_shard(store, 3, rows, META, before, lambda: None)
    assert present(store) == current and recorded_checksums(store, 3) == [current]
    assert list(store.list(RunLayout.work_prefix)) == []


def test_a_driver_that_lost_the_output_writes_nothing(store: Store) -> None:
    rows = decode_rows([encode_cells([row(0)], SCHEMA)], SCHEMA)

    def lost() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        publish_shard(store, 3, rows, META, None, lost)
    assert list(store.list()) == []
