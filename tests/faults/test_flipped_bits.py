"""Bits that flip in the rows and checkpoints of a stopped run: what is damaged is as good as none, and named."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig, ImageSettings
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.rows import LoadedImage, failed_row
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import DamagedError, InternalError
from i2s_batch.models.loading import generator_weights
from i2s_batch.output import lease
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import scan
from i2s_batch.output.units import Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.run.status import read_status
from i2s_batch.schema.codec import decode_rows, table_schema
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_table
from tests.runs import embed, job_over, rows_written, state_in

NAMES = tuple(f"{number:02d}.png" for number in range(8))
STEPS = 12
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS), batch_size=3, precision="fp64", checkpoint_every_s=1e-3, max_failed_fraction=1
)
# Resumed runs, in each of which a bit of every file has flipped.
TRIALS = {False: 30, True: 500}
# What differs between two runs of the same images.
UNSTABLE = ("uri", "seconds", "embedded_at", "worker", "attempts", "run_id")


class StopError(Exception):
    """What ends a run here."""


@dataclass(frozen=True)
class Scene:
    """A run that was stopped with rows and checkpoints, as it was left (`left`), and what it comes to (`rows`)."""

    job: EmbedRunRequest
    left: Path
    rows: dict[str, dict]

    def restore(self) -> list[Path]:
        """Put the output back as it was left; its row files and checkpoints."""
        shutil.rmtree(self.job.out, ignore_errors=True)
        shutil.copytree(self.left, self.job.out)
        return self.files

    @property
    def files(self) -> list[Path]:
        return sorted([*Path(self.job.out).rglob("*.arrow"), *Path(self.job.out).rglob("*.npz")])

    @property
    def latent_size(self) -> int:
        return generator_weights(self.job.generator).latent_size

    def check(self) -> None:
        """Every row is that of a run that nothing happened to."""
        found = {row["image_id"]: row for row in read_table(self.job.out).to_pylist()}
        assert found.keys() == self.rows.keys()
        for image_id, row in found.items():
            for name, wanted in self.rows[image_id].items():
                if name in UNSTABLE:
                    continue
                if isinstance(wanted, (float, list)):
                    np.testing.assert_allclose(row[name], wanted, rtol=1e-5, atol=1e-6, err_msg=f"{image_id} {name}")
                else:
                    assert row[name] == wanted, (image_id, name)
        assert not list(Path(self.job.out, "work").rglob("*.*"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Scene:
    folder = tmp_path_factory.mktemp("bits")
    job = job_over(folder, NAMES, generator, vgg, CONFIG)
    fresh = replace(job, out=f"{job.out}-fresh")
    embed(fresh)
    original = WorkLog.write_rows
    written: list[str] = []

    def stop(self: WorkLog, task: Task, rows: list) -> object:
        if len(written) == 5:
            raise StopError
        written.append(task.image_id)
        return original(self, task, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        patch.setattr("i2s_batch.embedding.embed_worker.WRITER_THREADS", 1)
        with pytest.raises(InternalError, match="StopError"):
            embed(job)
    left = folder / "left"
    shutil.copytree(job.out, left)
    assert len(list(left.rglob("*.arrow"))) == 5 and list(left.rglob("*.npz"))
    return Scene(job, left, {row["image_id"]: row for row in read_table(fresh.out).to_pylist()})


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def every_flip(path: Path, stride: int) -> Iterator[bytes]:
    content = path.read_bytes()
    return (flipped(content, bit) for bit in range(0, 8 * len(content), stride))


def test_no_bit_of_a_file_can_flip_unnoticed(stopped: Scene, long_faults: bool) -> None:
    """All bits in the long setting, else one of every byte."""
    schema = table_schema(stopped.latent_size)
    readers: dict[str, Callable[[bytes], object]] = {
        ".arrow": lambda content: decode_rows([content], schema),
        ".npz": state_in,
    }
    for suffix, read in readers.items():
        path = next(stopped.left.rglob(f"*{suffix}"))
        read(path.read_bytes())
        flips = 0
        for content in every_flip(path, 1 if long_faults else 7):
            with pytest.raises(DamagedError, match="is damaged"):
                read(content)
            flips += 1
        assert flips > 2000
        for end in (0, 1, 20, 47, 48, 49, path.stat().st_size - 1):
            with pytest.raises(DamagedError, match="is damaged"):
                read(path.read_bytes()[:end])


def test_runs_with_flipped_bits_come_to_the_same_rows(stopped: Scene, long_faults: bool) -> None:
    flips = 0
    for seed in range(TRIALS[long_faults]):
        random_bit = random.Random(seed)
        files = stopped.restore()
        spoilt = random_bit.sample(files, random_bit.randint(1, len(files)))
        for path in spoilt:
            content = path.read_bytes()
            for _ in range(random_bit.choice((1, 1, 1, 2, 30))):
                content = flipped(content, random_bit.randrange(8 * len(content)))
                flips += 1
            path.write_bytes(content)
        said: list[str] = []
        embed(stopped.job, said=said)
        stopped.check()
        for path in spoilt:
            name = path.relative_to(stopped.job.out).as_posix()
            assert any(name in line and "is damaged" in line for line in said), f"{name} is not named: {said}"
        assert verify(stopped.job.out, sample=1).sound
    assert flips > 8 * TRIALS[long_faults]


def test_only_what_is_damaged_is_embedded_again(stopped: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in stopped.restore() if path.suffix == ".arrow"]
    (files[0]).write_bytes(flipped(files[0].read_bytes(), 20_000))
    (files[1]).write_bytes(b"")
    assert read_status(stopped.job.out, print).done == 3, "damaged rows count as none"
    units = [int(path.stem) for path in files]
    names = rows_written(monkeypatch)
    said: list[str] = []
    embed(stopped.job, said=said)
    assert sorted(names) == [NAMES[i] for i in range(len(NAMES)) if i not in units or i in units[:2]]
    assert sum("is computed again" in line for line in said) == 2
    stopped.check()


def test_rows_that_are_damaged_while_the_run_goes_on(stopped: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard that would hold them is not written; the run looks again at what is done."""
    stopped.restore()
    original = WorkLog.write_rows
    spoilt: list[Path] = []

    def spoil(self: WorkLog, task: Task, rows: list) -> object:
        finished = original(self, task, rows)
        if not spoilt:
            spoilt.append(Path(stopped.job.out) / RunLayout.row(task.index))
            spoilt[0].write_bytes(flipped(spoilt[0].read_bytes(), 12_345))
        return finished

    monkeypatch.setattr(WorkLog, "write_rows", spoil)
    said: list[str] = []
    embed(stopped.job, said=said)
    assert any(spoilt[0].name in line and "is damaged" in line for line in said)
    stopped.check()


