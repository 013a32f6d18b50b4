"""Tells whether Ray is installed, and whether this process has been given one to work on.

Imports Ray only where there are signs of one.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from i2s_batch.run.ray.address import address_file


def ray_is_installed() -> bool:
    """Return whether Ray can be imported; there are systems without it, such as many Pythons on Windows."""
    return importlib.util.find_spec("ray") is not None


def cluster_is_given() -> bool:
    """Return whether a cluster is named by RAY_ADDRESS, has been joined, or runs on this machine by `ray start`."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    if sys.modules.get("ray") is None and not (address_file().exists() and ray_is_installed()):
        return False
    from i2s_batch.run.ray import node

    return node.finds_cluster()
