"""Tells whether this process has been given a Ray to work on. Imports Ray only where there are signs of one."""

from __future__ import annotations

import os
import sys

from i2s_batch.run.ray.address import address_file


def cluster_is_given() -> bool:
    """Return whether a cluster is named by RAY_ADDRESS, has been joined, or runs on this machine by `ray start`."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    if sys.modules.get("ray") is None and not address_file().exists():
        return False
    from i2s_batch.run.ray import node

    return node.finds_cluster()
