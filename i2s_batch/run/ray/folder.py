"""Chooses the folder in which a Ray of our own keeps its sockets and logs, where the usual one cannot serve."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from i2s_batch.errors import ClusterError
from i2s_batch.storage.cache_folder import can_write

# The longest path of a socket, and what Ray appends to the folder for temporary files.
_SOCKET_BYTES = 107
_SOCKET = "/ray/session_2026-11-27_16-13-56_744242_4194304/sockets/plasma_store"
LONGEST = _SOCKET_BYTES - len(_SOCKET)
FREE_BYTES = 128 << 20  # for logs, and for networks in an object store outside of /dev/shm
OTHERS = ("/tmp", "/var/tmp", "/dev/shm")


def ray_folder(report: Callable[[str], None]) -> str | None:
    """Return the folder for a Ray that is started here; None for the one that Ray takes by itself.

    Args:
        report: Takes a line where another folder is taken.

    Raises:
        ClusterError: No folder will do.
    """
    refusals: list[str] = []
    for setting, folder in _candidates():
        reason = _unsuitable(folder)
        if reason is None and not refusals:
            return None
        if reason is None:
            report(f"Ray keeps its files in {folder}/ray, because {refusals[0]}")
            return f"{folder}/ray"
        refusals.append(f"{setting}{folder} {reason}")
    raise ClusterError(
        f"Ray has no folder for its files: {'; '.join(refusals)}; set RAY_TMPDIR to a folder with a short path "
        "that can be written to, or add --in-process, which needs no Ray"
    )


def _candidates() -> Iterator[tuple[str, str]]:
    """Yield the folders for temporary files, that which Ray takes by itself first, with the setting that names it."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if name in os.environ:
            yield f"{name}=", os.environ[name]
            break
    for folder in OTHERS:
        yield "", folder


def _unsuitable(folder: str) -> str | None:
    """Return why Ray cannot keep its files in a folder for temporary files; None if it can."""
    characters = len(os.fsencode(Path(folder).absolute()))
    if characters > LONGEST:
        return f"has {characters} characters, and the sockets of Ray allow {LONGEST}"
    if not can_write(Path(folder, "ray")):
        return "cannot be written to"
    free = shutil.disk_usage(folder).free
    return f"has {free >> 20} MiB free, and Ray needs {FREE_BYTES >> 20}" if free < FREE_BYTES else None
