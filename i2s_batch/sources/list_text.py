"""Opens the text of a list: its format by its name, compression, encoding, and lines of bounded length."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO, cast

from i2s_batch.errors import SourceError

TEXT_FORMATS = ("txt", "csv", "tsv", "jsonl", "ndjson", "json")
FORMATS = (*TEXT_FORMATS, "parquet")
_COMPRESSED = ".gz"
LIST_SUFFIXES = (*(f".{name}" for name in FORMATS), *(f".{name}{_COMPRESSED}" for name in TEXT_FORMATS))

MAX_LINE = 1 << 27  # characters; a list of one line would be in memory whole
_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"),
)  # fmt: skip
_EVERY_OTHER = ((False, True) * 2, (True, False) * 2)  # which bytes are zero in ASCII without a mark


def is_list(source: str) -> bool:
    """Return whether the name of SOURCE is that of a list."""
    return source.lower().endswith(LIST_SUFFIXES)


def format_of(source: str) -> str:
    """Return the format of a list, one of FORMATS, or '' for another name."""
    name = source.lower().removesuffix(_COMPRESSED).rpartition(".")[2]
    return name if is_list(source) and name in FORMATS else ""


def uncompressed(source: str, file: BinaryIO) -> BinaryIO:
    """Return the file of a list without its compression."""
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if source.lower().endswith(_COMPRESSED) else file


class _Lines(io.TextIOWrapper):
    """Refuses lines that are too long."""

    def __next__(self) -> str:  # type: ignore[override]  # typeshed has the one of bytes files
        line = self.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        if len(line) > MAX_LINE:
            raise _TooLongError
        return line


class _TooLongError(Exception):
    """A line that is longer than MAX_LINE."""


@contextmanager
def text_lines(source: str, file: BinaryIO, end: str | None = "\n", errors: str = "strict") -> Iterator[TextIO]:
    """Open a file from its beginning as lines, without a byte order mark; `end` is the `newline` of `open`."""
    file.seek(0)
    try:
        _check_encoding(source, file)
        text = _Lines(file, "utf-8-sig", errors, end)
        try:
            yield text
        finally:
            if not file.closed:  # it is closed when not all rows were read
                text.detach()  # else it would close the file
    except UnicodeDecodeError as error:
        raise SourceError(f"{source!r} is not UTF-8 (byte {_first_fault(file)}); save it as UTF-8") from error
    except _TooLongError as error:
        raise SourceError(f"{source!r} has a line of more than {MAX_LINE} characters; is it a list?") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{source!r} is no readable gzip file: {error}") from error


def _check_encoding(source: str, file: BinaryIO) -> None:
    """Raise SourceError for a list in another encoding of Unicode, which editors of Windows write."""
    start = file.read(4)
    file.seek(0)
    zeros = tuple(byte == 0 for byte in start)
    unmarked = "UTF-16" if zeros in _EVERY_OTHER else ""
    found = next((name for mark, name in _MARKS if start.startswith(mark)), unmarked)
    if found:
        raise SourceError(f"{source!r} is {found}; save it as UTF-8")


def _first_fault(file: BinaryIO) -> int:
    """Return the position of the first byte that is not UTF-8."""
    file.seek(0)
    start = 0
    for line in file:
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return start + error.start
        start += len(line)
    return start
