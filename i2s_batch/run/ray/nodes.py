"""Knows on which node of a cluster each worker is, which nodes are set aside, and what a node lacks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from i2s_batch.errors import ClusterError

# How long to ask where a worker is that may have died.
_ASK_S = 2.0
_NODE_LABEL = "ray.io/node-id"
_PACKAGE = re.compile(r"No module named ['\"]?([\w.]+)")
# Ray's account of a dead actor fills a screen: ids first, the cause after one of these, advice at the end.
_CAUSE_FOLLOWS = ("Worker exit detail: ", "The actor is dead because ")
_ADVICE_FOLLOWS = " Some common causes include:"
_REASON_CHARACTERS = 300


class Nodes:
    """Holds where the workers of a joined cluster are.

    Args:
        share: What a worker takes of a node, as options of an actor.
    """

    def __init__(self, share: Mapping[str, int | None]) -> None:
        self._share = {"GPU": share.get("num_gpus") or 0, "CPU": share.get("num_cpus") or 0}
        self._of: dict[str, str] = {}
        self._aside: set[str] = set()

    def locate(self, worker: str, actor: ActorHandle, placing: ray.ObjectRef | None) -> None:
        """Find the node of a worker that may have died: by its own word, else in Ray's records."""
        if worker in self._of:
            return
        try:
            if placing is not None:
                self._of[worker] = ray.get(placing, timeout=_ASK_S)
                return
        except RayError:
            pass
        # Ray has no public call for this.
        recorded = getattr(ray._private.state, "actors", dict)(actor._actor_id.hex())
        if node := (recorded or {}).get("Address", {}).get("NodeID"):
            self._of[worker] = node

    def forget(self, worker: str) -> None:
        """Forget a worker that has ended."""
        self._of.pop(worker, None)

    def name(self, worker: str) -> str:
        """Return the node of a worker in words: ' on node HOST (ADDRESS)'; '' where it is not known."""
        for node in ray.nodes():
            if node["NodeID"] == self._of.get(worker):
                return f" on node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        return ""

    def replaceable(self, worker: str) -> str:
        """Return the id of a worker's node if another node could have the worker instead; else ''."""
        mine = self._of.get(worker, "")
        return mine if mine and self._another(mine) else ""

    def set_aside(self, node: str) -> bool:
        """Let no more workers start on a node, if another is left; return whether that is so."""
        if not self._another(node):
            return False
        self._aside.add(node)
        return True

    def _another(self, mine: str) -> bool:
        return any(self._could_have(node) for node in ray.nodes() if node["NodeID"] != mine)

    def _could_have(self, node: Mapping[str, object]) -> bool:
        """Return whether a node is alive, not set aside, and has what a worker takes, free or not."""
        resources = node["Resources"]
        assert isinstance(resources, dict)
        large_enough = all(resources.get(name, 0) >= amount for name, amount in self._share.items())
        return bool(node["Alive"]) and node["NodeID"] not in self._aside and large_enough

    def selector(self) -> dict[str, dict[str, str]]:
        """Return the option that keeps an actor from the nodes that are set aside."""
        return {"label_selector": {_NODE_LABEL: f"!in({','.join(sorted(self._aside))})"}} if self._aside else {}


def cause_of_death(reason: str) -> str:
    """Return the cause from Ray's account of a dead actor, in one line."""
    reason = " ".join(reason.split())
    for mark in _CAUSE_FOLLOWS:
        if mark in reason:
            reason = reason.partition(mark)[2]
            break
    return reason.partition(_ADVICE_FOLLOWS)[0][:_REASON_CHARACTERS].rstrip(". ")


def missing_package(reason: str) -> ClusterError | None:
    """Return the error of a worker whose Python lacks a package, from Ray's account of its death; else None."""
    found = _PACKAGE.search(reason)
    if found is None:
        return None
    return ClusterError(
        f"the worker's Python lacks the package {found[1]!r}; install i2s_batch and what it needs there, "
        "or submit the command with `ray job submit --working-dir .`"
    )
