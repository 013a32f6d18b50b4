"""A Ray cluster of several nodes on loopback, whose machines, actors and drivers die as they do in the field."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from i2s_batch.config import RunConfig
from i2s_batch.inversion import Embedder
from i2s_batch.run.pools import Cluster, Fleet, Pool, Worker, WorkerSpec
from tests.cluster.conftest import START_TIMEOUT_S, free_ports, processes_of

ROOT = Path(__file__).parents[2]
_RAY = str(Path(sys.executable).parent / "ray")


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: the processes under `ray start --block`."""

    name: str
    started: subprocess.Popen[bytes]

    def actors(self) -> list[int]:
        """Process ids of its workers."""
        return [pid for pid, name in processes_of(self.started.pid).items() if name.startswith("ray::_Actor")]

    def kill(self) -> None:
        """The power goes off: every process of it at once."""
        for pid in processes_of(self.started.pid):
            send(pid, signal.SIGKILL)
        self.started.wait()

    def shut_down(self) -> None:
        """All are told to end, workers first, and are killed if they do not."""
        processes = processes_of(self.started.pid)
        for pid in sorted(processes, key=lambda pid: not processes[pid].startswith("ray::_Actor")):
            send(pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.started.wait(timeout=20)
        self.kill()


def send(pid: int, number: signal.Signals) -> None:
    """A signal to one that may have ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Machines:
    """A head without actors, and nodes of one CPU each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        # Ray writes a token into the home and would from then on ask for it: a home of its own, and the mode said.
        self.env = {"HOME": str(folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self.env |= {"PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "120"}
        port, dashboard = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._dashboard = f"http://127.0.0.1:{dashboard}"
        self._head = self._start(
            "--head", f"--port={port}", "--num-cpus=0", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"
        )
        self.nodes: list[Node] = []
        self._drained: list[Node] = []  # which leave when they are idle, or their deadline has come

    def add(self) -> None:
        """A new node, which has joined on return: of two that start at once on one machine only one does."""
        name = f"node-{next(self._numbers)}"
        self.nodes.append(Node(name, self._start(f"--address={self.address}", "--num-cpus=1", f"--node-name={name}")))
        self.wait_for_nodes()

    def lose(self, node: Node) -> None:
        """A node dies, and another comes in its place."""
        node.kill()
        self._replace(node)

    def shut_down(self, node: Node) -> None:
        """A node is shut down, and another comes in its place."""
        node.shut_down()
        self._replace(node)

    def _replace(self, node: Node) -> None:
        self.nodes.remove(node)
        self.add()

    def actors(self) -> list[int]:
        """Process ids of all workers."""
        return [pid for node in self.nodes + self._drained for pid in node.actors()]

    def alive(self) -> dict[str, str]:
        """Ids of the nodes that are up, by name."""
        answer = requests.get(f"{self._dashboard}/nodes?view=summary", timeout=30, proxies={"http": ""})
        raylets = [node["raylet"] for node in answer.json()["data"]["summary"]]
        return {raylet["nodeName"]: raylet["nodeId"] for raylet in raylets if raylet["state"] == "ALIVE"}

    def drain(self, node: Node, deadline_s: int) -> None:
        """Say that a node is about to be taken away; another comes in its place."""
        self.add()
        self.nodes.remove(node)
        self._drained.append(node)
        command = [_RAY, "drain-node", "--address", self.address, "--node-id", self.alive()[node.name]]
        command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken away"]
        command += ["--deadline-remaining-seconds", str(deadline_s)]
        subprocess.run(command, env=os.environ | self.env, check=True, capture_output=True, timeout=120)

    def close(self) -> None:
        for node in [*self.nodes, *self._drained, Node("head", self._head)]:
            node.kill()

    def wait_for_head(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                requests.get(
                    f"{self._dashboard}/nodes?view=summary", timeout=5, proxies={"http": ""}
                ).raise_for_status()
                return
            except requests.RequestException:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.5)

    def wait_for_nodes(self) -> None:
        """Until all that live have joined: a driver that finds none refuses to begin."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not {node.name for node in self.nodes} <= self.alive().keys():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.5)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        agent, metrics, runtime = free_ports(3)
        command = [_RAY, "start", "--block", "--num-gpus=0", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"]
        command += [f"--runtime-env-agent-port={runtime}", "--object-store-memory=100000000", *arguments]
        env = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_JOB_ID")}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, env=env | self.env, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def machines(folder: Path, nodes: int) -> Iterator[Machines]:
    """A cluster with `nodes` nodes beside its head."""
    cluster = Machines(folder)
    try:
        cluster.wait_for_head()
        for _ in range(nodes):
            cluster.add()
        yield cluster
    finally:
        cluster.close()


@dataclass(frozen=True)
class OnRay:
    """Makes the cluster of a driver's workers; `counts`: a folder in which each counts its updates."""

    env: dict[str, str]
    counts: str

    def __call__(self) -> Cluster:
        os.environ.update(self.env)
        from i2s_batch.run.ray.pool import RayCluster  # here, after its environment

        return _Counting(RayCluster(), self.counts)


@dataclass
class _Counting:
    cluster: Cluster
    counts: str
    leave = None

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        return self.cluster.fleet(config, units, worker_bytes)

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        return self.cluster.pool(_Counted(spec, self.counts), fleet)

    def close(self) -> None:
        self.cluster.close()


@dataclass(frozen=True)
class _Counted:
    spec: WorkerSpec
    counts: str

    def build(self, name: str) -> Worker:
        """A worker whose updates are in a file at every moment, whatever kills it."""
        path = Path(self.counts) / uuid.uuid4().hex
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            count = mmap.mmap(file.fileno(), 8)

        def note(self: Embedder, updates: int) -> None:
            vars(self)["updates"] = updates
            struct.pack_into("q", count, 0, updates)

        Embedder.updates = property(lambda self: vars(self)["updates"], note)
        return self.spec.build(name)


def updates(counts: Path) -> int:
    """Updates made by all workers so far."""
    return sum(struct.unpack("q", path.read_bytes())[0] for path in counts.iterdir())
