"""`--in-process`: the run in the command's own process, without Ray, stopped and killed as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import PROGRAM, changed, i2s_batch, refusal
from tests.runs import embed, state_in

STEPS = 400
IMAGES = 6
PATIENCE_S = 240
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), batch_size=4, precision="fp64")
NO_RAY = "import sys; sys.modules['ray'] = None"  # an import of it is an error


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    """Six drawn images in a folder."""
    (tmp_path / "in").mkdir()
    for number in range(IMAGES):
        scene(number, (40, 40)).save(tmp_path / "in" / f"{number}.png")
    return EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)


def command(job: EmbedRunRequest, *more: object) -> list[str]:
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", STEPS]
    return [*map(str, words), "--batch-size", "4", "--precision", "fp64", "--in-process", *map(str, more)]


class Started:
    """A command in a process of its own."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        # Threads that wait for each other cost a tiny network more than they bring.
        env = os.environ | {"OMP_NUM_THREADS": "1"} | env
        self._process = subprocess.Popen(
            [str(PROGRAM), *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self._process.poll() is None, self._process.communicate()[1]
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
            time.sleep(0.02)

    def end_by(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit status and standard error."""
        self._process.send_signal(number)
        _, errors = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, errors

    def end_unread_by(self, number: int) -> int:
        """Send a signal when nobody reads any more what the command says; the exit status."""
        assert self._process.stdout is not None and self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()
        self._process.send_signal(number)
        return self._process.wait(timeout=PATIENCE_S)


def saved_steps(job: EmbedRunRequest) -> list[int]:
    """The steps that were made on each image with a checkpoint."""
    paths = sorted(Path(job.out).glob("work/checkpoints/*.npz"))
    return [state_in(path.read_bytes()).step for path in paths]


def rows(job: EmbedRunRequest) -> set[int]:
    return {int(path.stem) for path in Path(job.out).glob("work/rows/*/*.arrow")}


def check_as_undisturbed(job: EmbedRunRequest) -> None:
    undisturbed = replace(job, out=f"{job.out}-undisturbed")
    embed(undisturbed)
    found, expected = read_latents(job.out), read_latents(undisturbed.out)
    assert found.ids == expected.ids and len(found.ids) == IMAGES
    np.testing.assert_allclose(found.latents, expected.latents, rtol=0, atol=1e-6)


def test_embed_edit_render_and_study_need_no_ray(job: EmbedRunRequest, tmp_path: Path) -> None:
    env = changed(tmp_path / "site", NO_RAY)
    networks = ["--generator", job.generator, "--vgg", job.vgg, "--steps", 2, "--in-process"]
    commands = [
        ["embed", job.source, job.out, *networks],
        ["edit", "morph", job.out, tmp_path / "morphs", "--chain", "--frames", 2, "--in-process"],
        ["render", job.out, tmp_path / "images", "--in-process"],
        ["study", "init", job.source, tmp_path / "study", "--sample", 2, *networks],
    ]
    for words in commands:
        result = i2s_batch(*words, env=env)
        assert result.returncode == 0 and "1 worker on cpu" in result.stderr, result.stderr
    assert set(read_table(job.out)["worker"].to_pylist()) == {"local-0"}
    for words, out in zip(commands[1:], ("morphs", "images", "study"), strict=True):
        record = json.loads((tmp_path / out / "run.json").read_text())
        assert record["command"] == list(map(str, words)), "what resumes it is the command as it was given"
    job_file = Path(__file__).parents[2] / "jobs" / "embed.py"
    words = [str(PROGRAM.parent / "python"), str(job_file), *map(str, commands[0][1:])]
    again = subprocess.run(words, capture_output=True, env=os.environ | env, check=False)
    assert again.returncode == 0, again.stderr


def test_more_than_one_worker_is_refused(job: EmbedRunRequest) -> None:
    line = refusal(i2s_batch(*command(job, "--actors", 2)))
    assert "actors is 2; with --in-process there is one worker: leave --actors out" in line
    assert i2s_batch(*command(job, "--actors", 1, "--dry-run")).returncode == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_is_in_flight(job: EmbedRunRequest, tmp_path: Path, number: int, status: int) -> None:
    env = changed(tmp_path / "site", NO_RAY)
    driver = Started(command(job, "--checkpoint-every", 3600), env)  # what is saved is saved by the signal
    driver.wait_for(lambda: rows(job), "the first rows")
    assert driver.end_by(number)[0] == status
    done, saved = rows(job), saved_steps(job)
    assert len(saved) == IMAGES - len(done) > 0 and not (Path(job.out) / "work/lease.json").exists()
    shown = i2s_batch("status", job.out).stdout
    assert "To resume" in shown and " --in-process\n" in shown
    assert i2s_batch(*command(job), env=env).returncode == 0
    session = json.loads((Path(job.out) / "summary.json").read_text())["this_session"]
    assert session["images"] == len(saved) and session["steps"] == STEPS * len(saved) - sum(saved)
    check_as_undisturbed(job)


# The 30th step takes until the test is over.
_STUCK = f"""
{NO_RAY}
import time
from i2s_batch.inversion.slots import Slots
advance, calls = Slots.advance, iter(range(30))
def slow(slots, full):
    if next(calls, None) is None:
        open("stuck", "w").close()
        time.sleep(3600)
    advance(slots, full)
Slots.advance = slow
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_answered_in_the_middle_of_a_long_step(
    job: EmbedRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    driver = Started(command(job, "--checkpoint-every", 3600), changed(tmp_path / "site", _STUCK))
    driver.wait_for((tmp_path / "stuck").exists, "the long step")
    returncode, errors = driver.end_by(number)
    assert returncode == status and "stopped; 4 images in flight were saved" in errors and "Traceback" not in errors
    assert "--in-process" in errors.splitlines()[-1], "the command that resumes the run"
    saved = saved_steps(job)
    assert len(saved) == 4 and max(saved) == 30, "all steps but the one that did not end"
    assert not (Path(job.out) / "work/lease.json").exists()
    assert json.loads((Path(job.out) / "summary.json").read_text())["finished"] is False
    embed(job)
    check_as_undisturbed(job)


@pytest.mark.parametrize("code", [NO_RAY, _STUCK])
def test_a_signal_is_answered_although_nobody_reads_the_answer(
    job: EmbedRunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Between two steps, or in the middle of one; the reader, such as `tee` or a terminal, has gone."""
    monkeypatch.chdir(tmp_path)
    driver = Started(command(job, "--checkpoint-every", 3600), changed(tmp_path / "site", code))
    driver.wait_for((tmp_path / "stuck").exists if code == _STUCK else lambda: rows(job), "the moment")
    assert driver.end_unread_by(signal.SIGTERM) == 143
    assert len(saved_steps(job)) == IMAGES - len(rows(job)) or code == _STUCK
    assert saved_steps(job) and not (Path(job.out) / "work/lease.json").exists()


def test_kill_9_and_the_same_command_again(job: EmbedRunRequest, tmp_path: Path) -> None:
    env = changed(tmp_path / "site", NO_RAY)
    driver = Started(command(job, "--checkpoint-every", 0.1), env)
    driver.wait_for(lambda: rows(job) and list(Path(job.out).glob("work/checkpoints/*.npz")), "rows and checkpoints")
    driver.end_by(signal.SIGKILL)
    done = rows(job)
    assert i2s_batch(*command(job), env=env).returncode == 0
    session = json.loads((Path(job.out) / "summary.json").read_text())["this_session"]
    assert session["images"] == IMAGES - len(done)
    check_as_undisturbed(job)


def test_a_run_in_a_thread_heeds_no_signals_and_comes_to_its_end(job: EmbedRunRequest) -> None:
    """As in a web server or a notebook's background: Python gives signals to the main thread only."""
    short = replace(job, config=replace(CONFIG, embed=EmbedConfig(steps=2)))
    thread = threading.Thread(target=embed, args=(short,))
    thread.start()
    thread.join()
    assert read_table(job.out)["status"].to_pylist() == ["ok"] * IMAGES


@pytest.mark.parametrize("first", [True, False])
def test_where_a_run_works_is_no_part_of_what_it_is(job: EmbedRunRequest, first: bool) -> None:
    """Real commands with Ray and without are in tests/cluster."""
    short = replace(CONFIG, embed=EmbedConfig(steps=2), in_process=first)
    embed(replace(job, config=short))
    record = (Path(job.out) / "run.json").read_bytes()
    assert ("in_process" in json.loads(record)) == first
    embed(replace(job, config=replace(short, in_process=not first)))
    assert (Path(job.out) / "run.json").read_bytes() == record
