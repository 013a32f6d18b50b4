"""A cluster of two machines, one of which lacks something; and this machine without what a run usually finds on it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from i2s_batch.table.arrays import read_latents
from tests.cluster.conftest import RayHead, free_ports
from tests.material import DATA, scene
from tests.program import PROGRAM, i2s_batch

START_TIMEOUT_S = 120
SECRET = "the-secret-key-of-the-driver"

DRIVER = """
import json, os, sys
from i2s_batch.errors import StorageError
from i2s_batch.run.pools import Failed, Fleet, Ready
from i2s_batch.run.ray.pool import RayCluster
from i2s_batch.config import EmbedRunConfig

class Works:
    slots = 1

class Spec:
    def build(self, name):
        if "I2S_TEST_LACKS_CREDENTIALS" in os.environ:
            raise StorageError("'s3://b/a.png': no usable AWS credentials (NoCredentialsError); check them")
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "the-secret-key-of-the-driver"
        return Works()

def events(pool, count):
    found = []
    while len(found) < count:
        found += pool.wait(0.5)
    return found

cluster = RayCluster()
cluster.fleet(EmbedRunConfig(actors=3), 3, 2**30)
pool = cluster.pool(Spec(), Fleet(3, "cpu", threads=1))
names = [pool.start() for _ in range(3)]
found = events(pool, 3)
ready = [event for event in found if isinstance(event, Ready)]
(failed,) = [event for event in found if not isinstance(event, Ready)]
print(json.dumps([len(ready), type(failed).__name__, str(failed.error), bool(failed.node), failed.where]))
pool.end(failed.worker)
print(pool.set_aside(failed.node), pool.set_aside(failed.node))
another = pool.start()
assert pool.wait(2) == [], "the other machine is full, and the one that is set aside gets no worker"
pool.end(ready[0].worker)
(event,) = events(pool, 1)
print(event)
pool.close()
cluster.close()
"""


@contextmanager
def second_machine(head: RayHead, gpus: int = 0, **environment: str) -> Iterator[None]:
    """One more node of the session's cluster, with room for one worker, whose environment lacks the driver's."""
    nodes = _nodes(head)
    command = [
        str(PROGRAM.with_name("ray")),
        "start",
        "--block",
        f"--address={head.env['RAY_ADDRESS']}",
        "--num-cpus=1",
    ]
    ports = dict(zip(("dashboard-agent-listen", "metrics-export", "runtime-env-agent"), free_ports(3), strict=True))
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", f"--num-gpus={gpus}", "--object-store-memory=100000000"]
    command += [f"--{name}-port={port}" for name, port in ports.items()]
    env = {name: value for name, value in head.env.items() if not name.startswith("AWS_")} | environment
    node = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while _nodes(head) == nodes:
            assert node.poll() is None and time.monotonic() < deadline
            time.sleep(0.5)
        yield
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(timeout=60)
        while _nodes(head) > nodes:
            time.sleep(0.5)


def _nodes(head: RayHead) -> int:
    code = "import ray; ray.init('auto', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    found = subprocess.run(
        [sys.executable, "-c", code], env=head.env, capture_output=True, text=True, check=True, timeout=240
    )
    return int(found.stdout.split()[-1])


def drive(head: RayHead) -> list[str]:
    env = head.env | {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": "driver"}
    result = subprocess.run(
        [sys.executable, "-c", DRIVER], env=env, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("lack", ["credentials", "package"])
def test_a_machine_that_lacks_something_is_named_and_set_aside(ray_head: RayHead, tmp_path: Path, lack: str) -> None:
    """The driver's S3 settings reach both machines, which have none; no log of Ray's holds them."""
    broken = tmp_path / "torch.py"
    broken.write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    lacks = {"I2S_TEST_LACKS_CREDENTIALS": "1"} if lack == "credentials" else {"PYTHONPATH": str(tmp_path)}
    with second_machine(ray_head, **lacks):
        first, aside, event = drive(ray_head)
    ready, kind, message, replaceable, where = json.loads(first)
    assert (ready, kind, replaceable) == (2, "Failed", True)
    assert re.fullmatch(r" on node \S+ \([\d.]+\)", where)
    told = {"credentials": "no usable AWS credentials", "package": "the worker's Python lacks the package 'torch'"}
    assert told[lack] in message and "\n" not in message
    assert aside == "True True" and event == "Ready(worker='actor-3', slots=1)"
    assert not any(SECRET.encode() in path.read_bytes() for path in ray_head.logs())


def test_a_run_without_a_home_and_with_a_long_tmpdir(tmp_path: Path) -> None:
    """As a job of a scheduler has it: a Ray of its own, whose token is written nowhere."""
    scene(1, (64, 64)).save(tmp_path / "a.png")
    long = tmp_path / "a_scratch_file_system" / "users" / "a-user-name" / "slurm_jobdir" / "1355700" / "tmp.node0016"
    long.mkdir(parents=True)
    env = {"RAY_ADDRESS": "local", "HOME": "/dev/null", "TMPDIR": str(long)}
    words = ["embed", tmp_path / "a.png", tmp_path / "out", "--generator", DATA / "sg1_r64.pkl", "--vgg", "random"]
    words += ["--steps", "2", "--device", "cpu", "--actors", "1"]
    result = i2s_batch(*words, env=env)
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "Ray keeps its files in" in line]
    assert str(long) in line and "/tmp/ray" in line
    assert read_latents(str(tmp_path / "out")).ids == ["a.png"]
