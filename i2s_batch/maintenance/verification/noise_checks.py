"""Checks the noise maps beside a table: every file, against its checksum and against the rows that promise maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from i2s_batch.errors import StorageError
from i2s_batch.inversion.metrics import psnr
from i2s_batch.maintenance.verification.shard_checks import Finding
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.noise_parts import NoiseParts
from i2s_batch.output.noise_shards import REPAIR, ids_with_noise, parse_noise_shard
from i2s_batch.output.publication import Checksum, Published, checksums_of, present_bytes
from i2s_batch.plurals import counted
from i2s_batch.schema.noise_codec import maps_in
from i2s_batch.storage import Store
from i2s_batch.table.latent_reader import LatentLocation
from i2s_batch.table.noise_reader import NoiseReader
from i2s_batch.table.shards import read_shard

_COLUMNS = ["image_id", "status", "noise_steps", "noise_loss", "noise_mse", "noise_psnr", "noise_ssim"]
_NAMED = 5  # rows of a file that are named for each kind of fault


def noise_findings(store: Store, shards: Sequence[str], shard_size: int, size: int) -> tuple[list[Finding], int]:
    """Return what is wrong with the noise maps of a run, and how many images have maps.

    Args:
        store: The output.
        shards: The keys of the shards whose rows are sound.
        shard_size: The most rows of a shard.
        size: The number of values of an image's maps.
    """
    findings, images, expected = [], 0, set()
    for key in shards:
        shard = RunLayout.shard_index(key)
        assert shard is not None
        rows = read_shard(store, key, _COLUMNS)
        images += len(ids_with_noise(rows))
        findings += [Finding(store.uri(key), image_id, what) for image_id, what in _row_faults(rows)]
        for number, part in NoiseParts.of(shard_size, size).files(shard, rows.num_rows):
            expected.add(RunLayout.noise(number))
            ids = ids_with_noise(rows.slice(part.start, len(part)))
            findings += [
                Finding(store.uri(RunLayout.noise(number)), image_id, what)
                for image_id, what in _file_faults(store, Published.noise(number), ids, size)
            ]
    return findings, images


def foreign_findings(store: Store) -> list[Finding]:
    """Return the files under noise/ that no run writes there."""
    keys = [info.key for info in store.list(RunLayout.noise_prefix)]
    what = "it is no file of noise maps of this run; move it"
    return [Finding(store.uri(key), None, what) for key in keys if RunLayout.noise_index(key) is None]


class NoiseOfRows:
    """Reads the noise maps of rows of the run itself, to draw its images again."""

    def __init__(self, store: Store, size: int) -> None:
        self._store, self._reader = store, NoiseReader([store.url], size)

    def read(self, key: str, image_id: str) -> np.ndarray:
        """Return the maps of an image of the shard at `key`, float16 [size]; errors as `NoiseReader.read`."""
        shard = RunLayout.shard_index(key)
        assert shard is not None
        ids = read_shard(self._store, key, ["image_id"])["image_id"].to_pylist()
        return self._reader.read(image_id, LatentLocation(0, shard, ids.index(image_id)))


def _row_faults(rows: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield rows whose figures of the noise stage do not belong together."""
    for row in rows.to_pylist():
        figures = [row[name] for name in _COLUMNS[2:]]
        if any(value is None for value in figures):
            if any(value is not None for value in figures):
                yield (
                    row["image_id"],
                    "of its noise_ columns some are null and some are not",
                )
            continue
        if row["status"] != "ok":
            yield row["image_id"], "its status is not ok, but it has noise_steps"
        from_mse = psnr(row["noise_mse"]) if row["noise_mse"] >= 0 else np.nan
        if not np.isclose(from_mse, row["noise_psnr"], rtol=1e-9):
            yield row["image_id"], f"its noise_psnr is {row['noise_psnr']:.9g}; its noise_mse gives {from_mse:.9g}"


def _file_faults(store: Store, file: Published, ids: list[str], size: int) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with one file, which must hold the maps of the images `ids` in this order."""
    data = present_bytes(store, file)
    if data is None:
        yield None, f"it is missing, with the noise maps of {counted(len(ids), 'image')}; {REPAIR}"
        return
    uri = store.uri(file.key)
    try:
        recorded, found = checksums_of(store, file), Checksum.of(data)
        if not recorded:
            yield None, f"its checksum {store.uri(file.checksum)!r} is missing"
        elif found not in recorded:
            was = " or ".join(map(str, recorded))
            yield None, f"its sha256 is {found}; it was written as {was}; {REPAIR}"
        table = parse_noise_shard(data, uri, size)
    except StorageError as error:
        yield None, str(error).removeprefix(f"{uri!r} ")
        return
    held = table["image_id"].to_pylist()
    for image_id in [each for each in ids if each not in set(held)][:_NAMED]:
        yield image_id, "its noise maps are missing"
    for image_id in [each for each in held if each not in set(ids)][:_NAMED]:
        yield image_id, "the table has no row with noise maps of this image here"
    if set(held) == set(ids) and held != ids:
        yield None, "its images are not in the order of the table, each once"
    if table.num_rows:
        finite = np.isfinite(maps_in(table)).all(axis=1)
        for position in np.flatnonzero(~finite)[:_NAMED]:
            yield held[position], "its noise maps have values that are not finite"
