"""Drivers and workers that ought to be gone and are not: whatever they still do, the table is as it should be."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2s_batch import load_generator
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.embed_worker import EmbedSpec
from i2s_batch.embedding.rows import LoadedImage, failed_row
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import RunConflictError, StorageError, UnfinishedRunWarning
from i2s_batch.models.loading import vgg_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import RunState, scan
from i2s_batch.output.units import Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run import execution as run_module
from i2s_batch.run.assembly import Assembler
from i2s_batch.schema.metadata import shard_metadata
from i2s_batch.schema.row import Row
from i2s_batch.storage import exclusive, open_store
from i2s_batch.table.shards import read_table
from tests.faults.drivers import STARTED, Driver, Stop
from tests.faults.outputs import Witness
from tests.faults.report import Tally
from tests.runs import embed, job_over
from tests.runtime.checks import check_table

IMAGES = {f"{number:02d}.png" for number in range(8)}
STEPS = 12
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS), batch_size=3, shard_size=3, precision="fp64", checkpoint_every_s=0.05
)
# A driver that is stopped in the middle of a heartbeat keeps the lock of the lease: the second then gives up.
QUICK: dict[str, Any] = {"heartbeat_s": 0.2, "expiry_s": 1.0, "lock_timeout_s": 3.0}
PATIENCE_S = 120
# Before which of its writes a driver is stopped, and goes on when another has its lease.
MOMENTS = [
    "open manifest/",
    "open work/checkpoints/",
    "os.rename work/rows/",
    "os.link latents/",
    "os.remove work/rows/",
]


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """A stopped process would keep Python from ending."""
    yield
    for process in STARTED:
        process.kill()
    STARTED.clear()


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, IMAGES, generator, vgg, CONFIG)


@pytest.fixture
def latent_size(generator: Path) -> int:
    network = load_generator(generator)
    return network.num_layers * network.w_dim


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.02)


def is_stopped(driver: Driver) -> bool:
    """Whether SIGSTOP has stopped it, or it has ended."""
    if not driver.process.is_alive():
        return True
    return Path(f"/proc/{driver.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def holder(out: str) -> object:
    try:
        return json.loads((Path(out) / RunLayout.lease).read_bytes())["machine"]
    except FileNotFoundError:
        return None


def stopped_and_robbed(job: EmbedRunRequest, stop: Stop, witness: Witness) -> int:
    """Stop a driver before a write, let another begin, let both go on, and then a third; the updates they made."""
    zombie = Driver(job, stop=stop, machine="one", **QUICK)
    wait_until(lambda: is_stopped(zombie), "the first driver to be stopped")
    second = Driver(job, machine="another", **QUICK)
    wait_until(lambda: holder(job.out) == "another" or not second.process.is_alive(), "the second to take over")
    if zombie.process.is_alive():
        os.kill(zombie.process.pid, signal.SIGCONT)
    zombie.end()
    second.end()
    assert (zombie.process.exitcode, second.process.exitcode) == (0, 0)
    assert zombie.error == "" or "took this output over" in zombie.error or "is gone" in zombie.error, zombie.error
    assert second.error == "" or "has been locked" in second.error, (second.error, zombie.error, stop)
    witness.look()
    last = Driver(job).end()
    assert last.error == ""
    witness.look()
    return zombie.updates + second.updates + last.updates


@pytest.mark.parametrize("moment", [*MOMENTS, "any"])
def test_a_driver_that_was_stopped_and_lost_its_lease_damages_nothing(
    job: EmbedRunRequest, generator: Path, latent_size: int, tmp_path: Path, long_faults: bool, moment: str
) -> None:
    if moment in MOMENTS[:2] and not long_faults:
        pytest.skip("with --faults long")
    stream = random.Random(moment)
    total = Tally()
    for number in range(5 if long_faults else 1):
        out = str(tmp_path / f"out-{number}")
        stop = Stop(signal.SIGSTOP, "" if moment == "any" else moment, stream.randint(1, 100 if moment == "any" else 3))
        made = stopped_and_robbed(replace(job, out=out), stop, Witness(out, latent_size, CONFIG.shard_size))
        check_table(out, IMAGES, generator, bad=set())
        rows = read_table(out)["image_id"].to_pylist()
        total += Tally(
            runs=1, images=len(IMAGES), updates=made, lost=len(IMAGES - set(rows)), duplicated=len(rows) - len(IMAGES)
        )
        total.faults[f"before {moment}"] += 1
        total.recomputed += made - STEPS * len(IMAGES)
    if long_faults:
        total.say("Driver stopped, its lease taken, and continued")


def test_a_driver_whose_half_written_plan_was_swept_away_says_that_it_was_robbed(
    job: EmbedRunRequest, generator: Path, latent_size: int
) -> None:
    """The next driver removes what an earlier one left half-written, which here is not dead."""
    stop = Stop(signal.SIGSTOP, "os.rename manifest/")
    stopped_and_robbed(job, stop, Witness(job.out, latent_size, CONFIG.shard_size))
    check_table(job.out, IMAGES, generator, bad=set())


def test_a_second_driver_is_refused_while_the_first_lives(job: EmbedRunRequest, generator: Path) -> None:
    first = Driver(job, stop=Stop(signal.SIGSTOP, "os.rename work/rows/"))
    wait_until(lambda: is_stopped(first), "the first driver to be stopped")
    with pytest.raises(RunConflictError, match="another driver is working on this output"):
        embed(job)
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.end().error == ""
    check_table(job.out, IMAGES, generator, bad=set())


def test_a_worker_that_outlives_its_driver_changes_no_shard(
    job: EmbedRunRequest, generator: Path, latent_size: int
) -> None:
    """It goes on with its pictures, from its own process, while and after another driver's workers make them."""
    run = EmbedRun(job, [].append)
    run.begin()
    spec = EmbedSpec(job.out, CONFIG, run.generator, vgg_weights(job.vgg), "cpu", max_slots=3)
    orphan = spec.build("orphan")
    orphan.advance([Task(run.unit(index)) for index in range(3)], budget_s=0)
    embed(job)
    witness = Witness(job.out, latent_size, CONFIG.shard_size)
    witness.look()
    while not orphan.advance([], budget_s=1.0).finished:
        pass
    orphan.checkpoint()
    orphan.close()
    assert list(open_store(job.out).list(RunLayout.all_rows_prefix)), "the orphan has written rows"
    embed(job)
    assert all(row["worker"] != "orphan" for row in read_table(job.out).to_pylist())
    check_table(job.out, IMAGES, generator, bad=set())
    witness.look()


