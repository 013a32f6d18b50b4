"""Publishes the noise maps of a run under noise/, before the rows of the table that promise them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_log import NoiseLog
from i2s_batch.output.noise_parts import NoiseParts
from i2s_batch.output.publication import Published, present_bytes, publish
from i2s_batch.schema.noise_codec import encode_noise_shard, noise_schema, noise_size
from i2s_batch.storage import Store

# What to do about a file of noise maps that is damaged or missing: its images are then embedded again.
REPAIR = "delete the shard of the table whose images it has, and it if it exists, and run the embed command again"


def ids_with_noise(rows: pa.Table) -> list[str]:
    """Return the images of some rows of the table that have noise maps, in their order."""
    ids: list[str] = rows["image_id"].filter(pc.is_valid(rows["noise_steps"])).to_pylist()
    return ids


def parse_noise_shard(data: bytes, uri: str, size: int) -> pa.Table:
    """Return the maps in the bytes of a file under noise/.

    Raises:
        StorageError: The file is damaged, or the maps are those of another generator.
    """
    try:
        with pa.BufferReader(data) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            table = file.read(use_threads=False).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{uri!r} is damaged ({reason}); {REPAIR}") from error
    if table.schema != noise_schema(size):
        found = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise StorageError(f"{uri!r} has the columns {found}; noise maps of {size} values are needed")
    return table


class NoiseShards:
    """Publishes the noise maps of the run at `store`. Publishing twice is harmless.

    `sides` are those of an image's maps in pixels; `confirm` raises if this driver no longer holds the output
    (`Lease.confirm`).
    """

    def __init__(
        self,
        store: Store,
        sides: Sequence[int],
        shard_size: int,
        metadata: Mapping[str, str],
        confirm: Callable[[], None],
    ) -> None:
        self._store, self._sides, self._metadata, self._confirm = store, tuple(sides), metadata, confirm
        self._size = noise_size(sides)
        self._parts = NoiseParts.of(shard_size, self._size)
        self._log = NoiseLog(store.url, self._size)

    def publish(self, shard: int, rows: pa.Table, logged: Mapping[str, int]) -> None:
        """Write the maps of a shard of the table.

        Args:
            shard: The shard.
            rows: Its rows as they will be, in their order.
            logged: The units of the images whose rows come from the work log; the others are published already.

        Raises:
            NoiseDamagedError: Maps in the work log are missing or damaged.
            StorageError: Published maps are missing or damaged.
        """
        for number, part in self._parts.files(shard, rows.num_rows):
            ids = ids_with_noise(rows.slice(part.start, len(part)))
            while not self._publish_file(number, ids, logged):
                pass  # the file has changed: an earlier driver's last write came late

    def missing(self, shards: Mapping[int, int]) -> list[str]:
        """Return the keys of the files that published shards of the table should have, and that do not exist.

        `shards`: the number of rows of each.
        """
        existing = {info.key for info in self._store.list(RunLayout.noise_prefix)}
        numbers = (number for shard, rows in shards.items() for number, _ in self._parts.files(shard, rows))
        return [key for key in map(RunLayout.noise, sorted(numbers)) if key not in existing]

    def delete_logged(self, units: list[int]) -> None:
        """Delete the maps of units from the work log."""
        self._log.delete(units)

    def _publish_file(self, number: int, ids: list[str], logged: Mapping[str, int]) -> bool:
        """Write one file; return False, with nothing written, if what it was made from is not there any more."""
        file, size = Published.noise(number), self._size
        present = present_bytes(self._store, file)
        uri = self._store.uri(file.key)
        old = noise_schema(size).empty_table() if present is None else parse_noise_shard(present, uri, size)
        positions = {image_id: position for position, image_id in enumerate(old["image_id"].to_pylist())}
        if present is not None and logged.keys().isdisjoint(ids) and list(positions) == ids:
            return True
        tables = [noise_schema(size).empty_table()]
        for image_id in ids:
            if image_id in logged:
                tables.append(self._log.read(logged[image_id], image_id))
            elif image_id in positions:
                tables.append(old.slice(positions[image_id], 1))
            else:
                raise StorageError(f"{uri!r} lacks the noise maps of {image_id!r}; run i2s-batch verify")
        new = pa.concat_tables(tables)
        if present is not None and new.equals(old):
            return True
        return self.put(number, new, present)

    def put(self, number: int, maps: pa.Table, present: bytes | None) -> bool:
        """Write the file of a number in place of `present` (None: nothing); return False if there is something else."""
        data = encode_noise_shard(maps, self._sides, self._metadata)
        return publish(self._store, Published.noise(number), data, present, self._confirm)
