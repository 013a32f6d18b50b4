"""An image that crashes the process of a small run: the same command again works on Ray, and gets past it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2s_batch.table.shards import read_table
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