def test_a_lock_whose_holder_was_stopped_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exclusive, "LOCK_TIMEOUT_S", 0.2)
    store = open_store(str(tmp_path))
    store.put("lease", b"its")
    with (tmp_path / "lease").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="lease' has been locked for 0 s by a process that hangs; end it"):
            store.swap("lease", b"its", b"mine")
    assert store.swap("lease", b"its", b"mine")


def task_of(job: EmbedRunRequest, index: int) -> Task[EmbedUnit]:
    return Task(EmbedRun(job, [].append).unit(index))


def rows_of(status: str, task: Task[EmbedUnit]) -> list[Row]:
    return [failed_row(task, LoadedImage(), status, ValueError("scripted"))]


@pytest.fixture
def planned(job: EmbedRunRequest) -> tuple[Plan, WorkLog]:
    """The plan and the log of a run that has begun."""
    EmbedRun(job, [].append).begin()
    return Plan.load(open_store(job.out), CONFIG.shard_size), WorkLog(job.out, latent_size=6)


def test_a_row_that_is_not_ok_never_replaces_one(job: EmbedRunRequest, planned: tuple[Plan, WorkLog]) -> None:
    _, log = planned
    task = task_of(job, 0)
    assert log.write_rows(task, rows_of("crashed", task)).statuses == ("crashed",)
    assert log.write_rows(task, rows_of("ok", task)).statuses == ("ok",)
    assert log.write_rows(task, rows_of("crashed", task)).statuses == ("ok",), "the row that counts is told"
    assert log.statuses_of(0) == ("ok",)


def test_a_shard_that_came_unseen_is_not_overwritten(job: EmbedRunRequest, planned: tuple[Plan, WorkLog]) -> None:
    """A dead driver's last write may reach the store after the next one has looked."""
    plan, log = planned
    metadata = shard_metadata(latent_shape=(2, 3), space="w+", generator="g", vgg="v", settings={}, code_version="test")
    assembler = Assembler(open_store(job.out), plan, log, metadata, lambda: None)
    for status in ("ok", "crashed"):
        for index in plan.units_of(0):
            task = task_of(job, index)
            log.write_rows(task, rows_of(status, task))
        assembler.publish(0, plan.units_of(0), exists=False)
    with pytest.warns(UnfinishedRunWarning, match="3 of 8 images are there"):
        assert set(read_table(job.out)["status"].to_pylist()) == {"ok"}


@pytest.fixture
def unforgotten(job: EmbedRunRequest, latent_size: int, monkeypatch: pytest.MonkeyPatch) -> WorkLog:
    """The log of a run that published its shards, and ended before it forgot their rows."""
    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "delete_rows", lambda self, indices: None)
        patch.setattr(EmbedRun, "clear_work", lambda self: None)
        embed(job)
    return WorkLog(job.out, latent_size)


@pytest.mark.parametrize("published", [True, False])
def test_rows_that_a_stopped_driver_takes_away_after_they_were_seen(
    job: EmbedRunRequest, generator: Path, unforgotten: WorkLog, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    """It was about to forget the rows of a shard when it was stopped; the next driver has seen them in the log."""
    if not published:
        open_store(job.out).delete([RunLayout.shard(0), RunLayout.checksum(0)])
    said: list[str] = []

    def seen(*arguments: Any) -> RunState:
        state = scan(*arguments)
        unforgotten.delete_rows([2])
        return state

    monkeypatch.setattr(run_module, "scan", seen)
    embed(job, said=said)
    assert sum("checking again what is done" in line for line in said) == 1
    check_table(job.out, IMAGES, generator, bad=set())


def test_a_log_that_changes_again_and_again_ends_the_run(
    job: EmbedRunRequest, unforgotten: WorkLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(3))

    def seen(*arguments: Any) -> RunState:
        state = scan(*arguments)
        unforgotten.delete_rows([next(looks)])
        return state

    monkeypatch.setattr(run_module, "scan", seen)
    with pytest.raises(StorageError, match=r"00000002\.arrow': it does not exist"):
        embed(job)


def test_a_driver_without_its_lease_publishes_and_forgets_nothing(
    job: EmbedRunRequest, planned: tuple[Plan, WorkLog]
) -> None:
    def lost() -> None:
        raise RunConflictError("lost")

    plan, log = planned
    for index in plan.units_of(0):
        task = task_of(job, index)
        log.write_rows(task, rows_of("ok", task))
    with pytest.raises(RunConflictError, match="lost"):
        Assembler(open_store(job.out), plan, log, {}, lost).publish(0, plan.units_of(0), exists=False)
    assert sorted(log.logged_rows()) == list(plan.units_of(0)) and not list(Path(job.out).glob("latents/*"))
