"""Calls a function on every node of a cluster, whatever is running there: a task for each, pinned to its node."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from i2s_batch.errors import I2SError, described
from i2s_batch.run.ray import node as ray_node
from i2s_batch.run.ray.nodes import missing_package
from i2s_batch.storage.store_settings import adopt, store_settings

Result = TypeVar("Result")

_HIDDEN = "CUDA_VISIBLE_DEVICES"  # which Ray empties for a task that asks for no GPU
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Node:
    """Describes a node of a cluster that is alive, by what Ray counts there."""

    node_id: str
    host: str
    address: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """Holds what a function returned on a node; `fault` says why it did not, and is empty if it did."""

    node: Node
    result: Result | None
    fault: str = ""


@contextmanager
def joined_cluster() -> Iterator[None]:
    """Join the cluster that a run would join; a process that had joined one before stays there."""
    was_joined = ray.is_initialized()
    ray_node.connect()
    try:
        yield
    finally:
        if not was_joined:
            ray_node.disconnect()


def living_nodes() -> list[Node]:
    """Return the nodes of the cluster that this process has joined, by host and address."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            counts = node["Resources"]
            cpus, gpus = (int(counts.get(name, 0)) for name in ("CPU", "GPU"))
            found.append(Node(node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"], cpus, gpus))
    return sorted(found, key=lambda node: (node.host, node.address, node.node_id))


def call_on(
    nodes: Sequence[Node], function: Callable[..., Result], arguments: Callable[[Node], tuple[Any, ...]], limit_s: float
) -> Iterator[Answer[Result]]:
    """Yield what `function` returns on each node, in their order, at most `limit_s` seconds after the call.

    The tasks take no CPU and no GPU of Ray's accounts, so that they start beside a run.
    """
    settings = store_settings(os.environ)
    calls = []
    for node in nodes:
        pinned = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        task = _call.options(scheduling_strategy=pinned, max_retries=0)
        calls.append(task.remote(function, arguments(node), settings, node.gpus > 0))
    deadline = time.monotonic() + limit_s
    for node, call in zip(nodes, calls, strict=True):
        yield _answer(node, call, max(0.0, deadline - time.monotonic()), limit_s)


def _answer(node: Node, call: ray.ObjectRef, left_s: float, limit_s: float) -> Answer[Any]:
    ready, _ = ray.wait([call], timeout=left_s)
    if not ready:
        ray.cancel(call, force=True)
        return Answer(node, None, f"no answer within {limit_s:.0f} s")
    try:
        return Answer(node, ray.get(call))
    except RayTaskError as error:
        cause = error.cause
        lacking = missing_package(str(cause))
        words = str(lacking or cause) if isinstance(cause, I2SError) or lacking else described(cause)
    except RayError as error:
        words = str(missing_package(str(error)) or described(error))
    return Answer(node, None, " ".join(words.split())[:_REASON_CHARACTERS])


@ray.remote(num_cpus=0)
def _call(function: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, str], has_gpus: bool) -> Any:
    """Call a function with the driver's settings for stores, and with all GPUs of the node in sight."""
    adopt(settings)
    hidden = os.environ.get(_HIDDEN)
    if hidden == "" and has_gpus:
        del os.environ[_HIDDEN]
    try:
        return function(*arguments)
    finally:
        if hidden is not None:
            os.environ[_HIDDEN] = hidden
