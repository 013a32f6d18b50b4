"""Tells whether this process has been given a Ray to work on. Imports Ray only where there are signs of one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_RECORD = Path("ray", "ray_current_cluster")  # written by `ray start`, below the folder for temporary files


def cluster_is_given() -> bool:
    """Return whether a cluster is named by RAY_ADDRESS, has been joined, or runs on this machine by `ray start`."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    folders = {os.environ.get("RAY_TMPDIR") or "/tmp", tempfile.gettempdir()}
    if sys.modules.get("ray") is None and not any((folder / _RECORD).exists() for folder in map(Path, folders)):
        return False
    from i2s_batch.run.ray import node

    return node.finds_cluster()
