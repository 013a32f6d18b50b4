"""This module opens a checkpoint file, names its container, and is where parsing errors become CheckpointError."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2s_batch.errors import CheckpointError

PICKLE = "pickle"
TORCH_LEGACY = "torch legacy"
ZIP = "zip"
SAFETENSORS = "safetensors"

# torch.save's old layout begins with a pickle of this number (protocol 2).
TORCH_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_TORCH_MAGIC = b"\x80\x02\x8a\x0a" + TORCH_MAGIC_NUMBER.to_bytes(10, "little") + b"."

# What hostile bytes can raise inside the parsers; anything else that escapes is a bug of ours.
PARSE_ERRORS = (
    CheckpointError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)

# The first bytes of files of other kinds, what they are, and after a colon what to do with them.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a WebP image or another RIFF file"),
    (b"version https://git-lfs", "a git-lfs pointer: fetch the file itself with git lfs pull"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7-zip archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras?)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF document"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")
_MESSAGE_LENGTH = 400


@contextmanager
def opened(path: str | Path) -> Iterator[memoryview]:
    """Yield the bytes of a file, mapped. Whatever goes wrong inside becomes one CheckpointError that names it."""
    try:
        yield _mapped(Path(path))
    except CheckpointError as error:
        raise CheckpointError(_one_line(f"{path}: {error}")) from error
    except OSError as error:
        raise CheckpointError(_one_line(f"{path}: cannot be read: {error.strerror or error}")) from error
    except PARSE_ERRORS as error:
        what = f"{type(error).__name__}: {error}"
        raise CheckpointError(_one_line(f"{path}: this file is damaged and cannot be read ({what})")) from error


def _one_line(text: str) -> str:
    """Return `text` without control characters and second lines: names inside a hostile file may hold anything."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _MESSAGE_LENGTH else shown[: _MESSAGE_LENGTH - 3] + "..."


def _mapped(path: Path) -> memoryview:
    if path.is_dir():
        raise CheckpointError("this is a folder; give a checkpoint file")
    if path.exists() and not path.is_file():
        raise CheckpointError("this is no regular file; give a checkpoint file")
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            raise CheckpointError("this file is empty (0 bytes)")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def known_container(data: memoryview) -> str:
    """Return which of the four containers `data` is, by its first bytes; empty for anything else."""
    head = bytes(data[:512])
    if head.startswith(_TORCH_MAGIC):
        return TORCH_LEGACY
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return PICKLE
    if head.startswith(b"PK"):
        return ZIP
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= len(data) - 8:
        return SAFETENSORS
    return ""


def foreign(data: memoryview, wanted: str) -> CheckpointError:
    """Return the refusal of a file that is none of the containers: what it is, and what is wanted."""
    head = bytes(data[:512])
    for start, name in _FOREIGN:
        if head.startswith(start):
            what, _, advice = name.partition(": ")
            return CheckpointError(f"this is {what}, not {wanted}" + (f"; {advice}" if advice else ""))
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML):
        return CheckpointError(f"this is an HTML page, probably a download quota or error page, not {wanted}")
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return CheckpointError(f"this is text, not {wanted}")
    return CheckpointError(f"this is no file of a known type (it begins with {head[:4].hex(' ')}), not {wanted}")
