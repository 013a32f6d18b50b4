"""Checks the Ray that a run would join or start."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

from i2s_batch.config import RunConfig
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fail, ok
from i2s_batch.diagnosis.versions import installed
from i2s_batch.run.ray.address import OWN, cluster_address
from i2s_batch.run.ray.given import cluster_is_given, ray_is_installed


def joins_cluster(config: RunConfig) -> bool:
    """Return whether a run would join a cluster, rather than start a Ray of its own or work without any.

    Raises:
        ClusterError: RAY_ADDRESS names a cluster that does not respond or cannot be joined.
    """
    if config.in_process or not cluster_is_given() or not ray_is_installed():
        return False
    if os.environ.get("RAY_ADDRESS") == OWN and "ray" not in sys.modules:
        return False
    from i2s_batch.run.ray import node

    return not node.is_alone()


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield which Ray a run would use."""
    if asked.config.in_process:
        yield ok("cluster", "not needed: --in-process")
        return
    notes: list[str] = []
    address = cluster_address(notes.append)  # a ClusterError names what is wrong
    yield from (ok("cluster", note) for note in notes)
    if joins_cluster(asked.config):
        yield ok("cluster", f"a run joins the one {'of this process' if address == OWN else f'at {address}'}")
        return
    if installed("ray") == "not installed":
        if (asked.config.actors or 1) > 1 or asked.config.in_process is False:
            yield fail("cluster", "Ray is not installed", "pip install 'ray[default]', or work with one worker")
        else:
            yield ok("cluster", "Ray is not installed; a run works in its own process")
        return
    try:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port = listening.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as error:
        advice = "allow connections within this machine, or add --in-process"
        yield fail("ports", f"no connection to a port of this machine itself: {error.strerror or error}", advice)
        return
    yield ok("cluster", "none is given; where a run needs Ray it starts one on this machine, on loopback")
