"""One device, or a small run, works in this process, any other on Ray; an image that ends the process does so once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from i2s_batch.api import sessions
from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig, RunConfig
from i2s_batch.editing import Render
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import ClusterError
from i2s_batch.models import build_generator, build_vgg, random_generator
from i2s_batch.models.loading import generator_weights
from i2s_batch.models.vgg import random_vgg
from i2s_batch.models.work import generator_work, vgg_work
from i2s_batch.run import chosen
from i2s_batch.run.begun import BegunUnits
from i2s_batch.run.chosen import SMALL_S, ChosenCluster, expected_seconds
from i2s_batch.run.pools import Fleet, InProcessCluster
from i2s_batch.run.ray import given
from i2s_batch.run.stopping import RunInterruptedError
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.program import PROGRAM, changed, i2s_batch, status_of
from tests.runs import embed, job_over

NAMES = [f"{number:02d}.png" for number in range(4)]
FEW = EmbedRunConfig(embed=EmbedConfig(steps=4))
LONG = EmbedRunConfig(embed=EmbedConfig(steps=5000))
NO_RAY = "import sys; sys.modules['ray'] = None"  # an import of it is an error


class Offered:
    """A cluster that is only asked what it offers."""

    leave = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        return Fleet(7, self.name)

    def close(self) -> None:
        self.closed = True


class Here(Offered, InProcessCluster):
    """This process, on a device of our choice."""

    def __init__(self, device: str = "cpu") -> None:
        Offered.__init__(self, device)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is given, whatever else this machine does, and it has eight cores."""
    monkeypatch.setattr(chosen, "cluster_is_given", lambda: False)
    monkeypatch.setattr(chosen, "usable_cores", lambda: 8)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, NAMES, generator, vgg, FEW)


def choice(job: EmbedRunRequest, here: Offered | None = None, said: list[str] | None = None) -> str:
    """Where a run works: "here" or "on Ray"."""
    run = EmbedRun(job, [].append)
    on_ray = Offered("on Ray")
    cluster = ChosenCluster(run, here or Here(), lambda: on_ray, [].append if said is None else said.append)
    assert cluster.leave is None
    device = cluster.fleet(job.config, len(run.plan()), 0).device
    cluster.close()
    assert on_ray.closed == (device == "on Ray")
    return device if device == "on Ray" else "here"


