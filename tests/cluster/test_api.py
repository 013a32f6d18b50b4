"""The Python API on a real Ray: one that the program has joined stays, and a thread may carry a run out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.conftest import RayHead
from tests.cluster.test_ray import ROOT, wait_until
from tests.material import scene

PROGRAM = """
import json, signal, sys, threading
import ray
import i2s_batch

source, folder, generator, vgg = sys.argv[1:]
options = {"generator": generator, "vgg": vgg, "steps": 3, "actors": 1, "progress": False}
handler = signal.getsignal(signal.SIGINT)
found = {"steps": []}

def note(what, result):
    found["steps"].append([what, result.statuses, ray.is_initialized(), signal.getsignal(signal.SIGINT) is handler])

note("before ray.init", i2s_batch.embed(source, f"{folder}/first", **options))
ray.init(address="auto", log_to_driver=False)  # as a notebook that uses Ray for other things
note("after ray.init", i2s_batch.embed(source, f"{folder}/second", **options))
thread = threading.Thread(
    target=lambda: note("thread", i2s_batch.edit(f"{folder}/second", f"{folder}/edit", i2s_batch.Morph(to="0.png"),
                                                 actors=1, progress=False))
)
thread.start()
thread.join()
found["answer"] = ray.get(ray.remote(num_cpus=0)(lambda: 42).remote())  # it is as usable as before
print(json.dumps(found))
"""

STOPPED = """
import sys
import i2s_batch

source, out, generator, vgg = sys.argv[1:]
try:
    i2s_batch.embed(source, out, generator=generator, vgg=vgg, steps=1_000_000, actors=1, checkpoint_every_s=0.2)
except i2s_batch.RunStoppedError as error:
    print(type(error).__name__, error)
print("the program goes on")
"""


def draw(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        scene(number, (24, 24)).save(folder / f"{number}.png")


def test_a_ray_that_the_program_has_joined_stays(ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path) -> None:
    draw(tmp_path / "in", 2)
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path / "in", tmp_path, generator, vgg]
    result = subprocess.run(
        list(map(str, words)), cwd=ROOT, env=ray_head.env, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["steps"] == [
        ["before ray.init", {"ok": 2}, False, True],  # a cluster that embed() joined is left again
        ["after ray.init", {"ok": 2}, True, True],
        ["thread", {"ok": 9}, True, True],
    ]
    assert found["answer"] == 42


def test_ctrl_c_stops_a_run_on_ray_with_an_exception(
    ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path
) -> None:
    draw(tmp_path / "in", 2)
    out = tmp_path / "out"
    words = [sys.executable, "-c", STOPPED, tmp_path / "in", out, generator, vgg]
    program = subprocess.Popen(
        list(map(str, words)), cwd=ROOT, env=ray_head.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        checkpoints = out / "work" / "checkpoints"
        wait_until(lambda: checkpoints.is_dir() and len(list(checkpoints.iterdir())) == 2, "a checkpoint of each image")
        os.kill(program.pid, signal.SIGINT)
        said, trouble = program.communicate(timeout=120)
    finally:
        program.kill()
    assert program.returncode == 0, trouble
    first, last = said.splitlines()
    assert first.startswith(
        "RunStoppedError the run was stopped by SIGINT; 2 images in flight were saved, nothing is lost"
    )
    assert last == "the program goes on"
