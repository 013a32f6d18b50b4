"""Waits for a worker have bounds, and a Ray of our own that dies is replaced: real clusters, real deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.cluster.conftest import IMAGES as ALL_IMAGES
from tests.cluster.conftest import STEPS, RayHead, Undisturbed, processes_of
from tests.program import PROGRAM, i2s_batch
from tests.runs import job_over

PATIENCE_S = 240
IMAGES = ALL_IMAGES[:6]
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), batch_size=2, precision="fp64")

BOUNDS = """
import time
from i2s_batch.config import EmbedRunConfig
from i2s_batch.errors import ClusterError
from i2s_batch.run.ray import pool as ray_pool
from i2s_batch.run.pools import Fleet, Ready

class Slow:
    slots = 1
    def advance(self, tasks, budget_s):
        time.sleep(3600)

class Spec:
    def __init__(self, seconds):
        self.seconds = seconds
    def build(self, name):
        time.sleep(self.seconds)
        return Slow()

def events(pool):
    while not (found := pool.wait(0.5)):
        pass
    return found

cluster = ray_pool.RayCluster()
fleet = cluster.fleet(EmbedRunConfig(actors=1), 1, 2**30)
ray_pool.PLACEMENT_LIMIT_S = 2.0
pool = cluster.pool(Spec(0), Fleet(1, "cuda"))
pool.start()
print(pool.waiting_for())
try:
    events(pool)
except ClusterError as error:
    print(error)
pool.close()

ray_pool.PLACEMENT_LIMIT_S, ray_pool.LOAD_LIMIT_S = 600.0, 2.0
pool = cluster.pool(Spec(3600), fleet)
pool.start()
print(events(pool))
pool.close()

ray_pool.LOAD_LIMIT_S, ray_pool.STRETCH_LIMIT_S = 600.0, 2.0
pool = cluster.pool(Spec(0), fleet)
worker = pool.start()
(ready,) = events(pool)
assert isinstance(ready, Ready) and pool.waiting_for() == ""
pool.send(worker, [], 1.0)
print(events(pool))
cluster.close()
"""


def test_every_wait_for_a_worker_has_a_bound_and_says_what_it_waits_for(ray_head: RayHead) -> None:
    command = [sys.executable, "-c", BOUNDS]
    result = subprocess.run(command, capture_output=True, text=True, env=ray_head.env, timeout=240, check=False)
    waiting, refusal, loading, stretch = result.stdout.splitlines()
    assert waiting == "waiting for a node with a GPU free for actor-0"
    assert refusal.startswith("the Ray cluster has had no room for a worker for 0 min (waiting for a node with a GPU")
    assert "waited 0 min for actor-0 to load the networks" in loading and "preempted=False" in loading
    assert "Died(worker='actor-0', reason='waited 0 min for a report of actor-0'" in stretch, result.stderr


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """An environment in which a command starts a Ray of its own, which soon notices what does not answer."""
    (tmp_path / "home").mkdir()
    health = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 1000, "failure_threshold": 3}
    env = {f"RAY_health_check_{name}": str(value) for name, value in health.items()}
    return env | {"HOME": str(tmp_path / "home"), "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, IMAGES, generator, vgg, CONFIG)


def command(job: EmbedRunRequest) -> list[str]:
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", str(STEPS)]
    return [*words, "--batch-size", "2", "--precision", "fp64", "--actors", "1", "--checkpoint-every", "0.5"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_ray_of_our_own_whose_node_dies_is_replaced(
    job: EmbedRunRequest, alone: dict[str, str], undisturbed: Undisturbed, number: signal.Signals
) -> None:
    """Killed, or stopped for longer than Ray waits for its answer."""
    driver = subprocess.Popen(
        [str(PROGRAM), *command(job)], env=os.environ | alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE_S
    while not list(Path(job.out).glob("work/rows/*/*.arrow")):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    (raylet,) = [pid for pid, name in processes_of(driver.pid).items() if "/raylet/raylet" in name.split("\0")[0]]
    os.kill(raylet, number)
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0 and "Traceback" not in errors, errors
    assert "went with its machine (Ray on this machine died: it" in errors
    rows = read_table(job.out).to_pylist()
    assert [row["attempts"] for row in rows] == [1] * len(IMAGES), "no image is to blame"
    assert len({row["worker"] for row in rows}) == 2, "one before, one after"
    found = read_latents(job.out)
    assert found.ids == IMAGES == undisturbed.table.ids[: len(IMAGES)]
    np.testing.assert_allclose(found.latents, undisturbed.table.latents[: len(IMAGES)], rtol=0, atol=1e-6)
    assert not Path("/proc", str(raylet)).exists(), "what was stopped is gone, too"


def test_deaths_of_memory_blame_no_image_and_end_in_one_line(job: EmbedRunRequest, alone: dict[str, str]) -> None:
    """A machine that is always short of memory, as Ray sees it."""
    short = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "200"}
    result = i2s_batch(*command(job), env=alone | short)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    line = result.stderr.splitlines()[-1]
    assert "workers died one after the other" in line and "memory" in line
    deaths = Path(job.out) / "work" / "deaths.json"
    assert not deaths.exists() or json.loads(deaths.read_text()) == {}
