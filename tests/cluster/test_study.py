"""A study on a real cluster: the same result as with one worker, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.cluster.conftest import RayHead
from tests.cluster.test_ray import ROOT, wait_until
from tests.material import scene

STEPS = 150  # so that the run is not over before the death of an actor is seen
BATCH = 2  # of four images: with more, one actor may hold all of them, and the death of an idle one changes nothing


def test_rounds_on_two_actors_of_which_one_is_killed(
    ray_head: RayHead, tmp_path: Path, generator: Path, vgg: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        scene(number, (24, 24)).save(tmp_path / "in" / f"{number}.png")
    out = tmp_path / "out"
    options = ["--generator", generator, "--vgg", vgg, "--steps", STEPS, "--precision", "fp64", "--actors", 2]
    command = ["python", "jobs/study.py", "iterate", tmp_path / "in", out, *options, "--checkpoint-every", 0.2]
    command += ["--batch-size", BATCH]
    study = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=ray_head.env, stderr=subprocess.PIPE, text=True)
    try:
        wait_until((out / "pictures" / "round-2").is_dir, "a picture of the second round")
        os.kill(ray_head.actors()[0], signal.SIGKILL)
        _, said = study.communicate(timeout=200)
    finally:
        study.kill()
    assert study.returncode == 0 and "resume elsewhere" in said, said
    assert "Round 7 against round 1" in (out / "study.md").read_text()

    config = StudyConfig(embed=EmbedConfig(steps=STEPS), study="iterate", precision="fp64", batch_size=3)
    job = StudyRunRequest(str(tmp_path / "in"), str(tmp_path / "alone"), str(generator), str(vgg), config)
    StudyRun(job, [].append).execute(InProcessCluster(1))
    found, alone = read_table(str(out)), read_table(str(tmp_path / "alone"))
    assert found["image_id"].to_pylist() == alone["image_id"].to_pylist() and len(found) == 28
    for one, other in zip(found["latent"].to_pylist(), alone["latent"].to_pylist(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
