"""The plan: the frozen, sorted list of a run's images, cut into shards and units. Made once, saved, never
recomputed.

A unit is what is handed out, logged and retried as one: an image to embed, which takes minutes, or some
neighbouring pictures to render, which take milliseconds each.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.records import Task
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store
from i2s_batch.storage.sources import list_images

_UNIT_SIZE = b"i2s_batch.unit_size"


@dataclass(frozen=True)
class Plan:
    """`images` has the columns image_id and uri, those that the table carries along, and those that only workers
    need, whose names begin with '_'; sorted by id.

    Image i belongs to shard i // shard_size. Each shard has its own units of `unit_size` images; its last one
    may be smaller.
    """

    images: pa.Table
    shard_size: int
    unit_size: int = 1

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
        """The rows of the plan that belong to a shard, without what only workers need."""
        indices = self.shard_range(shard)
        names = [name for name in self.images.column_names if not name.startswith("_")]
        return self.images.select(names).slice(indices.start, len(indices))

    @property
    def shard_units(self) -> int:
        """Units of a full shard."""
        return -(-self.shard_size // self.unit_size)

    @property
    def units(self) -> int:
        """How many units there are."""
        full, rest = divmod(len(self), self.shard_size)
        return full * self.shard_units - (-rest // self.unit_size)

    def units_of(self, shard: int) -> range:
        """The units of a shard."""
        return range(shard * self.shard_units, min(self.units, (shard + 1) * self.shard_units))

    def unit_range(self, unit: int) -> range:
        """The images of a unit."""
        shard, place = divmod(unit, self.shard_units)
        images = self.shard_range(shard)
        return images[place * self.unit_size : (place + 1) * self.unit_size]

    def unit_sizes(self) -> np.ndarray:
        """How many images each unit has, int64 [units]."""
        sizes = np.full(self.units, self.unit_size, np.int64)
        last = self.shard_units - 1
        sizes[last :: self.shard_units] = self.shard_size - last * self.unit_size
        sizes[-1:] = len(self) - sizes[:-1].sum()
        return sizes

    def unit_of(self, image: int) -> int:
        """The unit of an image."""
        shard, place = divmod(image, self.shard_size)
        return shard * self.shard_units + place // self.unit_size

    def task(self, unit: int, attempts: int, resume: bool) -> Task:
        """A unit as what a worker is handed."""
        images = self.unit_range(unit)
        return Task(unit, tuple(self.images.slice(images.start, len(images)).to_pylist()), attempts, resume)

    def save(self, store: Store) -> None:
        """Write the plan whole."""
        buffer = io.BytesIO()
        images = self.images.replace_schema_metadata({_UNIT_SIZE: str(self.unit_size)})
        pq.write_table(images, buffer, compression="zstd")
        store.put(RunLayout.plan, buffer.getvalue())

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """The saved plan of an output."""
        key = RunLayout.plan
        data = store.get(key)
        try:
            images = pq.read_table(pa.BufferReader(data))
            return cls(images, shard_size, int((images.schema.metadata or {}).get(_UNIT_SIZE, 1)))
        except (pa.ArrowInvalid, ValueError) as error:
            raise StorageError(f"{store.uri(key)} is damaged ({error}); this output cannot be resumed") from error

    @classmethod
    def make(cls, source: str, out: str, shard_size: int) -> Plan:
        """List SOURCE, leaving out what lies under OUT."""
        return cls(list_images(source, exclude=out), shard_size)
