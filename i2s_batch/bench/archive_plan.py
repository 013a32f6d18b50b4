"""Measures the planning of a run over archives: the time, and the memory of the driver.

    python -m i2s_batch.bench.archive_plan s3://bucket/prefix --archives 10 100 --members 10000

Archives of small members are written below new prefixes in LOCATION, a folder or an s3:// prefix, and removed
afterwards. Each number of archives is planned in a process of its own: SOURCE is listed, and the plan saved beside
them. The memory is the peak of that process less what it held after the imports; `--update` finds nothing new then.
The last line is JSON.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.scale import memory_of
from i2s_batch.output.plan import Plan
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store

_SHARD_ROWS = 1000


@dataclass(frozen=True)
class Planned:
    """Holds how long the planning of some images took, and the peak of the driver's memory meanwhile."""

    archives: int
    images: int
    seconds: float
    peak_mb: float


def tar_of_small_members(members: int, size: int) -> bytes:
    """Return a tar of so many members of `size` bytes, 00000000.jpg and on."""
    file, content = io.BytesIO(), bytes(size) + bytes(-size % tarfile.BLOCKSIZE)
    for number in range(members):
        info = tarfile.TarInfo(f"{number:08d}.jpg")
        info.size = size
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.write(content)
    file.write(bytes(2 * tarfile.BLOCKSIZE))
    return file.getvalue()


def _measure(source: str, out: str, archives: int, results: Connection) -> None:
    """Plan in a fresh process, whose peak is reset first."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory_of("VmRSS"), time.perf_counter()
    plan = Plan(list_images(source, out), _SHARD_ROWS)
    plan.save(open_store(out))
    seconds = time.perf_counter() - began
    peak = (memory_of("VmHWM") - before) / 1e6
    results.send(Planned(archives, len(plan), round(seconds, 1), round(peak, 1)))


def planned(location: str, archives: int, tar: bytes) -> Planned:
    """Return the figures for so many archives, all of the bytes `tar`."""
    store = open_store(f"{location.rstrip('/')}/plan-{uuid.uuid4().hex}")
    keys = [f"in/{number:05d}.tar" for number in range(archives)]
    try:
        for key in keys:
            store.put(key, tar)
        mine, its = multiprocessing.get_context("spawn").Pipe()
        arguments = (f"{store.url}/in", f"{store.url}/out", archives, its)
        process = multiprocessing.get_context("spawn").Process(target=_measure, args=arguments)
        process.start()
        its.close()
        found: Planned = mine.recv()
        process.join()
    finally:
        store.delete([*keys, *(info.key for info in store.list("out/"))])
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line and print the figures."""
    parser = parser_of("archive_plan", __doc__)
    parser.add_argument("location", metavar="LOCATION", help="Folder or s3:// prefix for the archives.")
    parser.add_argument("--archives", type=int, nargs="*", default=[10, 100], help="Numbers of archives.")
    parser.add_argument("--members", type=int, default=10_000, help="Images in each archive.")
    parser.add_argument("--bytes", type=int, default=512, help="Bytes of each image.")
    arguments = parser.parse_args(words)
    tar = tar_of_small_members(arguments.members, arguments.bytes)
    results = []
    for archives in arguments.archives:
        one = planned(arguments.location, archives, tar)
        results.append(one)
        print(
            f"{one.archives:>6} archives {one.images:>10} images {one.seconds:>8.1f} s {one.peak_mb:>7.1f} MB",
            flush=True,
        )
    print(json.dumps([asdict(one) for one in results]))


if __name__ == "__main__":
    main()
