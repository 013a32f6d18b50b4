"""Defines the plan: the frozen, sorted list of a run's images, cut into shards and units.

It is made once and saved, never recomputed. A unit is handed out, logged and retried as one: an image to embed, which
takes minutes, or some neighbouring images to render, which take milliseconds each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.config import Json
from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import Scratch, SortedIds, SpilledRows, in_groups, spilled
from i2s_batch.schema.settings import MOST_ROWS, load
from i2s_batch.storage import Store

_FACTS = b"i2s_batch.plan"
# Columns that only this program needs. Of studies: the image that is altered, the unit that has to be done before this
# one, the one that continues it, and its id. Of edits: where the parents' latents are.
STUDY_INTERNAL = ("_source", "_after", "_then", "_then_id")
EDIT_INTERNAL = ("_places",)
# Images of a saved plan that are read at once: some ten shards.
GROUP_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Plan:
    """Holds the images of a run and how they are cut into shards and units.

    A run that was updated has generations of images, each sorted by id and beginning with a shard of its own, so that
    an update leaves every shard as it is. A unit has at most `unit_size` images of one shard, and only a shard's last
    unit may have fewer.

    Attributes:
        images: A table with the columns image_id and uri, the extra columns of the table under whatever names an input
            list gives them, the `internal` and the `unused` columns. A loaded plan holds in memory only the images that
            are asked for.
        shard_size: The most images of a shard.
        unit_size: Images of a unit.
        generations: Number of images of each generation; None for one.
        internal: Columns that only this program needs.
        unused: Columns that are in no table.
    """

    images: pa.Table | RowGroups
    shard_size: int
    unit_size: int = 1
    generations: tuple[int, ...] | None = None
    internal: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.images.num_rows)

    @cached_property
    def _shard_starts(self) -> np.ndarray:
        """Return the first image of every shard, and the number of images: int64 [shards + 1]."""
        ends = np.cumsum((0, *(self.generations or (len(self),))))
        parts = [np.arange(ends[g], ends[g + 1], self.shard_size) for g in range(len(ends) - 1)]
        return np.concatenate([*parts, ends[-1:]])

    @cached_property
    def _first_units(self) -> np.ndarray:
        """Return the first unit of every shard, and the number of units: int64 [shards + 1]."""
        return np.cumsum([0, *-(-np.diff(self._shard_starts) // self.unit_size)])

    @property
    def shards(self) -> int:
        """Return how many shards the table will have."""
        return len(self._shard_starts) - 1

    def shard_range(self, shard: int) -> range:
        """Return the images of a shard."""
        return range(int(self._shard_starts[shard]), int(self._shard_starts[shard + 1]))

    def shard_images(self, shard: int) -> pa.Table:
        """Return the rows of the plan that belong to a shard, with the columns that the table has too."""
        return self.rows(self.shard_range(shard)).select(self.table_columns)

    @property
    def table_columns(self) -> list[str]:
        """Return the columns of the plan that are in the table too: image_id, uri and the extra columns."""
        return [name for name in self.images.schema.names if name not in (*self.internal, *self.unused)]

    def rows(self, images: range) -> pa.Table:
        """Return the rows of the plan for neighbouring images."""
        return self.images.slice(images.start, len(images))

    def image_id(self, image: int) -> str:
        """Return the id of an image."""
        return str(self.rows(range(image, image + 1))["image_id"][0].as_py())

    @property
    def units(self) -> int:
        """Return the number of units."""
        return int(self._first_units[-1])

    def units_of(self, shard: int) -> range:
        """Return the units of a shard."""
        return range(int(self._first_units[shard]), int(self._first_units[shard + 1]))

    def unit_range(self, unit: int) -> range:
        """Return the images of a unit."""
        shard = self.shard_of(unit)
        images = self.shard_range(shard)
        start = images.start + (unit - int(self._first_units[shard])) * self.unit_size
        return range(start, min(start + self.unit_size, images.stop))

    def unit_of(self, image: int) -> int:
        """Return the unit of an image."""
        shard = int(np.searchsorted(self._shard_starts, image, side="right")) - 1
        return int(self._first_units[shard] + (image - self._shard_starts[shard]) // self.unit_size)

    def shard_of(self, unit: int) -> int:
        """Return the shard of a unit."""
        return int(np.searchsorted(self._first_units, unit, side="right")) - 1

    def count_images(self, chosen: np.ndarray) -> int:
        """Return the number of images in the units that the mask `chosen` [units] selects."""
        missing = -np.diff(self._shard_starts) % self.unit_size  # what the last unit of each shard lacks
        return int(np.count_nonzero(chosen)) * self.unit_size - int(missing @ chosen[self._first_units[1:] - 1])

    def by_image(self, chosen: np.ndarray, shard: int) -> np.ndarray:
        """Return a mask of units, bool [units], as a mask of the images of a shard."""
        units = self.units_of(shard)
        return np.repeat(chosen[units.start : units.stop], self.unit_size)[: len(self.shard_range(shard))]

    def generation_shards(self) -> list[range]:
        """Return the shards of each generation."""
        ends = np.searchsorted(self._shard_starts, np.cumsum((0, *(self.generations or (len(self),)))))
        return [range(int(start), int(stop)) for start, stop in pairwise(ends)]

    def with_new_images(self, images: RowGroups, most: int | None = None) -> Plan:
        """Return this plan and one more generation: the images of `images`, sorted by id, that it does not hold.

        There are at most `most` images then, unless there are more already. The columns of `images` are those of the
        plan, in their order, whatever their names.
        """
        schema = self.images.schema
        unplanned = self._unplanned(images.parts())
        renamed = (part.rename_columns(schema.names).cast(schema) for part in unplanned)
        new = spilled(renamed if most is None else _first(renamed, most - len(self)), schema)
        if not new.num_rows:
            return self
        both = spilled(chain(self.parts(), new.parts()), schema)
        return replace(self, images=both, generations=(*(self.generations or (len(self),)), new.num_rows))

    def count_new(self, images: RowGroups) -> int:
        """Return how many of `images`, sorted by id, the plan does not hold."""
        return sum(map(len, self._unplanned(images.parts(["image_id"]))))

    def unplanned(self, images: RowGroups) -> SpilledRows:
        """Return those of `images`, sorted by id, that the plan does not hold."""
        return spilled(self._unplanned(images.parts()), images.schema)

    def _unplanned(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield those of some sorted images that the plan does not hold. Reads each generation once."""
        generations = [SortedIds(self._generation(shards)) for shards in self.generation_shards()]
        for part in parts:
            planned = [ids.contain(part["image_id"]) for ids in generations]
            yield part.filter(pa.array(~np.any(planned, axis=0)))

    def _generation(self, shards: range) -> Iterator[pa.Table]:
        """Yield the images of a generation, some at a time."""
        stop = int(self._shard_starts[shards.stop])
        for start in range(int(self._shard_starts[shards.start]), stop, GROUP_ROWS):
            yield self.rows(range(start, min(start + GROUP_ROWS, stop)))

    def unit_rows(self, unit: int) -> pa.Table:
        """Return the rows of the plan for a unit, with all columns."""
        return self.rows(self.unit_range(unit))

    def save(self, store: Store) -> None:
        """Write the plan whole."""
        facts: dict[str, Json] = {
            "unit_size": self.unit_size,
            "generations": list(self.generations or [len(self)]),
            "internal": list(self.internal),
            "unused": list(self.unused),
        }
        facts["sha256"] = _digest(facts, _as_stored(self.images.schema))
        schema = self.images.schema.with_metadata({_FACTS: json.dumps(facts)})
        groups, scratch = in_groups(self.parts(), GROUP_ROWS), Scratch()
        path = scratch.write_parquet("plan", groups, schema, compression="zstd", write_page_checksum=True)
        store.put_file(RunLayout.plan, path)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield all images, some at a time; `columns`: None for all."""
        if isinstance(self.images, RowGroups):
            return self.images.parts(columns)
        return iter([self.images if columns is None else self.images.select(columns)])

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """Return the saved plan of an output.

        Raises:
            StorageError: There is none, or it is damaged.
        """
        images = RowGroups(store, RunLayout.plan)
        try:
            facts = _checked_facts(images)
            internal, unused = _special_columns(facts, images.schema.names)
        except ValueError as error:
            uri = store.uri(RunLayout.plan)
            raise StorageError(f"{uri} is damaged ({error}); this output cannot be resumed") from error
        return cls(images, shard_size, facts.unit_size, facts.generations, internal, unused)


def _first(parts: Iterable[pa.Table], count: int) -> Iterator[pa.Table]:
    """Yield the first rows of some tables."""
    for part in parts:
        if count <= 0:
            return
        yield part.slice(0, count)
        count -= len(part)


@dataclass(frozen=True)
class _Facts:
    """Holds what a saved plan records about itself; None for what earlier versions left out."""

    unit_size: int = 1
    generations: tuple[int, ...] | None = None
    internal: tuple[str, ...] | None = None
    unused: tuple[str, ...] = ()
    sha256: str = ""


def _digest(facts: Mapping[str, Json], stored: pa.Schema) -> str:
    """Return the sha256 of what the file's footer records beside the rows, whose pages have checksums of their own.

    `stored` is the schema as Parquet returns it, which names some types differently.
    """
    facts_without_hash = {name: value for name, value in facts.items() if name != "sha256"}
    columns = [(field.name, str(field.type)) for field in stored]
    return hashlib.sha256(json.dumps([facts_without_hash, columns], sort_keys=True).encode()).hexdigest()


def _as_stored(schema: pa.Schema) -> pa.Schema:
    """Return the schema that a Parquet file of these columns has."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pq.read_schema(pa.BufferReader(sink.getvalue()))


