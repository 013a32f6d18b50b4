"""Workers on Ray. With `ray_node` the only file that imports Ray.

The driver decides everything, so actors are never restarted and calls never retried by Ray itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from i2s_batch.config import RunConfig
from i2s_batch.errors import ClusterError
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import (
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
from i2s_batch.run.ray import node as ray_node
from i2s_batch.run.waits import Wait

# Asking the head which nodes are draining is a remote call.
DRAIN_CHECK_S = 5.0
# Of a machine that is shut down, the death of an actor may be heard of before its own.
NODE_DEATH_DELAY_S = 2.0
# Of a machine that is gone at once, Ray notices only that it does not answer; it takes some 20 s to call it dead.
UNSEEN_LIMIT_S = 60.0
# Rays that are started one after the other, without any report of a worker in between.
RAYS_IN_A_ROW = 3
# Longest waits for a worker: until some node has room for it (new machines take minutes), until it has loaded its
# networks, and for the end of a stretch of work, in which it may compile for minutes or make a very long step.
PLACE_LIMIT_S = 1800.0
LOAD_LIMIT_S = 1200.0
STRETCH_LIMIT_S = 3600.0
# Ray's account of a dead actor goes on for a screen: ids first, the cause after one of these, advice at the end.
_CAUSE_FOLLOWS = ("Worker exit detail: ", "The actor is dead because ")
_ADVICE_FOLLOWS = " Some common causes include:"
_REASON_LETTERS = 300
# In Ray's account of an actor that it killed because the machine was short of memory.
_OF_MEMORY = ("NODE_OUT_OF_MEMORY", "low on memory", "memory pressure")


@ray.remote(concurrency_groups={"control": 1})
class _Actor:
    """A worker in a process of its own. `interrupt` is answered while `advance` runs."""

    def __init__(self) -> None:
        self._worker: GuardedWorker | None = None

    def setup(self, name: str, spec: WorkerSpec) -> tuple[int, str]:
        """Load the networks; the number of slots and the node."""
        self._worker = GuardedWorker(spec, name)
        return self._worker.slots, ray.get_runtime_context().get_node_id()

    def advance(self, tasks: Sequence[Task[Unit]], budget_s: float) -> Report:
        assert self._worker is not None
        return self._worker.advance(tasks, budget_s)

    def checkpoint(self) -> int:
        assert self._worker is not None
        return self._worker.checkpoint()

    @ray.method(concurrency_group="control")
    def is_here(self) -> None:
        """Answer as soon as there is a process."""

    @ray.method(concurrency_group="control")
    def interrupt(self) -> None:
        if self._worker is not None:
            self._worker.interrupt()


class RayCluster:
    """The cluster of RAY_ADDRESS or of this machine's `ray start`; without one, a Ray of our own."""

    leave = None  # workers are other processes

    def __init__(self) -> None:
        self._own = False
        self._connected = False  # by this; a notebook's own Ray is left as it is

    def fleet(self, config: RunConfig, units: int) -> Fleet:
        """One worker a GPU; on machines without GPUs, one worker for two CPU cores."""
        self._connected = self._connected or not ray.is_initialized()
        self._own = ray_node.connect() or self._own  # a second run of this process finds it connected
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        # A cluster that offers neither now (a head without actors) gets its GPU nodes from the autoscaler.
        on_gpu = config.device == "cuda" or (config.device == "auto" and (gpus > 0 or cpus == 0))
        if on_gpu and self._own and gpus == 0:
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
        return RayPool(spec, fleet, self._own)

    def close(self) -> None:
        if self._connected:
            ray_node.disconnect()


def _amount(share: Mapping[str, int | None]) -> str:
    """Return the share of a node that a worker needs, in words."""
    if share.get("num_gpus"):
        return "a GPU"
    return "a CPU" if share["num_cpus"] == 1 else f"{share['num_cpus']} CPUs"


def _of_ray(reason: str) -> str:
    return f"Ray on this machine died: {reason}"


def _cause(reason: str) -> str:
    """Of Ray's account of a dead actor, what it died of."""
    for mark in _CAUSE_FOLLOWS:
        if mark in reason:
            reason = reason.partition(mark)[2]
            break
    return reason.partition(_ADVICE_FOLLOWS)[0][:_REASON_LETTERS].rstrip(". ")


