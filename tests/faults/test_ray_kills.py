"""A real Ray with two nodes: actors, nodes, drivers and all of them die; then the same command again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch import load_generator
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.shards import read_table
from tests.faults.drivers import INTERRUPTED, PATIENCE_S, Driver
from tests.faults.outputs import Witness
from tests.faults.rays import Machines, OnRay, machines, send, updates
from tests.faults.report import Tally
from tests.material import scene
from tests.runs import embed, state_in
from tests.runtime.checks import check_table

IMAGES = {f"{number:02d}.png" for number in range(8)}
STEPS, SHARD = 600, 3
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS),
    batch_size=2,
    shard_size=SHARD,
    precision="fp64",
    checkpoint_every_s=0.3,
    actors=2,
    device="cpu",
)
# An actor's death is counted against its images, of which each may have two; a lost or drained machine is not. Where
# all actors die, a picture may be handed from the first that is known to be dead to one that is not, and have both.
COUNTED = (["one actor", "one actor"], ["all actors"])
RUNS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, long_faults: bool) -> Iterator[Machines]:
    if not long_faults:
        pytest.skip("with --faults long: nodes of Ray take long to start")
    with machines(tmp_path_factory.mktemp("ray"), nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> EmbedRunRequest:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in").mkdir()
    for name in IMAGES:
        scene(int(name[:2]), (40, 40)).save(folder / "in" / name)
    job = EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), CONFIG)
    embed(job)
    return job


@dataclass
class Disturbed:
    """A run on Ray, carried on by one driver after another."""

    cluster: Machines
    job: EmbedRunRequest
    counts: Path
    stream: random.Random
    tally: Tally = field(default_factory=lambda: Tally(runs=1, images=len(IMAGES)))

    def driver(self) -> Driver:
        """One that has begun."""
        env = self.cluster.env | {"RAY_ADDRESS": self.cluster.address}
        driver = Driver(self.job, on=OnRay(env, str(self.counts)))
        assert driver.process.is_alive()
        return driver

    def until_at_work(self, driver: Driver) -> bool:
        """Wait until updates were made by this driver's workers, and then a random while; False if the run ended."""
        before, deadline = updates(self.counts), time.monotonic() + PATIENCE_S
        while updates(self.counts) == before:
            if not driver.process.is_alive():
                return False
            assert time.monotonic() < deadline, "no step is made"
            time.sleep(0.05)
        driver.process.join(self.stream.uniform(0.05, 1.5))
        return driver.process.is_alive()

    def break_something(self, fault: str, driver: Driver) -> None:
        cluster = self.cluster
        node = self.stream.choice([node for node in cluster.nodes if node.actors()] or cluster.nodes)
        if fault == "one actor":
            for pid in self.stream.sample(actors := cluster.actors(), min(1, len(actors))):
                send(pid, signal.SIGKILL)
        elif fault == "all actors":
            for pid in cluster.actors():
                send(pid, signal.SIGKILL)
        elif fault == "one node":
            cluster.lose(node)
        elif fault == "shutdown of a node":
            cluster.shut_down(node)
        elif fault == "driver":
            driver.process.kill()
        elif fault == "driver, actors and raylets":
            driver.process.kill()
            for each in list(cluster.nodes):
                cluster.lose(each)
        elif fault == "drain of a node":
            cluster.drain(node, deadline_s=60)
        else:
            os.kill(driver.process.pid, signal.SIGTERM)
        self.tally.faults[fault] += 1
        with Path(f"{self.job.out}.said").open("a") as said:
            said.write(f"fault: {fault}\n")

    def kept(self, witness: Witness) -> int:
        """Updates that need not be made again: those of finished pictures, and those in checkpoints."""
        witness.look()
        paths = Path(self.job.out).glob("work/checkpoints/*.npz")
        states = [state_in(path.read_bytes()) for path in paths]
        in_flight = [state.step for state in states if state.image_id not in witness.finished]
        return STEPS * len(witness.finished) + sum(in_flight)

    def session(self, faults: list[str], witness: Witness) -> bool:
        """Start the command, and let `faults` happen one after the other; whether it came to its end."""
        self.cluster.wait_for_nodes()
        driver = self.driver()
        for fault in faults:
            if not self.until_at_work(driver):
                break
            self.break_something(fault, driver)
        driver.end()
        assert driver.error == "" and driver.process.exitcode in (0, INTERRUPTED, -signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while self.cluster.actors():  # those of a dead driver live on for a moment
            assert time.monotonic() < deadline, "actors outlive their driver"
            time.sleep(0.2)
        witness.look()
        return driver.process.exitcode == 0


def check_end(run: Disturbed, undisturbed: EmbedRunRequest, generator: Path, witness: Witness) -> None:
    """The same command again, to its end: it makes what was not kept, and no step more."""
    kept, before = run.kept(witness), updates(run.counts)
    assert run.session([], witness)
    made = updates(run.counts)
    assert made - before == STEPS * len(IMAGES) - kept
    out, tally = run.job.out, run.tally
    print(Path(f"{out}.said").read_text())  # shown if something below is not so
    check_table(out, IMAGES, generator, bad=set())
    found, expected = read_latents(out), read_latents(undisturbed.out)
    np.testing.assert_array_equal(found.latents, expected.latents)  # to the last bit of the table's float32
    for name in ("loss", "loss_pixel", "loss_conv4_2", "w_distance"):  # float64 in the table
        np.testing.assert_allclose(found.metrics[name], expected.metrics[name], rtol=1e-9, atol=0)
    rows = read_table(out)["image_id"].to_pylist()
    tally.updates, tally.recomputed = made, made - STEPS * len(IMAGES)
    tally.lost, tally.duplicated = len(IMAGES - set(rows)), len(rows) - len(IMAGES)
    assert tally.recomputed >= 0


def chosen_faults(stream: random.Random) -> list[list[str]]:
    """Those of four sessions. The last fault of a session may be one that ends it."""
    counted = stream.choice(COUNTED)
    others = [stream.choice(("one node", "drain of a node", "shutdown of a node")) for _ in range(5 - len(counted))]
    middle = counted + others
    stream.shuffle(middle)
    ends = [stream.choice(("driver", "driver, actors and raylets", "SIGTERM to the driver")) for _ in range(3)]
    return [[middle[0], middle[1], ends[0]], [middle[2], ends[1]], [middle[3], ends[2]], [middle[4]]]


def test_actors_nodes_and_drivers_die_and_nothing_is_lost(
    cluster: Machines, undisturbed: EmbedRunRequest, generator: Path, tmp_path: Path
) -> None:
    network, stream = load_generator(generator), random.Random(8)
    total = Tally()
    for number in range(RUNS):
        (counts := tmp_path / f"counts-{number}").mkdir()
        job = replace(undisturbed, out=str(tmp_path / f"out-{number}"))
        run = Disturbed(cluster, job, counts, stream)
        witness = Witness(job.out, network.num_layers * network.w_dim, SHARD)
        for faults in chosen_faults(stream):
            if run.session(faults, witness):
                break
        check_end(run, undisturbed, generator, witness)
        print(number, dict(run.tally.faults), run.tally.updates, run.tally.recomputed, flush=True)
        total += run.tally
    total.say("A real Ray of two nodes")
