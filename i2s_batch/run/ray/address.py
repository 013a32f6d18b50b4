"""Finds the Ray cluster that a run joins: that of RAY_ADDRESS, else the one that `ray start` began on this machine.

Ray records the latter in a file in a folder that every user of the machine may write to. It is believed only where this
user or root has written it: whoever controls a cluster runs code as the user that joins it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from i2s_batch.errors import ClusterError
from i2s_batch.storage.urls import without_secrets

OWN = "local"  # Ray's word for a cluster that is started, not joined
CONNECT_TIMEOUT_S = 10.0
_ADDRESS_BYTES = 1000
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither exists on Windows
_WHERE = "submit the command with `ray job submit`, or run it on a node of the cluster, where it needs no RAY_ADDRESS"


def cluster_address(report: Callable[[str], None]) -> str:
    """Return host:port of the cluster to join, or `OWN` where there is none.

    Args:
        report: Takes a line about a cluster that is not believed.

    Raises:
        ClusterError: RAY_ADDRESS names a cluster that does not respond or cannot be joined.
    """
    asked = os.environ.get("RAY_ADDRESS", "")
    if asked == OWN:
        return OWN
    if asked in ("", "auto"):
        found = running_cluster(report)
        if found is None and asked:
            raise ClusterError(
                f"RAY_ADDRESS={asked}, and {address_file()} names no Ray cluster of this user or root that responds; "
                "start one, set RAY_ADDRESS to host:port, or unset it"
            )
        return found or OWN
    _check_form(asked)
    if not is_listening(asked):
        raise ClusterError(f"no Ray cluster responds at RAY_ADDRESS={asked}; start it, or unset RAY_ADDRESS")
    return asked


def _check_form(address: str) -> None:
    scheme, mark, _ = address.partition("://")
    shown = without_secrets(address)
    if scheme == "ray" and mark:
        raise ClusterError(f"RAY_ADDRESS={shown} is a port of Ray Client, which cannot watch the workers; {_WHERE}")
    if mark:
        raise ClusterError(f"RAY_ADDRESS={shown} is a URL, as of a dashboard; a run joins host:port; {_WHERE}")


def address_file() -> Path:
    """Return the file in which `ray start` records its cluster, where Ray itself looks for it."""
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    return Path(folder, "ray", "ray_current_cluster")


def running_cluster(report: Callable[[str], None]) -> str | None:
    """Return the address of this machine's running cluster; None if there is none.

    The file outlives a cluster that was killed; Ray's own search would then try the dead address for minutes.
    """
    file = address_file()
    try:
        # Not a link, whose owner is not that of the file; O_NONBLOCK: nor a pipe, which would be waited for.
        descriptor = os.open(file, os.O_RDONLY | _CAREFULLY)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            return None
        if hasattr(os, "geteuid") and info.st_uid not in (0, os.geteuid()):
            report(
                f"the Ray cluster that {file} names is not joined, because user {info.st_uid} has written that file; "
                "to join it all the same, set RAY_ADDRESS"
            )
            return None
        address = opened.read(_ADDRESS_BYTES).decode(errors="replace").strip()
    return address if address and is_listening(address) else None


def is_listening(address: str) -> bool:
    """Return whether something listens at host:port."""
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname is None or parts.port is None:
            return False
        socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):  # ValueError: not an address
        return False
    return True
