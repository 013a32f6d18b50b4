"""How fast neighbours are found in a table of many codes, beside the disk's own rate in the same run.

    python -m i2s_batch.bench.neighbours FOLDER [ROWS]

writes a table of random codes of 18 x 512 (random floats are the worst case of every codec), reads its files plainly,
and then looks through it, each time after the system was asked to forget them. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from i2s_batch.storage.objects import open_store
from i2s_batch.storage.publication import publish_shard
from i2s_batch.storage.table import shard_metadata, table_schema
from i2s_batch.table.neighbours import find_neighbours

LAYERS, W_DIM, SHARD_ROWS = 18, 512, 1000
_CHUNK_BYTES = 8 << 20


def write_table(folder: str, rows: int) -> None:
    """A table of `rows` random codes."""
    metadata = shard_metadata(
        latent_shape=(LAYERS, W_DIM), space="w+", generator="", vgg="", settings={}, code_version="bench"
    )
    schema = table_schema(LAYERS * W_DIM)
    stream, store = np.random.default_rng(0), open_store(folder)
    for shard in range(-(-rows // SHARD_ROWS)):
        numbers = range(shard * SHARD_ROWS, min(rows, (shard + 1) * SHARD_ROWS))
        codes = stream.standard_normal(len(numbers) * LAYERS * W_DIM, np.float32)
        columns = {field.name: pa.nulls(len(numbers), field.type) for field in schema}
        columns["image_id"] = pa.array([f"{number:08d}.png" for number in numbers])
        columns["status"] = pa.array(["ok"] * len(numbers))
        columns["latent"] = pa.FixedSizeListArray.from_arrays(codes, type=schema.field("latent").type)
        publish_shard(store, shard, pa.table(columns, schema), metadata, None, lambda: None)


def forget(folder: str) -> None:
    """Ask the system to drop the files from its cache."""
    for path in Path(folder, "latents").iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_rate(folder: str) -> tuple[int, float]:
    """Bytes of the files, and the seconds to read them one after the other."""
    began, size = time.perf_counter(), 0
    for path in sorted(Path(folder, "latents").iterdir()):
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
    return size, time.perf_counter() - began


def main(folder: str, rows: int) -> None:
    """Print the figures; the table stays in `folder`."""
    if not Path(folder, "latents").exists():
        write_table(folder, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forget(folder)
    size, plain_s = plain_rate(folder)
    forget(folder)
    cold = find_neighbours(folder, "00000000.png")
    warm = find_neighbours(folder, "00000000.png")
    figures = {"rows": cold.rows, "file_gb": size / 1e9, "code_gb": cold.code_bytes / 1e9}
    figures |= {"disk_gb_per_s": size / plain_s / 1e9}
    for name, search in (("cold", cold), ("cached", warm)):
        figures |= {f"{name}_s": search.seconds, f"{name}_rows_per_s": search.rows / search.seconds}
        figures |= {f"{name}_code_gb_per_s": search.code_bytes / search.seconds / 1e9}
        figures |= {f"{name}_file_gb_per_s": size / search.seconds / 1e9}
    figures |= {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "rss_before_mb": before / 1e3}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
