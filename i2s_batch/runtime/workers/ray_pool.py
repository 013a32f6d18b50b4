"""Workers on Ray: the only file that imports Ray.

The driver decides everything, so actors are never restarted and calls never retried by Ray itself.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from i2s_batch.config import JobConfig
from i2s_batch.errors import ClusterError
from i2s_batch.records import Report, Task
from i2s_batch.runtime.workers.pools import (
    DeviceLostError,
    Died,
    Event,
    Failed,
    Fleet,
    GuardedWorker,
    Pool,
    Ready,
    Reported,
    WorkerSpec,
)

# Asking the head which nodes are draining is a remote call.
DRAIN_CHECK_S = 5.0
CONNECT_TIMEOUT_S = 10.0
# Of a machine that is shut down, the death of an actor may be heard of before its own.
NODE_DEATH_DELAY_S = 2.0
# Of a machine that is gone at once, Ray notices only that it does not answer; it takes some 20 s to call it dead.
UNSEEN_LIMIT_S = 60.0
# Ray's account of a dead actor goes on for a screen: ids first, the cause after one of these, advice at the end.
_CAUSE_FOLLOWS = ("Worker exit detail: ", "The actor is dead because ")
_ADVICE_FOLLOWS = " Some common causes include:"
_REASON_LETTERS = 300


@ray.remote(concurrency_groups={"control": 1})
class _Actor:
    """A worker in a process of its own. `interrupt` is answered while `advance` runs."""

    def __init__(self) -> None:
        self._worker: GuardedWorker | None = None

    def setup(self, name: str, spec: WorkerSpec) -> tuple[int, str]:
        """Load the networks; the number of slots and the node."""
        self._worker = GuardedWorker(spec, name)
        return self._worker.slots, ray.get_runtime_context().get_node_id()

    def advance(self, tasks: list[Task], budget_s: float) -> Report:
        assert self._worker is not None
        return self._worker.advance(tasks, budget_s)

    def checkpoint(self) -> int:
        assert self._worker is not None
        return self._worker.checkpoint()

    @ray.method(concurrency_group="control")
    def interrupt(self) -> None:
        if self._worker is not None:
            self._worker.interrupt()


class RayCluster:
    """The cluster of RAY_ADDRESS or of this machine's `ray start`; without one, a Ray of our own."""

    leave = None  # workers are other processes

    def fleet(self, config: JobConfig, units: int) -> Fleet:
        """One worker a GPU; on machines without GPUs, one worker for two CPU cores."""
        own = _connect()
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        # A cluster that offers neither now (a head without actors) gets its GPU nodes from the autoscaler.
        on_gpu = config.device == "cuda" or (config.device == "auto" and (gpus > 0 or cpus == 0))
        if on_gpu and own and gpus == 0:
            raise ClusterError("this machine has no GPU that Ray can see; use --device cpu, or set RAY_ADDRESS")
        if on_gpu:
            return Fleet(min(units, config.actors or max(1, gpus)), "cuda")
        if cpus == 0:
            raise ClusterError("the Ray cluster offers no CPUs to actors; use --device cuda, or add a node")
        workers = min(units, config.actors or max(1, cpus // 2))
        # An actor lives on one node, however many cores the cluster has.
        widest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        return Fleet(workers, "cpu", threads=max(1, min(cpus // workers, widest)))

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        return RayPool(spec, fleet)

    def close(self) -> None:
        if ray.is_initialized():
            ray.shutdown()


def _cause(reason: str) -> str:
    """Of Ray's account of a dead actor, what it died of."""
    for mark in _CAUSE_FOLLOWS:
        if mark in reason:
            reason = reason.partition(mark)[2]
            break
    return reason.partition(_ADVICE_FOLLOWS)[0][:_REASON_LETTERS].rstrip(". ")


def _connect() -> bool:
    """Join the cluster of RAY_ADDRESS, else the one that `ray start` began on this machine, else start one.

    Whether the cluster is one of our own.
    """
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS") or _started_here() or "local"
    if address != "local":
        if not _answers(address):
            raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={address}; start it, or unset RAY_ADDRESS")
        _init(address=address, **quiet)
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _init(address=address, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    return True


def _init(address: str, **options: Any) -> None:
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())[:_REASON_LETTERS]
        raise ClusterError(f"Ray ({address}) cannot be joined or started: {reason}") from error


def _started_here() -> str | None:
    """The address of this machine's running cluster. Ray notes it in a file, which outlives a cluster that was
    killed; Ray's own search would then try the dead address for minutes."""
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        address = note.read_text().strip()
    except OSError:
        return None
    return address if _answers(address) else None


def _answers(address: str) -> bool:
    """Whether something listens at host:port; true for forms that only Ray understands."""
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        if place.hostname is None or place.port is None:
            return True
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):  # ValueError: no address at all
        return False
    return True


class RayPool:
    """Actors of one run. The networks are put into Ray's object store once and fetched once a node."""

    def __init__(self, spec: WorkerSpec, fleet: Fleet) -> None:
        self._fleet = fleet
        self._spec = ray.put(spec)
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._calls: dict[ray.ObjectRef, str] = {}
        self._unseen: dict[str, float] = {}  # workers that do not answer, and since when
        self._drain_checked = 0.0
        self._draining_nodes: set[str] = set()
        self._started = 0

    def start(self) -> str:
        name = f"actor-{self._started}"
        self._started += 1
        on_gpu = self._fleet.device == "cuda"
        share = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": self._fleet.threads}
        actor = _Actor.options(max_restarts=0, max_task_retries=0, **share).remote()  # type: ignore[attr-defined]
        self._actors[name] = actor
        self._calls[actor.setup.remote(name, self._spec)] = name
        return name

    def send(self, worker: str, tasks: list[Task], budget_s: float) -> None:
        self._calls[self._actors[worker].advance.remote(tasks, budget_s)] = worker

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._calls:
            time.sleep(timeout_s)
            return []
        ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        events = [self._event(self._calls.pop(call), call) for call in ready]
        return [event for event in events if event is not None]

    def draining(self) -> set[str]:
        if time.monotonic() - self._drain_checked > DRAIN_CHECK_S:
            self._drain_checked = time.monotonic()
            # Ray has no public call for this; without it, the checkpoints on the timer stand.
            draining = getattr(ray._private.state.state, "get_draining_nodes", dict)
            self._draining_nodes = set(draining())
        return {name for name, node in self._nodes.items() if node in self._draining_nodes}

    def end(self, worker: str) -> None:
        self._calls = {call: name for call, name in self._calls.items() if name != worker}
        self._forget(worker)

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        actors = [self._actors[name] for name in workers]
        for actor in actors:
            actor.interrupt.remote()
        calls = [actor.checkpoint.remote() for actor in actors]
        if not calls:
            return 0
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=timeout_s)
        saved = 0
        for call in ready:
            try:
                saved += ray.get(call)
            except RayTaskError as error:
                if isinstance(error.cause, DeviceLostError):
                    continue  # its last checkpoint stands
                raise error.cause from error
            except RayError:
                continue  # that worker is gone; its last checkpoint stands
        return saved

    def close(self) -> None:
        for name in list(self._actors):
            self._forget(name)

    def _event(self, worker: str, call: ray.ObjectRef) -> Event | None:
        """What a call came to; None while it is not known whether its worker lives."""
        try:
            answer = ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, DeviceLostError):  # another process begins with a whole device
                return self._died(worker, str(error.cause), lost=False)
            return Failed(worker, error.cause)
        except RayError as error:
            return self._unanswered(worker, error)
        if worker in self._unseen:
            return self._died(worker, "it could not be reached, and what it was doing then has no answer", lost=True)
        if isinstance(answer, Report):
            return Reported(worker, answer)
        slots, self._nodes[worker] = answer
        return Ready(worker, slots)

    def _unanswered(self, worker: str, error: RayError) -> Event | None:
        """A worker that is dead, or is asked for a sign of life, which ends when Ray knows what has become of it."""
        if isinstance(error, ActorUnavailableError):
            since = self._unseen.setdefault(worker, time.monotonic())
            if time.monotonic() - since < UNSEEN_LIMIT_S:
                self._calls[self._actors[worker].interrupt.remote()] = worker
                return None
            return self._died(worker, str(error), lost=True)
        # A machine that goes away is not the pictures' fault, announced or not.
        lost = (isinstance(error, RayActorError) and error.preempted) or "node has died" in str(error)
        return self._died(worker, str(error), lost or self._node_died(worker))

    def _died(self, worker: str, reason: str, lost: bool) -> Died:
        """The end of a worker, and of its process if that still lives. `lost`: with its machine."""
        self._forget(worker)
        return Died(worker, _cause(" ".join(reason.split())), preempted=lost)

    def _node_died(self, worker: str) -> bool:
        """Whether the machine of a dead worker is gone too, or goes within a moment."""
        deadline = time.monotonic() + NODE_DEATH_DELAY_S
        while node := self._nodes.get(worker):  # none: it died while it loaded the networks
            if not any(one["Alive"] for one in ray.nodes() if one["NodeID"] == node):
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(NODE_DEATH_DELAY_S / 10)
        return False

    def _forget(self, worker: str) -> None:
        self._nodes.pop(worker, None)
        self._unseen.pop(worker, None)
        ray.kill(self._actors.pop(worker))
