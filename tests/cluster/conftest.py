"""One Ray cluster for the whole session, a real head with two CPUs, on loopback, with a home of its own; and what a run
gives that nothing disturbs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.table.arrays import LatentTable, read_latents
from tests.conftest import S3Server
from tests.runs import embed, job_over

START_TIMEOUT_S = 120
HEADS_TRIED = 3
_SESSION = re.compile(r"[^\0=:,]+/ray/session_[-_0-9]+")


@dataclass(frozen=True)
class RayHead:
    """A running head; `env` lets a child process connect to it."""

    pid: int
    dashboard: str
    env: dict[str, str]

    def actors(self) -> list[int]:
        """Process ids of the workers of this cluster, and of no other on this machine."""
        return [pid for pid, name in processes_of(self.pid).items() if name.startswith("ray::_Actor")]

    def logs(self) -> list[Path]:
        """The files of this session's log folder."""
        sessions = {found[0] for name in processes_of(self.pid).values() if (found := _SESSION.search(name))}
        (session,) = sessions
        return [path for path in Path(session, "logs").rglob("*") if path.is_file()]


def processes_of(root: int) -> dict[int, str]:
    """The process `root`, its children and theirs: ids and command lines."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                names[int(folder.name)] = (folder / "cmdline").read_text()
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended while we looked

    def is_ours(pid: int) -> bool:
        return pid == root or (pid in parents and is_ours(parents[pid]))

    return {pid: name for pid, name in names.items() if is_ours(pid)}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


STEPS = 600  # orphaned actors live on for a second or two: the second wave must outlast them
IMAGES = [f"{number:02d}.png" for number in range(12)]


@dataclass(frozen=True)
class Undisturbed:
    """Twelve images, and their table: what a run gives that nothing disturbs."""

    source: Path
    table: LatentTable


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Undisturbed:
    """Embed twelve images in this process; in float64, so that other batches and other workers give the same."""
    config = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), batch_size=4, precision="fp64")
    job = job_over(tmp_path_factory.mktemp("undisturbed"), IMAGES, generator, vgg, config)
    embed(job)
    return Undisturbed(Path(job.source), read_latents(job.out))


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[RayHead]:
    """`ray start --head --block`, ended by its process id. Never `ray stop`: it ends every Ray of the machine."""
    folder = tmp_path_factory.mktemp("ray")
    env = os.environ | s3.env
    for name in ("RAY_ADDRESS", "RAY_JOB_ID"):
        env.pop(name, None)
    # Ray writes a token into the home and would from then on ask for it: a home of its own, and the mode said.
    env |= {"HOME": str(folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    head, dashboard, port = _started_head(folder, env)
    try:
        yield RayHead(head.pid, dashboard, env | {"RAY_ADDRESS": f"127.0.0.1:{port}"})
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=60)


def _started_head(folder: Path, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], str, int]:
    """Start a head; return its process, the URL of its dashboard, and its port.

    Its ports are chosen before it takes them; where another program has one by then, the head ends: others are tried.
    """
    for _ in range(HEADS_TRIED):
        port, dashboard, agent, metrics, runtime = free_ports(5)
        command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--num-cpus=2", "--num-gpus=0"]
        command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--port={port}"]
        command += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--metrics-export-port={metrics}", f"--runtime-env-agent-port={runtime}"]
        command += ["--object-store-memory=200000000", "--disable-usage-stats"]
        with (folder / "log").open("ab") as log:
            head = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        deadline, address = time.monotonic() + START_TIMEOUT_S, f"http://127.0.0.1:{dashboard}"
        while head.poll() is None and time.monotonic() < deadline:
            if _answers(f"{address}/api/jobs/"):
                return head, address, port
            time.sleep(0.5)
        if head.poll() is None:
            head.send_signal(signal.SIGTERM)
        head.wait(timeout=60)
    raise RuntimeError(f"Ray did not start: {(folder / 'log').read_text()}")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5, proxies={"http": ""}).ok
    except requests.ConnectionError:
        return False
