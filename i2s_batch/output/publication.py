"""Publishes shards into the table, with a checksum for each.

A shard and its checksum are two objects, and a driver may be killed between any two writes. So the checksum of the
coming shard is recorded first, as an intent under work/, and the intent is deleted last:

    write the intent, write the shard, write its checksum, delete the intent

Wherever that is interrupted, the shard is the one that its checksum or its intent describes, and the next driver (under
the lease of the output) has to check only shards that have an intent. A shard that matches neither is damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa

from i2s_batch.errors import DamagedError, ObjectNotFoundError
from i2s_batch.output.layout import RunLayout
from i2s_batch.schema.codec import encode_shard
from i2s_batch.storage import Store

_LIMIT_BYTES = 10_000  # of a record, which has about 100 bytes


@dataclass(frozen=True)
class Checksum:
    """Identifies an object's bytes: their sha256, hex, and their number."""

    sha256: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> Checksum:
        """Return the checksum of `data`."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def read(cls, store: Store, key: str) -> Checksum | None:
        """Return the checksum that is recorded at `key`, None if there is none.

        Raises:
            DamagedError: The record is damaged.
        """
        try:
            record = json.loads(store.get(key, _LIMIT_BYTES))
            return cls(str(record["sha256"]), int(record["size"]))
        except ObjectNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = type(error).__name__
            raise DamagedError(f"{store.uri(key)!r} is not the record of a checksum ({reason}); delete it") from error

    @property
    def record(self) -> bytes:
        """Return the bytes that are stored."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        return f"{self.sha256[:12]}... of {self.size} bytes"


@dataclass(frozen=True)
class Published:
    """Holds the keys of a file that is published: its own, that of its checksum, and that of the intent."""

    key: str
    checksum: str
    intent: str

    @classmethod
    def shard(cls, shard: int) -> Published:
        """Return the keys of a shard of the table."""
        return cls(RunLayout.shard(shard), RunLayout.checksum(shard), RunLayout.publishing(shard))

    @classmethod
    def noise(cls, number: int) -> Published:
        """Return the keys of a file of noise maps."""
        return cls(RunLayout.noise(number), RunLayout.noise_checksum(number), RunLayout.noise_publishing(number))

    @classmethod
    def of_intent(cls, key: str) -> Published | None:
        """Return the keys of the file whose intent is at `key`; None for any other key."""
        shard, number = RunLayout.publishing_index(key), RunLayout.noise_publishing_index(key)
        if shard is not None:
            return cls.shard(shard)
        return None if number is None else cls.noise(number)


def publish_shard(
    store: Store,
    shard: int,
    rows: pa.Table,
    metadata: Mapping[str, str],
    present: bytes | None,
    confirm: Callable[[], None],
) -> bool:
    """Write a shard in place of `present` (None: nothing), and its checksum; both are durable on return.

    `confirm` raises if the caller no longer holds the output (`Lease.confirm`).

    Returns:
        False, with nothing written, if the shard is not `present` any more.
    """
    return publish(store, Published.shard(shard), encode_shard(rows, metadata), present, confirm)


def publish(store: Store, file: Published, data: bytes, present: bytes | None, confirm: Callable[[], None]) -> bool:
    """Write the bytes of a file, as `publish_shard` does."""
    confirm()
    checksum = Checksum.of(data)
    if not store.put_new(file.intent, checksum.record):
        confirm()  # the driver that wrote this intent has taken the output over, or was killed while publishing
        store.put(file.intent, checksum.record)
    written = store.put_new(file.key, data) if present is None else store.swap(file.key, present, data)
    if written:
        store.put(file.checksum, checksum.record)
    store.delete([file.intent])
    return written


def present_bytes(store: Store, file: Published) -> bytes | None:
    """Return the bytes of a published file; None if it does not exist."""
    try:
        return store.get(file.key)
    except ObjectNotFoundError:
        return None


def present_shard(store: Store, shard: int) -> bytes | None:
    """Return the bytes of a shard; None if it does not exist."""
    return present_bytes(store, Published.shard(shard))


def settle_publications(store: Store, report: Callable[[str], None] = lambda line: None) -> None:
    """Complete the checksums of files whose publication was interrupted. Only while nobody else writes here.

    A damaged intent is reported and ignored; its file keeps the checksum that is recorded, if any.
    """
    for info in list(store.list(RunLayout.publishing_prefix)):
        file = Published.of_intent(info.key)
        if file is None:
            continue
        intended = _read_intent(store, info.key, report)
        present = present_bytes(store, file)
        if intended is not None and present is not None and intended == Checksum.of(present):
            store.put(file.checksum, intended.record)
        store.delete([info.key])


def _read_intent(store: Store, key: str, report: Callable[[str], None]) -> Checksum | None:
    try:
        return Checksum.read(store, key)
    except DamagedError as error:
        report(f"{str(error).removesuffix('; delete it')}; it is deleted, run i2s-batch verify when the run has ended")
        return None


def recorded_checksums(store: Store, shard: int) -> list[Checksum]:
    """Return what the bytes of a shard may be, as `checksums_of`."""
    return checksums_of(store, Published.shard(shard))


def checksums_of(store: Store, file: Published) -> list[Checksum]:
    """Return what the bytes of a file may be: as published, or as just being published. Empty if nothing is recorded.

    Raises:
        DamagedError: A record is damaged.
    """
    # The intent first: it is deleted only after the checksum exists, so that a publication meanwhile is never missed.
    found = [Checksum.read(store, key) for key in (file.intent, file.checksum)]
    return [checksum for checksum in found if checksum is not None]
