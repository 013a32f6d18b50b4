"""The Ray that this process joined or started: its life and death. With `ray_pool` the only file that imports Ray.

A Ray of our own lives in processes that this one started, on this machine. Where its node process ends, or Ray itself
calls the node dead (a machine short of memory, a process that was stopped for a minute), it never comes back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError

from i2s_batch.errors import ClusterError

CONNECT_TIMEOUT_S = 10.0
# Ray waits for ever for the goodbye of a node process that does not answer; a healthy one takes a second or two.
SHUTDOWN_LIMIT_S = 20.0
_REASON_CHARACTERS = 300
# How often Ray is asked whether the node lives; its processes are looked at each time.
ASK_S = 5.0
# Processes without which a Ray is none. What else it starts may end without harm.
_VITAL = ("raylet", "gcs_server")
_SOCKETS = Path("/proc/net/unix")  # of Linux: every socket that a process holds


def connect() -> bool:
    """Join the cluster of RAY_ADDRESS, else the one that `ray start` began on this machine, else start one.

    Return whether the cluster is one of our own.
    """
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS") or _running_cluster() or "local"
    if address == "local":
        start_own()
        return True
    if not _is_listening(address):
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={address}; start it, or unset RAY_ADDRESS")
    _init(address)
    return False


def start_own() -> None:
    """Start a Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _init("local", include_dashboard=False, _node_ip_address="127.0.0.1")


def disconnect() -> None:
    """Leave the cluster; a Ray of our own ends, even if it does not answer any more."""
    if ray.is_initialized():
        with _killed_after(SHUTDOWN_LIMIT_S):
            ray.shutdown()


class NodeWatch:
    """Sees whether the node of this machine lives, through which this process speaks with every worker."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        # Where the socket is in another network namespace, it is not listed here, and says nothing.
        self._is_listed = _holds_its_socket()

    def why_dead(self, ask: bool = True, at_once: bool = False) -> str | None:
        """Return why the node is dead; None if it lives.

        What can be seen from outside comes first: a call of a dead Ray may end this process. `ask`: ask Ray, too,
        every few seconds, or `at_once`.
        """
        gone = [name for name, process in _own_processes() if name in _VITAL and process.poll() is not None]
        if gone or (self._is_listed and not _holds_its_socket()):
            return f"its process {(gone or ['raylet'])[0]} has ended"
        if not ask or (time.monotonic() - self._asked < ASK_S and not at_once):
            return None
        self._asked = time.monotonic()
        if _alive(_node_id()) is False:
            return "it called its own node dead, as where a machine is short of memory or was suspended"
        return None


def _holds_its_socket() -> bool:
    """Whether some process holds the socket of this machine's node process; false where nothing says so."""
    path = getattr(getattr(ray._private.worker, "_global_node", None), "raylet_socket_name", None)
    try:
        return path is not None and path in _SOCKETS.read_text(errors="replace")
    except OSError:
        return False


def _node_id() -> str | None:
    """The node of this process; None for the client of a Ray elsewhere."""
    if getattr(ray._private.worker, "_global_node", None) is None:
        return None
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _alive(node_id: str | None) -> bool | None:
    """Whether Ray takes a node for alive; None where it does not answer, about which it gives up itself."""
    try:
        return node_id is None or any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)
    except RayError:
        return None


def restart_own() -> None:
    """Start another Ray in place of one of our own that is dead; whatever lived in it is gone."""
    kill_own()  # it would be waited for
    disconnect()
    start_own()


def kill_own() -> None:
    """End the node process of a Ray of our own at once; its workers end with it."""
    for name, process in _own_processes():
        if name == "raylet":
            process.kill()


def _own_processes() -> Iterator[tuple[str, Any]]:
    """The processes of a Ray that this process started, by role. Ray has no public call for them."""
    node = getattr(ray._private.worker, "_global_node", None)
    for name, infos in getattr(node, "all_processes", {}).items():
        for info in infos:
            yield name, info.process


@contextmanager
def _killed_after(seconds: float) -> Iterator[None]:
    """End the node process of a Ray of our own unless the block comes to its end in time."""
    timer = threading.Timer(seconds, kill_own)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _init(address: str, **options: Any) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
        raise ClusterError(f"Ray ({address}) cannot be joined or started: {reason}") from error


def _running_cluster() -> str | None:
    """The address of this machine's running cluster. Ray notes it in a file, which outlives a cluster that was
    killed; Ray's own search would then try the dead address for minutes."""
    address_file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        address = address_file.read_text().strip()
    except OSError:
        return None
    return address if _is_listening(address) else None


def _is_listening(address: str) -> bool:
    """Whether something listens at host:port; true for forms that only Ray understands."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname is None or parts.port is None:
            return True
        socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):  # ValueError: no address at all
        return False
    return True
