"""This process and Ray: the same rows; an image that crashes its process is got past by the same command, on Ray."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2s_batch.table.shards import read_table
from tests.cluster.conftest import RayHead
from tests.program import changed, i2s_batch
from tests.runs import job_over
from tests.runtime.test_chosen import CRASH, CRASHING, FEW, NAMES


@pytest.fixture
def no_cluster() -> Iterator[str]:
    """A folder for Ray's files in which no cluster is recorded, with a path that is short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


def test_the_second_command_gets_past_an_image_that_crashes_its_process(
    tmp_path: Path, generator: Path, vgg: Path, no_cluster: str
) -> None:
    job = job_over(tmp_path, NAMES, generator, vgg, FEW)
    Path(job.source, NAMES[2]).write_bytes(CRASHING)
    (tmp_path / "home").mkdir()
    env = changed(tmp_path / "site", CRASH) | {"HOME": str(tmp_path / "home"), "RAY_ADDRESS": ""}
    env |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": no_cluster}
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", 4]
    words += ["--max-failed-fraction", 0.3]
    first = i2s_batch(*words, env=env)
    assert first.returncode == -signal.SIGSEGV, first.stderr
    second = i2s_batch(*words, env=env)
    assert second.returncode == 0 and "an earlier driver of this output was killed" in second.stderr, second.stderr
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    assert [rows[name]["status"] for name in NAMES] == ["ok", "ok", "crashed", "ok"]
    assert rows[NAMES[2]]["attempts"] == 3


def test_ray_and_this_process_give_the_same_bits(
    tmp_path: Path, generator: Path, vgg: Path, ray_head: RayHead, no_cluster: str
) -> None:
    """In float64, with as many threads; only where and when a row was made differs."""
    job = job_over(tmp_path, NAMES, generator, vgg, FEW)
    words = ["--generator", job.generator, "--vgg", job.vgg, "--steps", 20, "--precision", "fp64", "--actors", 1]
    here = {"RAY_ADDRESS": "", "RAY_TMPDIR": no_cluster, "OMP_NUM_THREADS": "2"}
    tables = []
    for out, env, where in ((f"{job.out}-1", ray_head.env, "on Ray"), (f"{job.out}-2", here, "in this process")):
        result = i2s_batch("embed", job.source, out, *words, env=env)
        assert result.returncode == 0 and f"1 worker on cpu, {where}" in result.stderr, result.stderr
        tables.append(read_table(out))
    on_ray, in_process = (table.drop_columns(["worker", "seconds", "embedded_at", "run_id"]) for table in tables)
    assert on_ray.num_rows == len(NAMES) and on_ray.equals(in_process)
    assert [table["worker"][0].as_py() for table in tables] == ["actor-0", "local-0"]
