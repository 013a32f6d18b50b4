"""The plan: the frozen, sorted list of a run's images, cut into shards. Made once, saved, never recomputed."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.records import Task
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store
from i2s_batch.storage.sources import list_images


@dataclass(frozen=True)
class Plan:
    """`images` has the columns image_id and uri, and those that an input list carries along; sorted by id.

    Image i belongs to shard i // shard_size.
    """

    images: pa.Table
    shard_size: int

    def __len__(self) -> int:
        return int(self.images.num_rows)

    @property
    def shards(self) -> int:
        """How many shards the table will have."""
        return -(-len(self) // self.shard_size)

    def shard_range(self, shard: int) -> range:
        """The images of a shard."""
        return range(shard * self.shard_size, min(len(self), (shard + 1) * self.shard_size))

    def shard_images(self, shard: int) -> pa.Table:
        """The rows of the plan that belong to a shard."""
        indices = self.shard_range(shard)
        return self.images.slice(indices.start, len(indices))

    def task(self, index: int, attempts: int, resume: bool) -> Task:
        """Image `index` as a unit of work."""
        image_id, uri = (self.images.column(name)[index].as_py() for name in ("image_id", "uri"))
        return Task(index, image_id, uri, attempts, resume)

    def save(self, store: Store) -> None:
        """Write the plan whole."""
        buffer = io.BytesIO()
        pq.write_table(self.images, buffer, compression="zstd")
        store.put(RunLayout(self.shard_size).plan, buffer.getvalue())

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """The saved plan of an output."""
        key = RunLayout(shard_size).plan
        data = store.get(key)
        try:
            return cls(pq.read_table(pa.BufferReader(data)), shard_size)
        except pa.ArrowInvalid as error:
            raise StorageError(f"{store.uri(key)} is damaged ({error}); this output cannot be resumed") from error

    @classmethod
    def make(cls, source: str, out: str, shard_size: int) -> Plan:
        """List SOURCE, leaving out what lies under OUT."""
        return cls(list_images(source, exclude=out), shard_size)
