"""The plan: the frozen, sorted list of a run's images, cut into shards and units. Made once, saved, never
recomputed.

A unit is what is handed out, logged and retried as one: an image to embed, which takes minutes, or some
neighbouring pictures to render, which take milliseconds each.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.records import Task
from i2s_batch.storage.arrow_files import read_parquet
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store

_FACTS = b"i2s_batch.plan"


@dataclass(frozen=True, eq=False)
class Plan:
    """`images` has the columns image_id and uri, those that the table carries along, and those that only workers
    need, whose names begin with '_'.

    A run that has grown has generations, of `generations` images each (one of all, if None): sorted by id each, and
    beginning with a shard of its own, so that growing leaves every shard as it is. A shard has at most `shard_size`
    images; a unit has at most `unit_size` of one shard.
    """

    images: pa.Table
    shard_size: int
    unit_size: int = 1
    generations: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return int(self.images.num_rows)

    @cached_property
    def _shard_starts(self) -> np.ndarray:
        """The first image of every shard, and the number of images: int64 [shards + 1]."""
        ends = np.cumsum((0, *(self.generations or (len(self),))))
        parts = [np.arange(ends[g], ends[g + 1], self.shard_size) for g in range(len(ends) - 1)]
        return np.concatenate([*parts, ends[-1:]])

    @cached_property
    def _unit_starts(self) -> np.ndarray:
        """The first image of every unit, and the number of images: int64 [units + 1]."""
        starts = self._shard_starts
        if self.unit_size == 1:
            return np.arange(len(self) + 1)
        parts = [np.arange(starts[s], starts[s + 1], self.unit_size) for s in range(self.shards)]
        return np.concatenate([*parts, starts[-1:]])

    @property
    def shards(self) -> int:
        """How many shards the table will have."""
        return len(self._shard_starts) - 1

    def shard_range(self, shard: int) -> range:
        """The images of a shard."""
        return range(int(self._shard_starts[shard]), int(self._shard_starts[shard + 1]))

    def shard_images(self, shard: int) -> pa.Table:
        """The rows of the plan that belong to a shard, without what only workers need."""
        indices = self.shard_range(shard)
        names = [name for name in self.images.column_names if not name.startswith("_")]
        return self.images.select(names).slice(indices.start, len(indices))

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self._unit_starts) - 1

    def units_of(self, shard: int) -> range:
        """The units of a shard."""
        first, end = np.searchsorted(self._unit_starts, self._shard_starts[shard : shard + 2])
        return range(int(first), int(end))

    def unit_range(self, unit: int) -> range:
        """The images of a unit."""
        return range(int(self._unit_starts[unit]), int(self._unit_starts[unit + 1]))

    def unit_sizes(self) -> np.ndarray:
        """How many images each unit has, int64 [units]."""
        return np.diff(self._unit_starts)

    def unit_of(self, image: int) -> int:
        """The unit of an image."""
        return int(np.searchsorted(self._unit_starts, image, side="right")) - 1

    def shard_of(self, unit: int) -> int:
        """The shard of a unit."""
        return int(np.searchsorted(self._shard_starts, self._unit_starts[unit], side="right")) - 1

    def grown(self, images: pa.Table) -> Plan:
        """This plan and one more generation: the images of `images` that it does not hold."""
        known = pc.is_in(images["image_id"], self.images["image_id"].combine_chunks())
        new = images.filter(pc.invert(known))
        if not len(new):
            return self
        generations = (*(self.generations or (len(self),)), len(new))
        both = pa.concat_tables([self.images, new.select(self.images.column_names)])
        return Plan(both.combine_chunks(), self.shard_size, self.unit_size, generations)

    def task(self, unit: int, attempts: int, resume: bool) -> Task:
        """A unit as what a worker is handed."""
        images = self.unit_range(unit)
        return Task(unit, tuple(self.images.slice(images.start, len(images)).to_pylist()), attempts, resume)

    def save(self, store: Store) -> None:
        """Write the plan whole."""
        buffer = io.BytesIO()
        facts = {"unit_size": self.unit_size, "generations": self.generations or [len(self)]}
        pq.write_table(self.images.replace_schema_metadata({_FACTS: json.dumps(facts)}), buffer, compression="zstd")
        store.put(RunLayout.plan, buffer.getvalue())

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """The saved plan of an output."""
        key = RunLayout.plan
        data = store.get(key)
        try:
            images = read_parquet(data)
            facts = json.loads((images.schema.metadata or {}).get(_FACTS, b"{}"))
            generations = facts.get("generations")
            if generations is not None and sum(generations) != len(images):
                raise ValueError(f"it has {len(images)} images and speaks of {sum(generations)}")
            plan = images.replace_schema_metadata(None)
            return cls(plan, shard_size, facts.get("unit_size", 1), None if generations is None else tuple(generations))
        except (pa.ArrowInvalid, ValueError, TypeError, AttributeError) as error:
            raise StorageError(f"{store.uri(key)} is damaged ({error}); this output cannot be resumed") from error
