"""Runs workers as Ray actors. With `ray.node` the only Ray code.

The driver decides everything, so actors are never restarted and calls never retried by Ray itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from i2s_batch.concurrency import passive_waiting
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
    Pool,
    Ready,
    Reported,
    WorkerSpec,
)
from i2s_batch.run.ray import node as ray_node
from i2s_batch.run.ray.actor import new_actor
from i2s_batch.run.ray.nodes import Nodes, cause_of_death, missing_package
from i2s_batch.run.waits import Wait
from i2s_batch.storage.store_settings import store_settings

ON_RAY = "on Ray"
# Asking the head which nodes are draining is a remote call.
DRAIN_CHECK_S = 5.0
# When a machine shuts down, the death of an actor may be reported this long before the death of its node.
NODE_DEATH_DELAY_S = 2.0
# When a machine is lost at once, Ray first finds only that it does not respond, and declares it dead after some 20 s.
UNREACHABLE_LIMIT_S = 60.0
# Number of Rays that are started one after the other, without any report of a worker in between.
RAYS_IN_A_ROW = 3
# Longest waits for a worker: until some node has room for it (new machines take minutes), until it has loaded its
# networks, and for the end of a stretch of work, in which it may compile for minutes or make a very long step.
PLACEMENT_LIMIT_S = 1800.0
LOAD_LIMIT_S = 1200.0
STRETCH_LIMIT_S = 3600.0
# Texts in Ray's account of an actor that it killed because the machine was short of memory.
_MEMORY_MARKS = ("NODE_OUT_OF_MEMORY", "low on memory", "memory pressure")


class RayCluster:
    """Uses the cluster of RAY_ADDRESS or of this machine's `ray start`; without one, a Ray of our own."""

    leave = None  # workers are other processes

    def __init__(self) -> None:
        self._own = False
        self._connected = False  # by this; a notebook's own Ray is left as it is

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Offer one worker a GPU; on machines without GPUs one a CPU core, as far as memory goes.

        Workers of one thread share a machine with other work far better than fewer workers of more threads, which
        wait for each other after every operator.
        """
        self._connected = self._connected or not ray.is_initialized()
        connection = ray_node.connect()
        self._own = connection.own or self._own  # a second run of this process finds it connected
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        # A cluster that offers neither now (a head without actors) gets its GPU nodes from the autoscaler.
        on_gpu = config.device == "cuda" or (config.device == "auto" and (gpus > 0 or cpus == 0))
        if on_gpu and self._own and gpus == 0:
            raise ClusterError("this machine has no GPU that Ray can see; use --device cpu, or set RAY_ADDRESS")
        if on_gpu:
            workers = min(units, config.actors or max(1, gpus))
            share = max(1, cpus // max(1, workers, gpus))
            return Fleet(workers, "cuda", notes=connection.notes, where=ON_RAY, cores=share)
        if cpus == 0:
            raise ClusterError("the Ray cluster offers no CPUs to actors; use --device cuda, or add a node")
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        workers = min(units, config.actors or max(1, sum(workers_on(node, worker_bytes) for node in nodes)))
        # An actor runs on one node, however many cores the cluster has.
        widest = max(int(node.get("CPU", 0)) for node in nodes)
        threads = max(1, min(cpus // workers, widest))
        return Fleet(workers, "cpu", threads, connection.notes, ON_RAY, threads)

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        """Return a pool of actors."""
        return RayPool(spec, fleet, self._own)

    def close(self) -> None:
        """Disconnect from a Ray that this cluster has joined or started."""
        if self._connected:
            ray_node.disconnect()


def workers_on(node: Mapping[str, float], worker_bytes: int) -> int:
    """Return how many workers of one CPU core and `worker_bytes` of memory a node has room for."""
    cores = int(node.get("CPU", 0))
    return min(cores, int(node["memory"]) // worker_bytes) if "memory" in node else cores


def _amount(share: Mapping[str, int | None]) -> str:
    """Return the share of a node that a worker needs, in words."""
    if share.get("num_gpus"):
        return "a GPU"
    return "a CPU" if share["num_cpus"] == 1 else f"{share['num_cpus']} CPUs"


def _ray_died(reason: str) -> str:
    return f"Ray on this machine died: {reason}"


class RayPool:
    """Holds the actors of one run. The networks are put into Ray's object store once and fetched once a node.

    When the node of a Ray of our own dies, another is started. There the networks are in the object store only while a
    worker loads them: for objects of a dead node's store that are still held, Ray contacts that store, finds it gone,
    and ends this process.

    Args:
        spec: What the workers are.
        fleet: How many, and on what.
        own: Whether the Ray was started by this process.
    """

    def __init__(self, spec: WorkerSpec, fleet: Fleet, own: bool = False) -> None:
        self._fleet, self._own = fleet, own
        on_gpu = fleet.device == "cuda"
        self._share = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": fleet.threads}
        # Workers of a Ray of our own have the environment of this process, and are on this machine.
        self._settings = {} if own else store_settings(os.environ)
        self._places = None if own else Nodes(self._share)
        self._to_build = spec
        self._shared: ray.ObjectRef | None = None if own else ray.put(spec)
        self._waits: dict[str, Wait] = {}
        self._placing: dict[ray.ObjectRef, str] = {}  # calls that return as soon as a worker has a process
        self._watch = ray_node.NodeWatch()
        self._rays = 1  # started since the last report of a worker
        self._actors: dict[str, ActorHandle] = {}
        self._nodes: dict[str, str] = {}
        self._calls: dict[ray.ObjectRef, str] = {}
        self._unreachable_since: dict[str, float] = {}  # by worker, on the monotonic clock
        self._drain_checked = 0.0
        self._draining_nodes: set[str] = set()
        self._started = 0

    def start(self) -> str:
        """Start an actor; `Ready` follows when its networks are loaded."""
        name = f"actor-{self._started}"
        self._started += 1
        # Read when PyTorch is loaded, so by a process of its own; a Ray that we started has it from this process.
        environment = {} if self._own or (self._fleet.threads or 1) == 1 else passive_waiting(os.environ)
        options: dict[str, object] = dict(self._share)
        options |= {"runtime_env": {"env_vars": environment}} if environment else {}
        options |= {} if self._places is None else self._places.selector()
        actor = new_actor(options)
        self._actors[name] = actor
        self._placing[actor.is_here.remote()] = name
        if self._shared is None:
            self._shared = ray.put(self._to_build)
        self._calls[actor.setup.remote(name, self._shared, self._settings)] = name
        self._waits[name] = Wait.begin(f"a node with {_amount(self._share)} free for {name}", PLACEMENT_LIMIT_S)
        return name

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        """Call `advance` of an actor."""
        self._waits[worker] = Wait.begin(f"a report of {worker}", STRETCH_LIMIT_S)
        self._calls[self._actors[worker].advance.remote(tasks, budget_s)] = worker

    def waiting_for(self) -> str:
        """Return what every worker that is not ready waits for, if no node has room for any of them; else ''."""
        unready = [name for name in self._actors if name not in self._nodes]
        if not unready or set(unready) - set(self._placing.values()):
            return ""
        return f"waiting for {self._waits[unready[0]].what}"

    def wait(self, timeout_s: float) -> list[Event]:
        """Return the events of finished calls, of lost nodes and of waits that took too long."""
        if (reason := self._watch.why_dead()) is not None:
            return self._restart(reason)
        if not self._calls:
            time.sleep(timeout_s)
            return []
        self._check_placements()
        ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        events = [self._event(worker, call) for worker, call in [(self._calls.pop(call), call) for call in ready]]
        found = [event for event in events if event is not None] + self._overdue()
        # Checked before another worker is started: on a dead node whose process still runs, starting would hang.
        lost = [event for event in found if isinstance(event, Died) and event.preempted]
        if self._own and lost and (reason := self._watch.why_dead(at_once=True)) is not None:
            others = [event for event in found if event not in lost]
            return [*others, *(replace(event, reason=_ray_died(reason)) for event in lost), *self._restart(reason)]
        return found

    def draining(self) -> set[str]:
        """Return the workers on nodes that Ray drains."""
        if time.monotonic() - self._drain_checked > DRAIN_CHECK_S:
            self._drain_checked = time.monotonic()
            # Ray has no public call for this; without it only the regular checkpoints are saved.
            draining = getattr(ray._private.state.state, "get_draining_nodes", dict)
            self._draining_nodes = set(draining())
        return {name for name, node in self._nodes.items() if node in self._draining_nodes}

    def end(self, worker: str) -> None:
        """End an actor."""
        self._remove(worker)

    def set_aside(self, node: str) -> bool:
        """Let no more actors start on a node, unless it is the last that has room for one."""
        return self._places is not None and self._places.set_aside(node)

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        """Interrupt actors and let them save what is in flight; return how many images were saved in time."""
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
        """End all actors."""
        if self._watch.why_dead(ask=False) is not None:
            return  # the actors died with it, and a call to a dead Ray may end this process
        for name in list(self._actors):
            self._remove(name)

    def _restart(self, reason: str) -> list[Event]:
        """Start another Ray in place of one of our own that has died. All workers died with it."""
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
        self._shared = None
        lost: list[Event] = [Died(name, _ray_died(reason), preempted=True) for name in self._actors]
        for state in (self._actors, self._nodes, self._calls, self._unreachable_since, self._waits, self._placing):
            state.clear()
        self._draining_nodes = set()
        ray_node.restart_own()
        self._watch = ray_node.NodeWatch()
        return lost

    def _check_placements(self) -> None:
        """Find the workers that have got a process: from now on they load their networks."""
        if not self._placing:
            return
        placed, _ = ray.wait(list(self._placing), num_returns=len(self._placing), timeout=0)
        for call in placed:
            name = self._placing.pop(call)
            if self._places is not None:
                self._places.locate(name, self._actors[name], call)
            if name in self._actors and name not in self._nodes:
                self._waits[name] = Wait.begin(f"{name} to load the networks", LOAD_LIMIT_S)

    def _overdue(self) -> list[Event]:
        """Return the deaths of workers that were waited for too long; one without a node does not delay the others.

        Raises:
            ClusterError: There is no node for any worker.
        """
        late = {name: wait for name, wait in self._waits.items() if wait.is_over and name in self._calls.values()}
        unplaced = [late.pop(name) for name in self._placing.values() if name in late]
        if unplaced and not self._nodes:
            raise ClusterError(
                f"the Ray cluster has had no room for a worker for {unplaced[0].limit_s / 60:.0f} min (waiting for "
                f"{unplaced[0].what}); add a node, or ask for fewer --actors, and run the same command again"
            )
        return [
            self._died(name, f"waited {wait.limit_s / 60:.0f} min for {wait.what}", lost=False)
            for name, wait in late.items()
        ]

    def _event(self, worker: str, call: ray.ObjectRef) -> Event | None:
        """Return the event of a finished call; None while it is not known whether its worker is alive."""
        try:
            result = ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, DeviceLostError):  # a new process starts with a working device
                return replace(self._died(worker, str(error.cause), lost=False), device=True)
            return Failed(worker, error.cause, *self._node(worker))
        except RayError as error:
            return self._failed_call(worker, error)
        if worker in self._unreachable_since:
            return self._died(
                worker, "it could not be reached, and the call that it was working on has no result", lost=True
            )
        if isinstance(result, Report):
            self._rays = 1
            return Reported(worker, result)
        slots, self._nodes[worker] = result
        self._release_networks()
        return Ready(worker, slots)

    def _failed_call(self, worker: str, error: RayError) -> Event | None:
        """Return the death of a worker, or None while it is asked for a sign of life.

        That call ends when Ray knows what has become of the worker.
        """
        if isinstance(error, ActorUnavailableError):
            since = self._unreachable_since.setdefault(worker, time.monotonic())
            if time.monotonic() - since < UNREACHABLE_LIMIT_S:
                self._calls[self._actors[worker].interrupt.remote()] = worker
                return None
            return self._died(worker, str(error), lost=True)
        if isinstance(error, OutOfMemoryError) or any(mark in str(error) for mark in _MEMORY_MARKS):
            return replace(self._died(worker, str(error), lost=False), memory=True)
        if worker not in self._nodes and (lacking := missing_package(str(error))) is not None:
            return Failed(worker, lacking, *self._node(worker))
        # The loss of a machine, announced or not, does not count against the images.
        lost = (isinstance(error, RayActorError) and error.preempted) or "node has died" in str(error)
        return self._died(worker, str(error), lost or self._node_died(worker))

    def _died(self, worker: str, reason: str, lost: bool) -> Died:
        """End what remains of a worker, and return its death. `lost`: with its machine."""
        node, where = self._node(worker)
        self._remove(worker)
        return Died(worker, cause_of_death(reason), preempted=lost, node=node, where=where)

    def _node(self, worker: str) -> tuple[str, str]:
        """Return the id of a worker's node, if it cannot start there but could elsewhere, and the node in words."""
        if self._places is None:
            return "", ""
        placing = next((call for call, name in self._placing.items() if name == worker), None)
        self._places.locate(worker, self._actors[worker], placing)
        return "" if worker in self._nodes else self._places.replaceable(worker), self._places.name(worker)

    def _node_died(self, worker: str) -> bool:
        """Return whether the machine of a dead worker is gone too, or goes within a moment."""
        deadline = time.monotonic() + NODE_DEATH_DELAY_S
        while node := self._nodes.get(worker):  # none: it died while it loaded the networks
            if not any(one["Alive"] for one in ray.nodes() if one["NodeID"] == node):
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(NODE_DEATH_DELAY_S / 10)
        return False

    def _remove(self, worker: str) -> None:
        self._calls = {call: name for call, name in self._calls.items() if name != worker}
        self._placing = {call: name for call, name in self._placing.items() if name != worker}
        for state in (self._nodes, self._unreachable_since, self._waits):
            state.pop(worker, None)
        if self._places is not None:
            self._places.forget(worker)
        ray.kill(self._actors.pop(worker))
        self._release_networks()

    def _release_networks(self) -> None:
        """Hold the networks no longer in a Ray of our own, once no worker is loading them."""
        if self._own and self._nodes.keys() >= self._actors.keys():
            self._shared = None
