"""Measures how fast a table of many latents is searched, beside the disk's own rate in the same run.

    python -m i2s_batch.bench.neighbours FOLDER [ROWS]

Writes a run of random latents of 18 x 512 into FOLDER (random floats are the worst case of every codec) unless FOLDER
holds one, and reads its files plainly. Then it searches for neighbours, verifies the table and runs a query, each in a
process of its own and after the system was asked to drop the files from its cache; and searches again with the cache
filled. Memory is the peak less what was held after the imports. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.scale import measured
from i2s_batch.bench.synthetic import SHARD_ROWS, write_run
from i2s_batch.output.ownership import claim
from i2s_batch.output.plan import Plan
from i2s_batch.storage import open_store

SHAPE = (18, 512)
_CHUNK_BYTES = 8 << 20


def drop_from_cache(folder: str) -> None:
    """Ask the system to drop the files from its cache."""
    for path in Path(folder, "latents").iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_rate(folder: str) -> tuple[int, float]:
    """Return the bytes of the files, and the seconds to read them one after another."""
    began, size = time.perf_counter(), 0
    for path in sorted(Path(folder, "latents").iterdir()):
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
    return size, time.perf_counter() - began


def measure(folder: str, rows: int) -> dict[str, float]:
    """Return the figures; `folder` holds the run already or is empty, and the run stays in it."""
    if claim(open_store(folder)) is None:
        write_run(folder, rows, SHAPE)
    rows = len(Plan.load(open_store(folder), SHARD_ROWS))
    code_gb = rows * SHAPE[0] * SHAPE[1] * 4 / 1e9
    drop_from_cache(folder)
    size, plain_s = plain_rate(folder)
    figures = {"rows": rows, "file_gb": size / 1e9, "code_gb": code_gb, "disk_gb_per_s": size / plain_s / 1e9}
    for name, step in (("cold", "neighbours"), ("cached", "neighbours"), ("verify", "verify"), ("query", "query")):
        if name != "cached":
            drop_from_cache(folder)
        found = measured(step, folder, rows, SHAPE)
        seconds = found["seconds"]
        figures |= {f"{name}_s": seconds, f"{name}_rows_per_s": rows / seconds, f"{name}_peak_mb": found["peak_mb"]}
        if step != "query":  # which reads no latents
            figures |= {f"{name}_code_gb_per_s": code_gb / seconds, f"{name}_file_gb_per_s": size / seconds / 1e9}
    return figures


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("neighbours", __doc__)
    parser.add_argument("folder", metavar="FOLDER", help="Folder of the run, which is written if it is empty.")
    parser.add_argument("rows", metavar="ROWS", nargs="?", type=int, default=100_000, help="Number of rows.")
    given = parser.parse_args()
    print(json.dumps({name: round(value, 3) for name, value in measure(given.folder, given.rows).items()}))


if __name__ == "__main__":
    main()
