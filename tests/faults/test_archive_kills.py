"""SIGKILL of a driver that writes archives of images, and a disk that fills up; then the same command again."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.errors import StorageError
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from tests.editing.test_archives import archives, check
from tests.faults.drivers import Driver, Stop
from tests.faults.test_disk import SmallDisk, disk
from tests.runs import embed, job_over

__all__ = ["disk"]

# Where a driver is killed, and before which of such writes. `open` is the creation of the temporary file beside.
MOMENTS = [
    ("open work/pictures/", 1),
    ("os.rename work/pictures/", 2),
    ("os.rename work/rows/", 2),  # the images are durable, their rows are not
    ("open pictures/", 1),
    ("os.link pictures/", 2),  # the archive is complete and has no name
    ("os.link latents/", 1),  # the archive is there, its rows are not
    ("os.rename manifest/checksums/", 1),
    ("os.remove work/rows/", 1),
    ("os.remove work/pictures/", 1),  # the rows are published, their images still in the log
]
# Those of the quick test, in one run after another; `--faults long` has each of all in a run of its own.
IN_TURN = [MOMENTS[number] for number in (2, 4, 5, 8)]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path
) -> tuple[EditRunRequest, dict[str, bytes]]:
    """A run with archives that nothing disturbs, and its archives; beside it, the same run with files."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1))
    embedded = job_over(folder, ["00.png", "01.png", "02.png"], generator, vgg, config)
    embed(embedded)
    request = Morph(tuple(number / 20 for number in range(21)), "all-pairs")
    config = EditConfig(shard_size=25, output="webdataset")
    job = EditRunRequest((embedded.out,), str(folder / "tar"), str(generator), request, config)
    for each in (job, replace(job, out=str(folder / "files"), config=replace(config, output="files"))):
        EditRun(each, generator_weights(str(generator)), [].append).execute(InProcessCluster())
    return job, archives(folder / "tar")


def test_every_image_comes_once_whenever_the_driver_is_killed(
    undisturbed: tuple[EditRunRequest, dict[str, bytes]], tmp_path: Path
) -> None:
    job, expected = undisturbed
    job = replace(job, out=str(tmp_path / "out"))
    assert all(Driver(job, stop=Stop(signal.SIGKILL, *moment)).end().killed for moment in IN_TURN)
    last = Driver(job).end()
    assert last.process.exitcode == 0 and last.error == ""
    check(Path(job.out), Path(undisturbed[0].out).with_name("files"))
    assert archives(Path(job.out)) == expected


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment[0])
def test_one_kill_at_each_moment(
    undisturbed: tuple[EditRunRequest, dict[str, bytes]], tmp_path: Path, moment: tuple[str, int], long_faults: bool
) -> None:
    if not long_faults:
        pytest.skip("with --faults long")
    job, expected = undisturbed
    job = replace(job, out=str(tmp_path / "out"))
    assert Driver(job, stop=Stop(signal.SIGKILL, *moment)).end().killed
    last = Driver(job).end()
    assert last.process.exitcode == 0 and last.error == ""
    assert archives(Path(job.out)) == expected
    check(Path(job.out), Path(undisturbed[0].out).with_name("files"))


def test_a_disk_that_fills_up(
    undisturbed: tuple[EditRunRequest, dict[str, bytes]], disk: SmallDisk, tmp_path: Path
) -> None:
    """One clear line, nothing half written; with room again the same command completes the run."""
    job, expected = undisturbed
    job = replace(job, out=str(disk.path / "out"))
    disk.change("size=300k")
    with pytest.raises(StorageError, match="the disk is full; free some space and run the same command again"):
        EditRun(job, generator_weights(job.generator), [].append).execute(InProcessCluster())
    whole = archives(Path(job.out)) if Path(job.out, "pictures").exists() else {}
    assert whole.items() <= expected.items()
    disk.change("size=64m")
    EditRun(job, generator_weights(job.generator), [].append).execute(InProcessCluster())
    assert archives(Path(job.out)) == expected
    check(Path(job.out), Path(undisturbed[0].out).with_name("files"))
