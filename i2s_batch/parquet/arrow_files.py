"""Lends bytes and files of Python to Arrow, so that neither ends before Arrow has released them.

Arrow's threads release what they read a moment after the caller has the last row. Releasing an object of Python takes
the interpreter lock, and a thread that asks for it while the interpreter ends aborts the process (seen with pyarrow 26
in one short command of thirty on a busy machine). So bytes in memory are read without Arrow's threads, and the process
does not end before every file that they were given is free again.
"""

from __future__ import annotations

import atexit
import time
import weakref
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

_RELEASE_LIMIT_S = 2.0  # how long the end of the process waits for Arrow, at most

_lent: weakref.WeakSet[BinaryIO] = weakref.WeakSet()


def lent_to_arrow(file: BinaryIO) -> BinaryIO:
    """Return `file`, which Arrow's threads may read until the process ends."""
    _lent.add(file)
    return file


def count_lent() -> int:
    """Return how many of the files that were lent to Arrow are still held by a thread."""
    return len(_lent)


@atexit.register
def _wait_for_threads() -> None:
    deadline = time.monotonic() + _RELEASE_LIMIT_S
    while count_lent() and time.monotonic() < deadline:
        time.sleep(0.001)


def read_parquet(data: bytes) -> pa.Table:
    """Return the table in the bytes of a Parquet file. Raises ArrowException or OSError."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table: pa.Table = file.read(use_threads=False)
    return table
