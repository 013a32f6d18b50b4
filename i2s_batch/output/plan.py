"""The plan: the frozen, sorted list of a run's images, cut into shards and units. Made once, saved, never
recomputed.

A unit is what is handed out, logged and retried as one: an image to embed, which takes minutes, or some
neighbouring pictures to render, which take milliseconds each.
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
from i2s_batch.parquet.sorted_rows import Scratch, SortedIds, in_groups, spilled
from i2s_batch.schema.settings import MOST_ROWS, load
from i2s_batch.storage import Store

_FACTS = b"i2s_batch.plan"
# Columns that only this program needs, of studies and of edits: the unit that has to be done before this one, the one
# that continues it and its id, the image that is altered; where the parents' latents lie.
STUDY_INTERNAL = ("_source", "_after", "_then", "_then_id")
EDIT_INTERNAL = ("_places",)
# Images that are read at once of a saved plan: some ten shards.
GROUP_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Plan:
    """`images` has the columns image_id and uri, those that the table carries along under whatever names an input list
    gives them, those that only this program needs (`internal`), and those that are in no table (`unused`). Of a plan
    that was loaded only the images that are asked for are in memory.

    A run that has grown has generations, of `generations` images each (one of all, if None): sorted by id each, and
    beginning with a shard of its own, so that growing leaves every shard as it is. A shard has at most `shard_size`
    images; a unit has at most `unit_size` of one shard, and only a shard's last unit may have fewer.
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
        """The rows of the plan that belong to a shard, with the columns that the table has of them."""
        return self.rows(self.shard_range(shard)).select(self.table_columns)

    @property
    def table_columns(self) -> list[str]:
        """Return the columns of the plan that are in the table too: image_id, uri and those that are carried along."""
        return [name for name in self.images.schema.names if name not in (*self.internal, *self.unused)]

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

    def with_new_images(self, images: RowGroups) -> Plan:
        """This plan and one more generation: the images of `images`, sorted by id, that it does not hold."""
        schema = self.images.schema
        new = spilled((part.select(schema.names).cast(schema) for part in self._unplanned(images.parts())), schema)
        if not new.num_rows:
            return self
        both = spilled(chain(self._parts(), new.parts()), schema)
        return replace(self, images=both, generations=(*(self.generations or (len(self),)), new.num_rows))

    def _unplanned(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Those of sorted images that the plan does not hold. It goes through each generation once."""
        generations = [SortedIds(self._generation(shards)) for shards in self.generation_shards()]
        for part in parts:
            planned = [ids.contain(part["image_id"]) for ids in generations]
            yield part.filter(pa.array(~np.any(planned, axis=0)))

    def _generation(self, shards: range) -> Iterator[pa.Table]:
        """The images of a generation, some at a time."""
        stop = int(self._shard_starts[shards.stop])
        for start in range(int(self._shard_starts[shards.start]), stop, GROUP_ROWS):
            yield self.rows(range(start, min(start + GROUP_ROWS, stop)))

    def unit_rows(self, unit: int) -> pa.Table:
        """Return the rows of the plan of a unit, with all columns."""
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
        groups, scratch = in_groups(self._parts(), GROUP_ROWS), Scratch()
        path = scratch.write_parquet("plan", groups, schema, compression="zstd", write_page_checksum=True)
        store.put_file(RunLayout.plan, path)

    def _parts(self) -> Iterator[pa.Table]:
        """All images, some at a time."""
        return self.images.parts() if isinstance(self.images, RowGroups) else iter([self.images])

    @classmethod
    def load(cls, store: Store, shard_size: int) -> Plan:
        """Return the saved plan of an output."""
        images = RowGroups(store, RunLayout.plan)
        try:
            facts = _checked_facts(images)
            internal, unused = _special_columns(facts, images.schema.names)
        except ValueError as error:
            uri = store.uri(RunLayout.plan)
            raise StorageError(f"{uri} is damaged ({error}); this output cannot be resumed") from error
        return cls(images, shard_size, facts.unit_size, facts.generations, internal, unused)


@dataclass(frozen=True)
class _Facts:
    """What a saved plan says of itself; None for what earlier versions left out."""

    unit_size: int = 1
    generations: tuple[int, ...] | None = None
    internal: tuple[str, ...] | None = None
    unused: tuple[str, ...] = ()
    sha256: str = ""


def _digest(facts: Mapping[str, Json], stored: pa.Schema) -> str:
    """Return the sha256 of what the file's footer says beside the rows, whose pages have checksums of their own.
    `stored`: the columns as Parquet gives them back, which calls some types by another name."""
    facts_without_hash = {name: value for name, value in facts.items() if name != "sha256"}
    columns = [(field.name, str(field.type)) for field in stored]
    return hashlib.sha256(json.dumps([facts_without_hash, columns], sort_keys=True).encode()).hexdigest()


def _as_stored(schema: pa.Schema) -> pa.Schema:
    """Return the schema that a Parquet file of these columns has."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pq.read_schema(pa.BufferReader(sink.getvalue()))


def _checked_facts(images: RowGroups) -> _Facts:
    """Return what a saved plan says of itself. Raises ValueError if it is damaged."""
    if images.metadata and _FACTS not in images.metadata:
        raise ValueError("its metadata are of no plan")
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
        raise ValueError(f"it has {images.num_rows} images and speaks of {sum(facts.generations)}")
    return facts


def _special_columns(facts: _Facts, names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that only this program needs, and those that are in no table.

    Earlier versions did not say which these are: all whose names begin with '_' were in no table, those of a user's
    list too, and a run that resumes must not give its later shards other columns than its first.
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
    """Return whether what an output holds in the place of a plan was written by `Plan.save`."""
    try:
        return _FACTS in RowGroups(store, RunLayout.plan).metadata
    except StorageError:
        return False