class RayPool:
    """Actors of one run. The networks are put into Ray's object store once and fetched once a node.

    `own`: the Ray was started by this process. When its node dies, another is started. There the networks are put anew
    for each worker, and let go when it has them: for what is in the store of a dead node and still held, Ray turns to
    that store, finds it gone, and ends this process.
    """

    def __init__(self, spec: WorkerSpec, fleet: Fleet, own: bool = False) -> None:
        self._fleet, self._own = fleet, own
        self._to_build = spec
        self._shared = None if own else ray.put(spec)
        self._waits: dict[str, Wait] = {}
        self._placing: dict[ray.ObjectRef, str] = {}  # answered as soon as a worker has a process
        self._watch = ray_node.NodeWatch()
        self._rays = 1  # without a report of a worker
        self._actors: dict[str, ActorHandle] = {}
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
        self._placing[actor.is_here.remote()] = name
        networks = ray.put(self._to_build) if self._shared is None else self._shared
        self._calls[actor.setup.remote(name, networks)] = name
        self._waits[name] = Wait.begin(f"a node with {_amount(share)} free for {name}", PLACE_LIMIT_S)
        return name

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        self._waits[worker] = Wait.begin(f"a report of {worker}", STRETCH_LIMIT_S)
        self._calls[self._actors[worker].advance.remote(tasks, budget_s)] = worker

    def waiting_for(self) -> str:
        """What every worker that is not ready waits for, if no node has room for any of them; else ''."""
        unready = [name for name in self._actors if name not in self._nodes]
        if not unready or set(unready) - set(self._placing.values()):
            return ""
        return f"waiting for {self._waits[unready[0]].what}"

    def wait(self, timeout_s: float) -> list[Event]:
        if (reason := self._watch.why_dead()) is not None:
            return self._restart(reason)
        if not self._calls:
            time.sleep(timeout_s)
            return []
        self._look_for_places()
        ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        events = [self._event(worker, call) for worker, call in [(self._calls.pop(call), call) for call in ready]]
        found = [event for event in events if event is not None] + self._overdue()
        # Before another worker is started there: of a node that is dead, but whose process is not, that would wait.
        lost = [event for event in found if isinstance(event, Died) and event.preempted]
        if self._own and lost and (reason := self._watch.why_dead(at_once=True)) is not None:
            others = [event for event in found if event not in lost]
            return [*others, *(replace(event, reason=_of_ray(reason)) for event in lost), *self._restart(reason)]
        return found

    def draining(self) -> set[str]:
        if time.monotonic() - self._drain_checked > DRAIN_CHECK_S:
            self._drain_checked = time.monotonic()
            # Ray has no public call for this; without it, the checkpoints on the timer stand.
            draining = getattr(ray._private.state.state, "get_draining_nodes", dict)
            self._draining_nodes = set(draining())
        return {name for name, node in self._nodes.items() if node in self._draining_nodes}

    def end(self, worker: str) -> None:
        self._forget(worker)

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        if self._watch.why_dead() is not None:
            return 0  # their last checkpoints stand
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
        if self._watch.why_dead(ask=False) is not None:
            return  # they went with it, and a call of it may end this process
        for name in list(self._actors):
            self._forget(name)

    def _restart(self, reason: str) -> list[Event]:
        """Start another Ray in place of one of our own that has died. All workers went with it."""
        if not self._own:
            raise ClusterError(
                f"the Ray node of this machine died ({reason}); start it again, then run the same command again"
            )
        if self._rays >= RAYS_IN_A_ROW:
            raise ClusterError(
                f"{self._rays} Rays were started on this machine and each died before a worker had reported; the last "
                f"one: {reason}; free some memory, or run the same command again with --in-process"
            )
        self._rays += 1
        lost: list[Event] = [Died(name, _of_ray(reason), preempted=True) for name in self._actors]
        for state in (self._actors, self._nodes, self._calls, self._unseen, self._waits, self._placing):
            state.clear()
        self._draining_nodes = set()
        ray_node.restart_own()
        self._watch = ray_node.NodeWatch()
        return lost

    def _look_for_places(self) -> None:
        """Take note of the workers that have got a process: from now on they load their networks."""
        if not self._placing:
            return
        placed, _ = ray.wait(list(self._placing), num_returns=len(self._placing), timeout=0)
        for call in placed:
            name = self._placing.pop(call)
            if name in self._actors and name not in self._nodes:
                self._waits[name] = Wait.begin(f"{name} to load the networks", LOAD_LIMIT_S)

    def _overdue(self) -> list[Event]:
        """The workers that were waited for too long; one that no node has room for is no hindrance to the others.

        Raises ClusterError if there is no node for any worker.
        """
        late = {name: wait for name, wait in self._waits.items() if wait.is_over and name in self._calls.values()}
        unplaced = [late.pop(name) for name in self._placing.values() if name in late]
        if unplaced and not self._nodes:
            raise ClusterError(
                f"the Ray cluster has had no place for a worker for {unplaced[0].limit_s / 60:.0f} min (waiting for "
                f"{unplaced[0].what}); add a node, or ask for fewer --actors, and run the same command again"
            )
        return [
            self._died(name, f"waited {wait.limit_s / 60:.0f} min for {wait.what}", lost=False)
            for name, wait in late.items()
        ]

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
            self._rays = 1
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
        if isinstance(error, OutOfMemoryError) or any(mark in str(error) for mark in _OF_MEMORY):
            return replace(self._died(worker, str(error), lost=False), memory=True)
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
        self._calls = {call: name for call, name in self._calls.items() if name != worker}
        self._placing = {call: name for call, name in self._placing.items() if name != worker}
        for state in (self._nodes, self._unseen, self._waits):
            state.pop(worker, None)
        ray.kill(self._actors.pop(worker))