def _checked_facts(images: RowGroups) -> _Facts:
    """Return what a saved plan records about itself.

    Raises:
        ValueError: It is damaged.
    """
    if images.metadata and _FACTS not in images.metadata:
        raise ValueError("its metadata are not those of a plan")
    try:
        values = json.loads(images.metadata.get(_FACTS, b"{}"))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    facts = load(values, _Facts)
    if {"internal", "unused", "sha256"} & values.keys() and facts.sha256 != _digest(values, images.schema):
        raise ValueError("its footer is not the one that was written: the sha256 differs")
    counts = [facts.unit_size, *(facts.generations or ())]
    if min(counts) < 1 or facts.unit_size > MOST_ROWS:
        raise ValueError(f"its counts are {counts}")
    if facts.generations and sum(facts.generations) != images.num_rows:
        raise ValueError(f"it has {images.num_rows} images, its generations {sum(facts.generations)}")
    return facts


def _special_columns(facts: _Facts, names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that only this program needs, and those that are in no table.

    Earlier versions did not record which these are: all whose names begin with '_' were in no table, those of a user's
    list too, and a resumed run must not give its later shards other columns than its first.
    """
    missing = {"image_id", "uri", *(facts.internal or ()), *facts.unused} - set(names)
    if missing:
        raise ValueError(f"it has no column {min(missing)!r}")
    if facts.internal is not None:
        return facts.internal, facts.unused
    hidden = tuple(name for name in names if name.startswith("_"))
    ours = set(hidden) in (set(STUDY_INTERNAL), set(EDIT_INTERNAL))
    return (hidden, ()) if ours else ((), hidden)


def is_plan(store: Store) -> bool:
    """Return whether the file at the key of the plan was written by `Plan.save`."""
    try:
        return _FACTS in RowGroups(store, RunLayout.plan).metadata
    except StorageError:
        return False
