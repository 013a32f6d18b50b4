"""A worker on Ray whose device breaks: its process ends, and the driver hears of a death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.conftest import RayHead

DRIVER = """
import os, sys, time
from pathlib import Path
from i2s_batch.config import RunConfig
from i2s_batch.runtime.workers.pools import DeviceLostError
from i2s_batch.runtime.workers.ray_pool import RayCluster

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
pool = cluster.pool(Spec(), cluster.fleet(RunConfig(actors=1), 1))
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
        "Died(worker='actor-0', reason='CUDA error: device-side assert triggered', preempted=False)",
        "gone",
    ], result.stderr