def test_rows_of_another_image_are_as_good_as_none(stopped: Scene) -> None:
    """Two files that changed places: each is whole, and neither is what was planned."""
    first, second, *_ = (path for path in stopped.restore() if path.suffix == ".arrow")
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    said: list[str] = []
    embed(stopped.job, said=said)
    assert sum("it is of another image than planned" in line for line in said) == 2
    stopped.check()


def test_a_failed_row_replaces_a_damaged_one_and_no_other(stopped: Scene) -> None:
    (path, *_) = (path for path in stopped.restore() if path.suffix == ".arrow")
    whole, index = path.read_bytes(), int(path.stem)
    log = WorkLog(stopped.job.out, stopped.latent_size)
    task = Task(EmbedUnit(index=index, image_ids=(NAMES[index],), uri="x", settings=ImageSettings(EmbedConfig())))
    failed = [failed_row(task, LoadedImage(), "crashed", ValueError("scripted"))]
    assert log.write_rows(task, failed).statuses == ("ok",) and path.read_bytes() == whole
    path.write_bytes(flipped(whole, 30_000))
    assert log.statuses_of(index) is None
    assert log.write_rows(task, failed).statuses == ("crashed",)
    assert log.statuses_of(index) == ("crashed",)


def test_damage_that_comes_again_and_again_ends_in_one_line(stopped: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that keeps nothing: the run ends, and says which file."""
    stopped.restore()
    original = WorkLog.write_rows

    def spoil(self: WorkLog, task: Task, rows: list) -> object:
        finished = original(self, task, rows)
        (Path(stopped.job.out) / RunLayout.row(task.index)).write_bytes(b"nothing")
        return finished

    monkeypatch.setattr(WorkLog, "write_rows", spoil)
    with pytest.raises(DamagedError, match=r"work/rows/00000/\d+\.arrow: .* is damaged .*; run the same command again"):
        EmbedRun(stopped.job, [].append).execute(InProcessCluster(1))


def test_damaged_files_of_the_work_folder_are_as_good_as_none_and_named(stopped: Scene) -> None:
    """Counts of deaths, notes of a publication and the lease of a driver that is gone."""
    stopped.restore()
    job = stopped.job
    store = open_store(job.out)
    for deaths in (b"[1]", b'{"3": 1e999}', b'{"x": 1}', b'{"3": -1}', b"\xff", b'{"3": null}', b"[" * 100_000):
        said: list[str] = []
        store.put(RunLayout.deaths, deaths)
        assert scan(store, Plan.load(store, CONFIG.shard_size), WorkLog(job.out, 1), said.append).deaths == {}
        assert len(said) == 1 and "work/deaths.json is damaged" in said[0] and "\n" not in said[0]
    store.put(RunLayout.publishing(0), b'{"sha256": "ab", "size": 1e999}')
    store.put(
        RunLayout.lease, json.dumps({"machine": lease.this_machine(), "pid": "1\0", "process_start": None}).encode()
    )
    said = []
    embed(job, said=said)
    assert any("work/deaths.json is damaged" in line for line in said)
    assert any("work/publishing/shard-00000.json" in line and "verify" in line for line in said)
    stopped.check()
    assert verify(job.out).sound
