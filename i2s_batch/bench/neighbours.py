"""How fast a table of many codes is looked through, beside the disk's own rate in the same run.

    python -m i2s_batch.bench.neighbours FOLDER [ROWS]

writes a run of random codes of 18 x 512 into FOLDER (random floats are the worst case of every codec) if there is
none, reads its files plainly, and then looks for neighbours, checks all of it and asks a query, each in a process of
its own and after the system was asked to forget the files; and for neighbours again with what it then has in memory.
Memory is the peak less what was held after the imports. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from i2s_batch.bench.scale import measured
from i2s_batch.bench.synthetic import SHARD_ROWS, write_run
from i2s_batch.output.ownership import claim
from i2s_batch.output.plan import Plan
from i2s_batch.storage import open_store

SHAPE = (18, 512)
_CHUNK_BYTES = 8 << 20


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
    """Print the figures; the run stays in `folder`, which holds it, or nothing."""
    if claim(open_store(folder)) is None:
        write_run(folder, rows, SHAPE)
    rows = len(Plan.load(open_store(folder), SHARD_ROWS))
    code_gb = rows * SHAPE[0] * SHAPE[1] * 4 / 1e9
    forget(folder)
    size, plain_s = plain_rate(folder)
    figures = {"rows": rows, "file_gb": size / 1e9, "code_gb": code_gb, "disk_gb_per_s": size / plain_s / 1e9}
    for name, step in (("cold", "neighbours"), ("cached", "neighbours"), ("verify", "verify"), ("query", "query")):
        if name != "cached":
            forget(folder)
        found = measured(step, folder, rows, SHAPE)
        seconds = found["seconds"]
        figures |= {f"{name}_s": seconds, f"{name}_rows_per_s": rows / seconds, f"{name}_peak_mb": found["peak_mb"]}
        if step != "query":  # which reads no codes
            figures |= {f"{name}_code_gb_per_s": code_gb / seconds, f"{name}_file_gb_per_s": size / seconds / 1e9}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
