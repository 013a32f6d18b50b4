"""The plan: the frozen, sorted list of a run's images, cut into shards and units. Made once, saved, never
recomputed.

A unit is what is handed out, logged and retried as one: an image to embed, which takes minutes, or some
neighbouring pictures to render, which take milliseconds each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from i2s_batch.errors import StorageError
from i2s_batch.records import Task
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store
from i2s_batch.storage.tables.row_groups import RowGroups
from i2s_batch.storage.tables.sorted_rows import PassingIds, Scratch, in_groups, spilled

_FACTS = b"i2s_batch.plan"
# Images that are read at once of a saved plan: some ten shards.
_GROUP_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Plan:
    """`images` has the columns image_id and uri, those that the table carries along, and those that only workers
    need, whose names begin with '_'. Of a plan that was loaded only the images that are asked for are in memory.

    A run that has grown has generations, of `generations` images each (one of all, if None): sorted by id each, and
    beginning with a shard of its own, so that growing leaves every shard as it is. A shard has at most `shard_size`
    images; a unit has at most `unit_size` of one shard, and only a shard's last unit may have fewer.
    """

    images: pa.Table | RowGroups
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
    def _first_units(self) -> np.ndarray:
        """The first unit of every shard, and the number of units: int64 [shards + 1]."""
        return np.cumsum([0, *-(-np.diff(self._shard_starts) // self.unit_size)])

    @property
    def shards(self) -> int:
        """How many shards the table will have."""
        return len(self._shard_starts) - 1

    def shard_range(self, shard: int) -> range:
        """The images of a shard."""
        return range(int(self._shard_starts[shard]), int(self._shard_starts[shard + 1]))

    def shard_images(self, shard: int) -> pa.Table:
        """The rows of the plan that belong to a shard, without what only workers need."""
        names = [name for name in self.images.schema.names if not name.startswith("_")]
        return self.rows(self.shard_range(shard)).select(names)

    def rows(self, images: range) -> pa.Table:
        """The rows of the plan of neighbouring images."""
        return self.images.slice(images.start, len(images))

    def image_id(self, image: int) -> str:
        """The id of an image."""
        return str(self.rows(range(image, image + 1))["image_id"][0].as_py())

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self._first_units[-1])

    def units_of(self, shard: int) -> range:
        """The units of a shard."""
        return range(int(self._first_units[shard]), int(self._first_units[shard + 1]))

    def unit_range(self, unit: int) -> range:
        """The images of a unit."""
        shard = self.shard_of(unit)
        images = self.shard_range(shard)
        start = images.start + (unit - int(self._first_units[shard])) * self.unit_size
        return range(start, min(start + self.unit_size, images.stop))

    def unit_of(self, image: int) -> int:
        """The unit of an image."""
        shard = int(np.searchsorted(self._shard_starts, image, side="right")) - 1
        return int(self._first_units[shard] + (image - self._shard_starts[shard]) // self.unit_size)

    def shard_of(self, unit: int) -> int:
        """The shard of a unit."""
        return int(np.searchsorted(self._first_units, unit, side="right")) - 1

    def count_images(self, chosen: np.ndarray) -> int:
        """How many images the units have that the mask `chosen` [units] selects."""
        missing = -np.diff(self._shard_starts) % self.unit_size  # what the last unit of each shard lacks
        return int(np.count_nonzero(chosen)) * self.unit_size - int(missing @ chosen[self._first_units[1:] - 1])

    def by_image(self, chosen: np.ndarray, shard: int) -> np.ndarray:
        """A mask of units, bool [units], as one of the images of a shard."""
        units = self.units_of(shard)
        return np.repeat(chosen[units.start : units.stop], self.unit_size)[: len(self.shard_range(shard))]

    def generation_shards(self) -> list[range]:
        """The shards of each generation."""
        ends = np.searchsorted(self._shard_starts, np.cumsum((0, *(self.generations or (len(self),)))))
        return [range(int(start), int(stop)) for start, stop in pairwise(ends)]

    def grown(self, images: RowGroups) -> Plan:
        """This plan and one more generation: the images of `images`, sorted by id, that it does not hold."""
        schema = self.images.schema
        new = spilled((part.select(schema.names).cast(schema) for part in self._unknown(images.parts())), schema)
        if not new.num_rows:
            return self
        both = spilled(chain(self._parts(), new.parts()), schema)
        return Plan(both, self.shard_size, self.unit_size, (*(self.generations or (len(self),)), new.num_rows))

    def _unknown(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Those of sorted images that the plan does not hold. It goes through each generation once."""
        generations = [PassingIds(self._generation(shards)) for shards in self.generation_shards()]
        for part in parts:
            known = [ids.hold(part["image_id"]) for ids in generations]
            yield part.filter(pa.array(~np.any(known, axis=0)))

    def _generation(self, shards: range) -> Iterator[pa.Table]:
        """The images of a generation, some at a time."""
        stop = int(self._shard_starts[shards.stop])
        for start in range(int(self._shard_starts[shards.start]), stop, _GROUP_ROWS):
            yield self.rows(range(start, min(start + _GROUP_ROWS, stop)))

    def task(self, unit: int, attempts: int, resume: bool) -> Task:
        """A unit as what a worker is handed."""
        return Task(unit, tuple(self.rows(self.unit_range(unit)).to_pylist()), attempts, resume)

    def save(self, store: Store) -> None:
        """Write the plan whole."""
        facts = {"unit_size": self.unit_size, "generations": self.generations or [len(self)]}
        schema = self.images.schema.with_metadata({_FACTS: json.dumps(facts)})
        groups, scratch = in_groups(self._parts(), _GROUP_ROWS), Scratch()
        path = scratch.write_parquet("plan", groups, schema, compression="zstd", write_page_checksum=True)
        store.put_file(RunLayout.plan, path)

    def _parts(self) -> Iterator[pa.Table]:
        """All images, some at a time."""
        return self.images.parts() if isinstance(self.images, RowGroups) else iter([self.images])

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """The saved plan of an output."""
        images = RowGroups(store, RunLayout.plan)
        try:
            facts = json.loads(images.metadata.get(_FACTS, b"{}"))
            generations = facts.get("generations")
            if generations is not None and sum(generations) != images.num_rows:
                raise ValueError(f"it has {images.num_rows} images and speaks of {sum(generations)}")
            unit_size = facts.get("unit_size", 1)
            return cls(images, shard_size, unit_size, None if generations is None else tuple(generations))
        except (ValueError, TypeError, AttributeError) as error:
            uri = store.uri(RunLayout.plan)
            raise StorageError(f"{uri} is damaged ({error}); this output cannot be resumed") from error


def is_plan(store: Store) -> bool:
    """Return whether what an output holds in the place of a plan was written by `Plan.save`."""
    try:
        return _FACTS in RowGroups(store, RunLayout.plan).metadata
    except StorageError:
        return False
