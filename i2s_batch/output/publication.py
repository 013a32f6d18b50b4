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
    confirm()
    data = encode_shard(rows, metadata)
    key, intent, checksum = RunLayout.shard(shard), RunLayout.publishing(shard), Checksum.of(data)
    if not store.put_new(intent, checksum.record):
        confirm()  # the driver that wrote this intent has taken the output over, or was killed while publishing
        store.put(intent, checksum.record)
    written = store.put_new(key, data) if present is None else store.swap(key, present, data)
    if written:
        store.put(RunLayout.checksum(shard), checksum.record)
    store.delete([intent])
    return written


def present_shard(store: Store, shard: int) -> bytes | None:
    """Return the bytes of a shard; None if it does not exist."""
    try:
        return store.get(RunLayout.shard(shard))
    except ObjectNotFoundError:
        return None


def settle_publications(store: Store, report: Callable[[str], None] = lambda line: None) -> None:
    """Complete the checksums of shards whose publication was interrupted. Only while nobody else writes here.

    A damaged intent is reported and ignored; its shard keeps the checksum that is recorded, if any.
    """
    for info in list(store.list(RunLayout.publishing_prefix)):
        shard = RunLayout.publishing_index(info.key)
        if shard is None:
            continue
        intended = _read_intent(store, info.key, report)
        present = present_shard(store, shard)
        if intended is not None and present is not None and intended == Checksum.of(present):
            store.put(RunLayout.checksum(shard), intended.record)
        store.delete([info.key])


def _read_intent(store: Store, key: str, report: Callable[[str], None]) -> Checksum | None:
    try:
        return Checksum.read(store, key)
    except DamagedError as error:
        report(f"{str(error).removesuffix('; delete it')}; it is deleted, run i2s-batch verify when the run has ended")
        return None


def recorded_checksums(store: Store, shard: int) -> list[Checksum]:
    """Return what the bytes of a shard may be: as published, or as just being published. Empty if nothing is recorded.

    Raises:
        DamagedError: A record is damaged.
    """
    # The intent first: it is deleted only after the checksum exists, so that a publication meanwhile is never missed.
    found = [Checksum.read(store, key) for key in (RunLayout.publishing(shard), RunLayout.checksum(shard))]
    return [checksum for checksum in found if checksum is not None]
