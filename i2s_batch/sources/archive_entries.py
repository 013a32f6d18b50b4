"""Defines what the readers of archives and of tables of images share: an entry, and which members describe others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from i2s_batch.sources.members import Member

# Members that describe the image of the same key, as in WebDataset and img2dataset.
SIDECARS = ("json", "txt", "cls", "caption")
MOST_SIDECAR_BYTES = 1 << 20

Read = Callable[[int, int], bytes]  # the bytes between two positions of a file, fewer at its end


@dataclass(frozen=True)
class Entry:
    """Holds a member, and its bytes if it describes another."""

    member: Member
    content: bytes | None = None


Found = Entry | None  # None for what is no file: a link, a device


def key_and_extension(name: str) -> tuple[str, str]:
    """Return the key of a member and its extension: what is before and after the first '.' of its base name."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension


def is_sidecar(name: str, size: int) -> bool:
    """Return whether a member of this name and size describes another."""
    return key_and_extension(name)[1].lower() in SIDECARS and size <= MOST_SIDECAR_BYTES
