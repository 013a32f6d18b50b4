"""Reads lists of one path a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from i2s_batch.sources.list_rows import ListRows, ReadList, some
from i2s_batch.sources.list_text import text_lines

# A remark is set apart from its '#'; '#1.png' is the name of a file.
_REMARK = re.compile(r"#+(\s|$)")


def read_txt(source: str, file: BinaryIO) -> ReadList:
    """Read one path a line; blank lines and remarks ('# ...') are ignored. Any bytes are a valid name."""

    def parts() -> Iterator[ListRows]:
        with text_lines(source, file, errors="surrogateescape") as lines:
            numbered = enumerate(map(str.strip, lines), 1)
            kept = ((number, line) for number, line in numbered if line and not _REMARK.match(line))
            for part in some(kept):
                yield ListRows([line for _, line in part], [f"line {number}" for number, _ in part], pa.table({}))

    return pa.schema([]), parts()