@pytest.mark.parametrize(
    ("family", "resolution"), [("stylegan1", 64), ("stylegan2", 64), ("stylegan2", 32), ("stylegan3", 64)]
)
def test_the_work_of_a_pass_is_about_what_pytorch_counts(family: str, resolution: int) -> None:
    weights = random_generator(family, resolution, width=64, channel_base=2048)
    generator = build_generator(weights)
    latents = torch.zeros(1, *weights.latent_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator.synthesize(latents)
    assert 0.5 < 2 * generator_work(weights) / counter.get_total_flops() < 2


@pytest.mark.parametrize("resolution", [64, 512])
def test_the_work_of_vgg_is_what_pytorch_counts(resolution: int) -> None:
    weights = random_vgg(narrow=8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build_vgg(weights)(torch.zeros(1, 3, resolution, resolution))
    assert 2 * vgg_work(weights, resolution) == counter.get_total_flops()


@pytest.mark.usefixtures("alone")
def test_the_size_of_a_run_decides(job: EmbedRunRequest) -> None:
    assert choice(job) == "here"
    assert choice(replace(job, config=LONG)) == "on Ray"
    assert choice(replace(job, config=replace(FEW, actors=2))) == "on Ray", "who gives a number of actors wants actors"


@pytest.mark.usefixtures("alone")
def test_one_worker_works_here_however_large_the_run(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(job, config=LONG)
    assert choice(replace(job, config=replace(LONG, actors=1))) == "here"
    monkeypatch.setattr(chosen, "usable_cores", lambda: 2)
    assert choice(long) == "here", "two threads of one worker are as fast as two workers"
    monkeypatch.setattr(chosen, "usable_cores", lambda: 3)
    assert choice(long) == "on Ray"
    monkeypatch.setattr(chosen, "ray_is_installed", lambda: False)
    assert choice(long) == "here"


@pytest.mark.usefixtures("alone")
def test_one_image_and_one_gpu_work_here(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES[1:]:
        Path(job.source, name).unlink()
    assert choice(replace(job, config=LONG)) == "here", "one image has one worker"
    for name in NAMES[1:]:
        Path(job.source, name).write_bytes(Path(job.source, NAMES[0]).read_bytes())
    official = 1.5e13  # multiplications of an update: minutes even on a GPU
    monkeypatch.setattr(EmbedRun, "update_work", official)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choice(replace(job, config=LONG), Here("cuda")) == "here"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choice(replace(job, config=LONG), Here("cuda")) == "on Ray"


@pytest.mark.usefixtures("alone")
def test_a_large_network_makes_few_images_a_large_run(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    official = 1.5e11  # multiplications of a step of a StyleGAN2 at 1024 x 1024
    monkeypatch.setattr(EmbedRun, "update_work", official)
    assert choice(job) == "on Ray"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choice(job, Here("cuda")) == "here", "a GPU does it in seconds"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choice(job, Here("cuda")) == "on Ray", "two GPUs do it in half the time"


@pytest.mark.usefixtures("alone")
def test_an_edit_counts_the_images_that_it_draws(job: EmbedRunRequest, tmp_path: Path, generator: Path) -> None:
    embed(job)
    weights = generator_weights(str(generator))
    request = EditRunRequest((job.out,), str(tmp_path / "images"), str(generator), Render(), EditConfig())
    run = EditRun(request, weights, [].append)
    one = expected_seconds(run, 1, "cpu") / len(NAMES)
    assert one == pytest.approx(generator_work(weights) / 2e10 + 0.005), "of the four images, not of a unit of 32"
    long = replace(job, out=str(tmp_path / "long"), config=LONG)
    assert one < SMALL_S < expected_seconds(EmbedRun(long, [].append), len(NAMES), "cpu")


@pytest.mark.usefixtures("alone")
def test_a_device_that_is_not_here_is_refused_before_ray_starts(job: EmbedRunRequest) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ClusterError, match="no GPU that PyTorch can see"):
        choice(replace(job, config=replace(LONG, device="cuda")), InProcessCluster())


@pytest.mark.parametrize("mark", ["lease.json", "deaths.json"])
@pytest.mark.usefixtures("alone")
def test_what_a_killed_driver_left_is_done_on_ray(job: EmbedRunRequest, mark: str) -> None:
    said: list[str] = []
    for each in (job, long := replace(job, out=f"{job.out}-long", config=LONG)):
        EmbedRun(each, [].append).begin()
        Path(each.out, "work").mkdir()
        Path(each.out, "work", mark).write_text("{}")
    assert choice(job, said=said) == "on Ray"
    (line,) = said
    assert "an earlier driver of this output was killed" in line and "--in-process" in line
    assert choice(long, said=said) == "on Ray" and len(said) == 1, "said only where it decides"
    Path(job.out, "work", mark).unlink()
    assert choice(job, said=said) == "here" and len(said) == 1


def test_a_cluster_that_is_given_is_used(job: EmbedRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert given.cluster_is_given() and choice(job) == "on Ray"
    script = "import sys; from i2s_batch.run.ray.given import cluster_is_given; print(cluster_is_given())\n"
    script += "print('ray' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env |= {"RAY_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path)}

    def answer(first: str = "") -> list[str]:
        words = [sys.executable, "-c", first + script]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.split()

    assert answer() == ["False", "False"], "and Ray was not imported"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    assert answer() == ["False", "True"], "a cluster that does not answer"
    (tmp_path / "ray" / "ray_current_cluster").unlink()
    assert answer("import ray; ray.is_initialized = lambda: True\n") == ["True", "True"], "one that has been joined"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls for a Ray cluster, which is this process."""
    calls: list[str] = []

    def cluster() -> InProcessCluster:
        calls.append("Ray")
        return InProcessCluster()

    monkeypatch.setattr(sessions, "ray_cluster", cluster)
    return calls


@pytest.mark.usefixtures("alone")
def test_the_options_of_the_command_decide_before_the_size(job: EmbedRunRequest, asked: list[str]) -> None:
    words = ["--generator", job.generator, "--vgg", job.vgg, "--steps", 2]
    assert status_of("embed", job.source, f"{job.out}-1", *words) == 0 and asked == []
    assert status_of("embed", job.source, f"{job.out}-2", *words, "--no-in-process") == 0 and asked == ["Ray"]
    assert status_of("embed", job.source, f"{job.out}-3", *words, "--actors", "2") == 0 and asked == ["Ray"] * 2
    assert status_of("render", f"{job.out}-1", f"{job.out}-4") == 0 and len(asked) == 2
    assert status_of("render", f"{job.out}-1", f"{job.out}-5", "--no-in-process") == 0 and len(asked) == 3
    assert status_of("study", "init", job.source, f"{job.out}-6", "--sample", 1, *words) == 0 and len(asked) == 3
    for number in (1, 2, 3):
        record = json.loads(Path(f"{job.out}-{number}", "run.json").read_text())
        assert "in_process" not in record, "what was chosen is no part of the run"
    first, *others = (read_latents(f"{job.out}-{number}") for number in (1, 2, 3))
    for other in others:
        assert other.ids == first.ids == NAMES
        np.testing.assert_allclose(other.latents, first.latents, rtol=0, atol=1e-5)


def test_small_commands_need_no_ray(job: EmbedRunRequest, tmp_path: Path) -> None:
    """Real processes, in which an import of Ray is an error."""
    env = changed(tmp_path / "site", NO_RAY) | {"RAY_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path), "RAY_ADDRESS": ""}
    networks = ["--generator", job.generator, "--vgg", job.vgg, "--steps", 2]
    for words in (
        ["embed", job.source, job.out, *networks],
        ["edit", "morph", job.out, tmp_path / "morphs", "--chain", "--frames", 3],
        ["render", job.out, tmp_path / "images"],
        ["study", "init", job.source, tmp_path / "study", "--sample", 1, *networks],
    ):
        result = i2s_batch(*words, env=env)
        assert result.returncode == 0, result.stderr


# In a process that starts with this code an image with these bytes crashes its decoder, as a library's fault would: the
# thread that decodes reads from address 0. A signal sent to the process would let that thread go on for a while, and
# with Ray's handler of the signal for long enough to write the image's row.
CRASHING = b"CRASHES!"
CRASH = f"""
import ctypes
from i2s_batch.embedding import embed_worker
decode = embed_worker.decode_file
def crash(data):
    if bytes(data) == {CRASHING!r}:
        ctypes.string_at(0)
    return decode(data)
embed_worker.decode_file = crash
"""


@pytest.mark.usefixtures("alone")
def test_after_a_crash_of_this_process_the_rest_is_left_to_ray(
    job: EmbedRunRequest, tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """That a worker of Ray may crash is shown with a real one, in tests/cluster/test_chosen.py."""
    Path(job.source, NAMES[2]).write_bytes(CRASHING)
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", 2]
    env = os.environ | changed(tmp_path / "site", CRASH)
    env |= {"RAY_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path), "RAY_ADDRESS": ""}
    first = subprocess.run([str(PROGRAM), *map(str, words)], env=env, capture_output=True, text=True, check=False)
    assert first.returncode == -signal.SIGSEGV, first.stderr
    assert Path(job.out, "work", "lease.json").exists() and asked == []
    status_of(*words)
    assert asked == ["Ray"] and "an earlier driver of this output was killed" in capsys.readouterr().err
    assert read_table(job.out, ["image_id", "status"])["status"].to_pylist().count("ok") == len(NAMES) - 1


@pytest.mark.parametrize("killed", [True, False])
def test_after_a_crash_a_run_in_its_own_process_records_what_it_begins(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Where there is no Ray; how the records are used is in tests/runtime/test_driver.py."""
    begun: list[int] = []
    monkeypatch.setattr(BegunUnits, "begin", lambda self, units: begun.extend(units))

    def leave(stopped: RunInterruptedError) -> NoReturn:
        raise AssertionError(stopped)

    run = EmbedRun(job, [].append)
    run.begin()
    if killed:
        Path(job.out, "work").mkdir()
        Path(job.out, "work", "deaths.json").write_text("{}")
    run.execute(InProcessCluster(leave=leave))
    assert begun == (list(range(len(NAMES))) if killed else [])
    assert read_table(job.out)["status"].to_pylist() == ["ok"] * len(NAMES)
