"""A disk that fills up, becomes read-only, forbids, or loses the output, and is mended: real file systems."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch import load_generator
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import I2SError, RunConflictError, StorageError
from i2s_batch.output import lease
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.pools import InProcessCluster
from tests.faults.outputs import Witness
from tests.material import open_to_others, without_power
from tests.runs import embed, job_over
from tests.runtime.checks import check_table

IMAGES = {f"{number:02d}.png" for number in range(8)}
CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=8), batch_size=3, shard_size=3, checkpoint_every_s=0.05)
PATIENCE_S = 60


class SmallDisk:
    """A file system in memory at `path`, of `kib` KiB."""

    def __init__(self, path: Path, kib: int) -> None:
        self.path = path
        self._do("mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=777", "tmpfs")

    def change(self, options: str) -> None:
        """Mount it anew with other options; waits until no file is open for writing."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._do("mount", "-o", f"remount,{options}")
            except subprocess.CalledProcessError:
                assert time.monotonic() < deadline, "the disk stays busy"

    def close(self) -> None:
        self._do("umount", "--lazy")

    def _do(self, *command: str) -> None:
        subprocess.run([*command, str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    path = Path(tempfile.mkdtemp())  # where any user may go, unlike pytest's folders
    path.chmod(0o755)
    try:
        disk = SmallDisk(path, 64 * 1024)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"a file system cannot be mounted here ({error})")
    yield disk
    disk.close()
    path.rmdir()


@pytest.fixture
def job(disk: SmallDisk, generator: Path, vgg: Path) -> EmbedRunRequest:
    """Pictures and output on the disk."""
    return job_over(disk.path, IMAGES, generator, vgg, CONFIG)


@pytest.fixture
def witness(job: EmbedRunRequest, generator: Path) -> Witness:
    network = load_generator(generator)
    return Witness(job.out, network.num_layers * network.w_dim, CONFIG.shard_size)


def after_rows(monkeypatch: pytest.MonkeyPatch, count: int, action: Callable[[], None]) -> None:
    """Do something in mid-run: after so many rows, between two of them."""
    original, lock = WorkLog.write_rows, threading.Lock()
    written: list[object] = []

    def write(self: WorkLog, *arguments):
        with lock:
            if len(written) == count:
                action()
            written.append(arguments)
            return original(self, *arguments)

    monkeypatch.setattr(WorkLog, "write_rows", write)


def refused(run: Callable[[], object], message: str, kind: type[I2SError] = StorageError) -> None:
    with pytest.raises(kind, match=message) as stop:
        run()
    assert "\n" not in str(stop.value)


def goes_on(run: Callable[[], object], witness: Witness, generator: Path) -> None:
    """The cause is mended: the same command again brings the run to its end."""
    run()
    witness.look()
    check_table(witness.out, IMAGES, generator, bad=set())


@pytest.mark.parametrize("free_kib", [0, 12, 28, 48])
def test_a_full_disk(disk: SmallDisk, job: EmbedRunRequest, witness: Witness, generator: Path, free_kib: int) -> None:
    filled = disk.path / "filled"
    free = shutil.disk_usage(disk.path).free - free_kib * 1024
    filled.write_bytes(bytes(max(0, free)))
    refused(lambda: embed(job), "the disk is full; free some space and run the same command again")
    if Path(job.out).exists():
        witness.look()
    filled.unlink()
    goes_on(lambda: embed(job), witness, generator)


def test_a_disk_that_becomes_read_only(
    disk: SmallDisk, job: EmbedRunRequest, witness: Witness, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        after_rows(patch, 2, lambda: disk.change("ro"))
        refused(lambda: embed(job), "the file system is read-only")
    witness.look()
    refused(lambda: embed(job), r"work/probe-.*the file system is read-only")
    disk.change("rw")
    (Path(job.out) / "work/lease.json").unlink()  # it could not be given back, and this process lives on
    goes_on(lambda: embed(job), witness, generator)


def test_a_folder_that_forbids(
    disk: SmallDisk,
    job: EmbedRunRequest,
    witness: Witness,
    generator: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = Path(job.out) / "work/rows/00000"
    embed(replace(job, out=str(tmp_path / "elsewhere")))  # all modules are imported: the other user may not read them

    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(temporary))
            embedding = EmbedRun(job, [].append)  # reads networks and versions, which the other user may not
        for listing in temporary.iterdir():
            open_to_others(listing)
        with without_power():
            embedding.execute(InProcessCluster())

    with monkeypatch.context() as patch:
        after_rows(patch, 2, lambda: folder.chmod(0o500))
        refused(run, "permission denied; change its permissions or choose another path")
    witness.look()
    folder.chmod(0o700)
    goes_on(run, witness, generator)


def test_an_output_that_is_deleted_in_mid_run(
    disk: SmallDisk, job: EmbedRunRequest, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    out = Path(job.out)

    def delete() -> None:
        while out.exists():
            shutil.rmtree(out, ignore_errors=True)

    for count in (0, 2, 7):
        with monkeypatch.context() as patch:
            after_rows(patch, count, delete)
            refused(
                lambda: embed(job), "the lease of this driver is gone, because the output was deleted", RunConflictError
            )
        assert not list(out.glob("latents/*")), "nothing is published of a run that is gone"
    embed(job)
    check_table(job.out, IMAGES, generator, bad=set())
