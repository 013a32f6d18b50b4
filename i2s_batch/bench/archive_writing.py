"""Measures the writing of archives of encoded images: into the work log, and from there into an archive.

    python -m i2s_batch.bench.archive_writing FOLDER --images 320

Random bytes stand for the images. The seconds of the processor say what the work costs; those of the clock hold what
the disk, and whatever else the machine does, adds. The last line is JSON.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from i2s_batch.bench.command_line import parser_of
from i2s_batch.output.archives.image_log import ImageLog
from i2s_batch.output.archives.registered import ARCHIVES, archive_key
from i2s_batch.output.archives.writing import ArchiveWriter, packs_of
from i2s_batch.output.plan import Plan
from i2s_batch.storage import open_store

_WRITERS = 4  # threads of a worker that write
_UNIT = 32  # images


@dataclass(frozen=True)
class Written:
    """Holds the seconds of one step for each image: by the processor, and by the clock."""

    output: str
    step: str
    images: int
    cpu_ms: float
    wall_ms: float


def _timed(output: str, step: str, images: int, work: Callable[[], object]) -> Written:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Written(output, step, images, round(1e3 * cpu / images, 2), round(1e3 * wall / images, 2))


def _rows(images: Sequence[bytes], output: str) -> pa.Table:
    names = [f"{number:05d}" for number in range(len(images))]
    return pa.table(
        {
            "image_id": names,
            "uri": names,
            "status": ["ok"] * len(images),
            "sha256": [hashlib.sha256(image).hexdigest() for image in images],
            "bytes": [len(image) for image in images],
            "width": [1024] * len(images),
            "height": [1024] * len(images),
            "image_file": [f"{archive_key(output, 0)}/{name}.png" for name in names],
        }
    )


def measured(folder: str, images: Sequence[bytes], output: str) -> list[Written]:
    """Return what the two steps cost; what was written is removed."""
    store = open_store(f"{folder.rstrip('/')}/written-{uuid.uuid4().hex}")
    rows = _rows(images, output)
    plan, log = Plan(rows.select(["image_id", "uri"]), len(images), _UNIT), ImageLog(store)

    def write_log() -> None:
        with ThreadPoolExecutor(_WRITERS) as pool:
            units = ((unit, [images[index] for index in plan.unit_range(unit)]) for unit in range(plan.units))
            list(pool.map(lambda unit: log.write(*unit), units))

    def write_archive() -> None:
        packs = packs_of(plan, range(plan.units), rows)
        ArchiveWriter(store, output).write(plan, 0, rows, packs, None, lambda: None)

    try:
        steps = (("into the work log", write_log), ("from the log into the archive", write_archive))
        return [_timed(output, name, len(images), work) for name, work in steps]
    finally:
        store.delete([info.key for info in store.list()])


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line and print the figures."""
    parser = parser_of("archive_writing", __doc__)
    parser.add_argument("folder", metavar="FOLDER", help="Folder, or s3:// prefix, in which is written.")
    parser.add_argument("--images", type=int, default=320, help="Images of one archive.")
    parser.add_argument("--bytes", type=int, default=1_200_000, help="Bytes of an image.")
    arguments = parser.parse_args(words)
    stream = np.random.default_rng(0)
    images = [stream.bytes(arguments.bytes) for _ in range(arguments.images)]
    results = [one for output in ARCHIVES for one in measured(arguments.folder, images, output)]
    for one in results:
        print(f"{one.output:<11} {one.step:<30} {one.cpu_ms:>8.2f} ms CPU {one.wall_ms:>9.2f} ms wall an image")
    print(json.dumps([asdict(one) for one in results]))


if __name__ == "__main__":
    main()
