"""Connects to the Ray that this process joins or starts, and detects its death. With `ray.pool` the only Ray code.

A Ray of our own consists of processes that this one started, on this machine. Where its node process ends, or Ray
declares the node dead (a machine short of memory, a process that was suspended for a minute), it never comes back.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import ray
from ray.exceptions import RayError

from i2s_batch.errors import ClusterError, described
from i2s_batch.run.ray.access import match_cluster, protect_own, restore
from i2s_batch.run.ray.address import OWN, cluster_address, running_cluster
from i2s_batch.run.ray.folder import ray_folder
from i2s_batch.storage.urls import hide_secrets

# Ray waits for ever for a node process that does not respond to end; a healthy one takes a second or two.
SHUTDOWN_LIMIT_S = 20.0
_REASON_CHARACTERS = 300
# Seconds between two calls that ask Ray whether the node is alive; its processes are checked each time.
ASK_S = 5.0
# Processes that Ray cannot do without; the others that it starts may end without harm.
_VITAL = ("raylet", "gcs_server")
# What the many parts of Ray raise when it is started or joined; it documents no types.
_RAISED = (
    RayError,
    grpc.RpcError,
    subprocess.SubprocessError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ImportError,
    EOFError,
)
_SOCKETS = Path("/proc/net/unix")  # Linux only: every socket that a process holds


@dataclass(frozen=True)
class Connection:
    """Says whether the cluster was started by this process, and holds what the user should know of it."""

    own: bool
    notes: tuple[str, ...] = ()


def connect() -> Connection:
    """Join the cluster of RAY_ADDRESS, else the one that `ray start` began on this machine, else start one."""
    if ray.is_initialized():
        return Connection(own=False)
    notes: list[str] = []
    address = cluster_address(notes.append)
    if address == OWN:
        start_own(notes.append)
        return Connection(own=True, notes=tuple(notes))
    match_cluster(address)
    _init(address)
    return Connection(own=False, notes=tuple(notes))


def is_alone() -> bool:
    """Return whether `connect` would start a Ray of our own: no cluster is joined, named or running here."""
    return not ray.is_initialized() and cluster_address(lambda _: None) == OWN


def finds_cluster() -> bool:
    """Return whether this process has joined a Ray, or would join one that runs on this machine."""
    return ray.is_initialized() or running_cluster(lambda _: None) is not None


def start_own(report: Callable[[str], None]) -> None:
    """Start a Ray on this machine; `report` takes a line where its files are not in the usual folder."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = ray_folder(report)
    protect_own()
    _init(OWN, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=folder)


def disconnect() -> None:
    """Leave the cluster; end a Ray of our own, even if it does not respond any more."""
    if ray.is_initialized():
        with _killed_after(SHUTDOWN_LIMIT_S):
            ray.shutdown()
    restore()


class NodeWatch:
    """Checks whether the node of this machine is alive, through which this process talks to every worker."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        # A socket in another network namespace is not listed here: then its absence proves nothing.
        self._is_listed = _holds_its_socket()

    def why_dead(self, ask: bool = True, at_once: bool = False) -> str | None:
        """Return why the node is dead; None if it is alive.

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
            return "it declared its own node dead, as on a machine that is short of memory or was suspended"
        return None


def _holds_its_socket() -> bool:
    """Return whether some process holds the socket of this machine's node process; False where that is unknown."""
    path = getattr(getattr(ray._private.worker, "_global_node", None), "raylet_socket_name", None)
    try:
        return path is not None and path in _SOCKETS.read_text(errors="replace")
    except OSError:
        return False


def _node_id() -> str | None:
    """Return the node of this process; None for the client of a Ray elsewhere."""
    if getattr(ray._private.worker, "_global_node", None) is None:
        return None
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _alive(node_id: str | None) -> bool | None:
    """Return whether Ray considers a node alive; None where Ray does not respond, which it times out by itself."""
    try:
        return node_id is None or any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)
    except RayError:
        return None


def restart_own() -> None:
    """Start another Ray in place of one of our own that is dead; everything that was in it is lost."""
    kill_own()  # otherwise `disconnect` would wait for it
    disconnect()
    start_own(lambda line: None)  # it was shown when the first one was started


def kill_own() -> None:
    """End the node process of a Ray of our own at once; its workers end with it."""
    for name, process in _own_processes():
        if name == "raylet":
            process.kill()


def _own_processes() -> Iterator[tuple[str, Any]]:
    """Yield the processes of a Ray that this process started, by role. Ray has no public call for them."""
    node = getattr(ray._private.worker, "_global_node", None)
    for name, infos in getattr(node, "all_processes", {}).items():
        for info in infos:
            yield name, info.process


@contextmanager
def _killed_after(seconds: float) -> Iterator[None]:
    """End the node process of a Ray of our own unless the block ends in time."""
    timer = threading.Timer(seconds, kill_own)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _init(address: str, **options: Any) -> None:
    """Call `ray.init`; whatever it raises is an error of the machine or the cluster, and one line."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except _RAISED as error:
        restore()
        reason = hide_secrets(" ".join(described(error).split()))[:_REASON_CHARACTERS]
        raise ClusterError(
            f"Ray ({address}) cannot be joined or started: {reason}; check the cluster or the machine, or add "
            "--in-process, which needs no Ray"
        ) from error
