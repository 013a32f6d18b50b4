"""Wraps a worker as a Ray actor: a process of its own, whose methods are those of the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

from i2s_batch.output.units import Task, Unit
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import GuardedWorker, WorkerSpec
from i2s_batch.storage.store_settings import adopt


@ray.remote(concurrency_groups={"control": 1})
class _Actor:
    """Runs a worker in a process of its own. `interrupt` is executed while `advance` runs."""

    def __init__(self) -> None:
        self._worker: GuardedWorker | None = None

    def setup(self, name: str, spec: WorkerSpec, settings: Mapping[str, str]) -> tuple[int, str]:
        """Load the networks, with the driver's settings for stores; return the number of slots and the node."""
        adopt(settings)
        self._worker = GuardedWorker(spec, name)
        return self._worker.slots, ray.get_runtime_context().get_node_id()

    def advance(self, tasks: Sequence[Task[Unit]], budget_s: float) -> Report:
        """Work as `Worker.advance`."""
        assert self._worker is not None
        return self._worker.advance(tasks, budget_s)

    def checkpoint(self) -> int:
        """Save as `Worker.checkpoint`."""
        assert self._worker is not None
        return self._worker.checkpoint()

    @ray.method(concurrency_group="control")
    def is_here(self) -> str:
        """Return the node as soon as there is a process."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    @ray.method(concurrency_group="control")
    def interrupt(self) -> None:
        """Interrupt as `Worker.interrupt`."""
        if self._worker is not None:
            self._worker.interrupt()


def new_actor(options: Mapping[str, Any]) -> ActorHandle:
    """Return a new actor with these options, which Ray never restarts, and whose calls it never retries."""
    return _Actor.options(max_restarts=0, max_task_retries=0, **options).remote()  # type: ignore[attr-defined]
