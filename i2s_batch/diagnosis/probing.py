"""Tries whether files can be written, and leaves none behind, nor a folder."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from i2s_batch.storage.exclusive import has_locks

_PROBE = bytes(1 << 16)  # more than a full file system takes in the metadata of a file


def nearest(path: Path) -> Path:
    """Return the lowest folder at or above `path` that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def why_not_writable(folder: Path) -> str:
    """Return why no file can be written in a folder, or in one that would have to be made; empty if it can."""
    existing = nearest(folder.absolute())
    probe = existing / f".probe-{uuid.uuid4().hex}"
    blocked = next((each for each in (folder, *folder.parents) if each.exists() and not each.is_dir()), None)
    if blocked is not None:
        return f"{blocked} is a file"
    try:
        try:
            probe.write_bytes(_PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return str(error.strerror or error)
    return ""


def missing_features(folder: Path) -> list[str]:
    """Return what a file system that can be written to lacks: hard links, locks of files."""
    existing, name = nearest(folder.absolute()), f".probe-{uuid.uuid4().hex}"
    first, second = existing / name, existing / f"{name}-link"
    lacking: list[str] = []
    try:
        with first.open("wb") as file:
            try:
                second.hardlink_to(first)
            except OSError:
                lacking.append("hard links")
            if not has_locks(file):
                lacking.append("locks")
    finally:
        for each in (first, second):
            with suppress(OSError):
                each.unlink(missing_ok=True)
    return lacking


def remove_new_folders(path: Path, existing: Path) -> None:
    """Remove `path` and the folders above it, down to `existing`, as far as they are empty."""
    while path not in (existing, path.parent):
        with suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - Path.rmdir is the same
        path = path.parent
