"""Carries the noise maps of merged runs over into the files of the merged one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from i2s_batch.errors import RunConflictError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_parts import NoiseParts
from i2s_batch.output.noise_shards import NoiseShards, ids_with_noise
from i2s_batch.output.publication import Published, present_bytes
from i2s_batch.output.run_record import RunRecord
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.schema.noise_codec import noise_schema, noise_size, noise_table, sides_in
from i2s_batch.storage import Store
from i2s_batch.table.latent_reader import LatentLocation
from i2s_batch.table.noise_reader import NoiseReader


class MergedNoise:
    """Writes the noise maps of a merged run, a shard of its table at a time."""

    def __init__(
        self,
        stores: Sequence[Store],
        prefixes: Sequence[str],
        target: Store,
        record: RunRecord,
        confirm: Callable[[], None],
    ) -> None:
        """Read how large the maps of the merged runs are.

        Args:
            stores: The merged runs.
            prefixes: What was put in front of the ids of each.
            target: The merged run's output.
            record: Its record.
            confirm: Raises if the output is no longer ours.
        """
        sides = _recorded_sides(stores)
        size = noise_size(sides)
        self._target, self._prefixes, self._empty = target, prefixes, noise_schema(size).empty_table()
        self._reader = NoiseReader([store.url for store in stores], size)
        self._shards = NoiseShards(target, sides, record.shard_size, record.table_metadata(), confirm)
        self._parts = NoiseParts.of(record.shard_size, size)

    def write(self, shard: int, rows: pa.Table, locations: pa.Table) -> None:
        """Write the maps of the rows of a shard, which are at `locations` in the merged runs; both sorted by id."""
        columns = [locations[name].to_pylist() for name in ("image_id", "run", "shard", "row")]
        where = {image_id: LatentLocation(*location) for image_id, *location in zip(*columns, strict=True)}
        for number, part in self._parts.files(shard, rows.num_rows):
            maps = self._maps(ids_with_noise(rows.slice(part.start, len(part))), where)
            if not self._shards.put(number, maps, present_bytes(self._target, Published.noise(number))):
                uri = self._target.uri(RunLayout.noise(number))
                raise RunConflictError(f"{uri} changed while it was written; merge again")

    def _maps(self, ids: Sequence[str], where: Mapping[str, LatentLocation]) -> pa.Table:
        if not ids:
            return self._empty
        old_ids = [image_id.removeprefix(self._prefixes[where[image_id].table]) for image_id in ids]
        found = [self._reader.read(old, where[image_id]) for old, image_id in zip(old_ids, ids, strict=True)]
        return noise_table(ids, np.stack(found))


def _recorded_sides(stores: Sequence[Store]) -> tuple[int, ...]:
    """Return the sides of an image's maps, as files of noise maps record them."""
    for store in stores:
        for info in store.list(RunLayout.noise_prefix):
            if RunLayout.noise_index(info.key) is not None:
                return sides_in(RowGroups(store, info.key).metadata)
    raise StorageError(f"{stores[0].url} has a noise stage and no noise maps; run i2s-batch verify")
