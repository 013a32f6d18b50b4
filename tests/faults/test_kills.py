"""SIGKILL of the driver and its workers, at chosen writes and at random moments; then the same command again."""

from __future__ import annotations

import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from i2s_batch import load_generator
from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.faults.drivers import Driver, Stop
from tests.faults.outputs import Witness
from tests.faults.report import Tally
from tests.runs import embed, job_over
from tests.runtime.checks import check_table

IMAGES = {f"{number:02d}.png" for number in range(8)}
STEPS, SLOTS, SHARD = 15, 3, 3
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS), batch_size=SLOTS, shard_size=SHARD, precision="fp64", checkpoint_every_s=0.05
)
# What a driver is about when it makes a write; and before how many of such writes of one session it is killed.
PHASES = {
    "open manifest/": ("plan", 1),
    "os.rename run.json": ("plan", 1),
    "open work/checkpoints/": ("checkpoint", 12),
    "os.rename work/checkpoints/": ("checkpoint", 12),
    "open work/rows/": ("log", 5),
    "os.rename work/rows/": ("log", 5),
    "open latents/": ("assembly", 2),
    "os.link latents/": ("publication", 2),
    "os.remove work/rows/": ("forgetting the log", 4),
    "os.remove work/checkpoints/": ("forgetting checkpoints", 4),
    "os.rename summary.json": ("summary", 1),
    "os.remove work/lease.json": ("end", 1),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> EmbedRunRequest:
    folder = tmp_path_factory.mktemp("undisturbed")
    job = job_over(folder, IMAGES, generator, vgg, CONFIG)
    embed(job)
    return job


def disturbed_run(job: EmbedRunRequest, generator: Path, stream: random.Random, kills: int, seconds: float) -> Tally:
    """Kill a run `kills` times, or until it has ended, at chosen writes and at random moments; `seconds`: what a run
    takes that nothing disturbs."""
    network = load_generator(generator)
    witness = Witness(job.out, network.num_layers * network.w_dim, SHARD)
    tally = Tally(runs=1, images=len(IMAGES))
    for _ in range(kills):
        phase = stream.choice([*PHASES, "", ""])
        if phase:
            kind, writes = PHASES[phase]
            driver = Driver(job, stop=Stop(signal.SIGKILL, phase, stream.randint(1, writes))).end()
        else:
            kind = "any moment"
            driver = Driver(job).end(after_s=stream.uniform(0.02, seconds))
        assert driver.process.exitcode in (0, -signal.SIGKILL) and driver.error == ""
        tally.updates += driver.updates
        witness.look()
        if not driver.killed:
            return tally
        tally.faults[kind] += 1
    return tally


def check_end(job: EmbedRunRequest, undisturbed: EmbedRunRequest, generator: Path, tally: Tally) -> None:
    """The same command again, to its end; the table is the undisturbed one."""
    last = Driver(job).end()
    assert last.process.exitcode == 0 and last.error == ""
    tally.updates += last.updates
    check_table(job.out, IMAGES, generator, bad=set())
    found, expected = read_latents(job.out), read_latents(undisturbed.out)
    np.testing.assert_array_equal(found.latents, expected.latents)  # to the last bit of the table's float32
    for name in ("loss", "loss_pixel", "loss_conv4_2", "w_distance"):  # float64 in the table
        np.testing.assert_allclose(found.metrics[name], expected.metrics[name], rtol=1e-9, atol=0)
    tally.recomputed = tally.updates - STEPS * len(IMAGES)
    assert tally.recomputed >= 0
    tally.lost = len(IMAGES) - len(set(read_table(job.out)["image_id"].to_pylist()))
    tally.duplicated = len(read_table(job.out)) - len(IMAGES)


# Writes of a noise stage: the driver is killed before the first or second of each.
NOISE_WRITES = ("os.rename work/noise/", "os.rename work/rows/", "os.link noise/", "os.link latents/")


def test_a_run_with_a_noise_stage_that_is_killed_loses_no_maps(
    undisturbed: EmbedRunRequest, generator: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, embed=EmbedConfig(steps=5, noise_steps=9))
    whole = replace(undisturbed, out=str(tmp_path / "whole"), config=config)
    embed(whole)
    job = replace(whole, out=str(tmp_path / "out"))
    for number, write in enumerate(NOISE_WRITES):
        driver = Driver(job, stop=Stop(signal.SIGKILL, write, 1 + number % 2)).end()
        assert driver.killed and driver.error == "", write
        for path in (tmp_path / "out/noise").glob("*.parquet"):
            assert pq.read_table(path).num_rows in (2, 3), "whole or absent"
    last = Driver(job).end()
    assert last.process.exitcode == 0 and last.error == ""
    check_table(job.out, IMAGES, generator, bad=set())
    (found, expected) = (pq.read_table(Path(out, "noise")).sort_by("image_id") for out in (job.out, whole.out))
    assert found["image_id"].to_pylist() == sorted(IMAGES) and found.equals(expected)
    assert verify(job.out).sound


def test_a_run_that_is_killed_again_and_again_loses_nothing(
    undisturbed: EmbedRunRequest, generator: Path, tmp_path: Path, long_faults: bool
) -> None:
    stream = random.Random(6)
    whole = Driver(replace(undisturbed, out=str(tmp_path / "whole"))).end()
    assert whole.error == "" and whole.updates == STEPS * len(IMAGES)
    total = Tally()
    while sum(total.faults.values()) < (200 if long_faults else 8):
        job = replace(undisturbed, out=str(tmp_path / f"out-{total.runs}"))
        tally = disturbed_run(job, generator, stream, kills=12 if long_faults else 8, seconds=whole.seconds)
        check_end(job, undisturbed, generator, tally)
        total += tally
    if long_faults:
        total.say("SIGKILL of the driver with its workers")
