"""A worker on Ray whose device breaks, or that meets a bug: what the driver hears of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.conftest import RayHead

DRIVER = """
import os, sys, time
from pathlib import Path
from i2s_batch.config import EmbedRunConfig
from i2s_batch.run.pools import DeviceLostError
from i2s_batch.run.ray.pool import RayCluster

folder = sys.argv[1]

class Broken:
    slots = 1
    def advance(self, tasks, budget_s):
        raise DeviceLostError("CUDA error: device-side assert triggered")
    def interrupt(self):
        pass
    checkpoint = lambda self: self.advance([], 0)

class Spec:
    def build(self, name):
        Path(folder, name).write_text(str(os.getpid()))
        return Broken()

def next_event(pool):
    while not (events := pool.wait(1.0)):
        pass
    return events[0]

cluster = RayCluster()
pool = cluster.pool(Spec(), cluster.fleet(EmbedRunConfig(actors=1), 1, 2**30))
worker = pool.start()
print(next_event(pool))
print("saved", pool.checkpoint([worker], timeout_s=60))
pool.send(worker, [], 1.0)
print(next_event(pool))
process = Path("/proc", Path(folder, worker).read_text())
while process.exists():
    time.sleep(0.1)
print("gone")
cluster.close()
"""


def test_a_worker_whose_device_broke_is_ended_and_told_as_dead(ray_head: RayHead, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=ray_head.env, timeout=240, check=False)
    assert result.stdout.splitlines() == [
        "Ready(worker='actor-0', slots=1)",
        "saved 0",
        "Died(worker='actor-0', reason='CUDA error: device-side assert triggered', preempted=False, memory=False)",
        "gone",
    ], result.stderr


BUGGY = """
from i2s_batch.config import EmbedRunConfig
from i2s_batch.run.ray.pool import RayCluster

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__("bytes of the device")
        self.lock = __import__("threading").Lock()

class Spec:
    def build(self, name):
        raise Unpicklable(1, 2)

cluster = RayCluster()
pool = cluster.pool(Spec(), cluster.fleet(EmbedRunConfig(actors=1), 1, 2**30))
pool.start()
while not (events := pool.wait(1.0)):
    pass
error = events[0].error
print(type(error).__name__, error, sep=": ")
print(error.details)
cluster.close()
"""


def test_a_bug_reaches_the_driver_as_text_whatever_was_raised(ray_head: RayHead) -> None:
    command = [sys.executable, "-c", BUGGY]
    result = subprocess.run(command, capture_output=True, text=True, env=ray_head.env, timeout=240, check=False)
    first, *details = result.stdout.splitlines()
    assert first == "InternalError: Unpicklable: bytes of the device, while loading the networks", result.stderr
    assert details[0] == "Traceback (most recent call last):" and "in build" in result.stdout
