"""The cores that a process may use, where its container allows fewer than the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from i2s_batch.concurrency import threads_for
from i2s_batch.config import RunConfig
from i2s_batch.run import pools
from i2s_batch.run.cores import usable_cores
from i2s_batch.run.pools import InProcessCluster


@pytest.fixture(autouse=True)
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", 8), ("x", 8)]
)
def test_the_quota_of_a_container(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path) == cores


def test_the_quota_of_an_older_kernel_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(tmp_path) == 8
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, cores in (("-1", 8), ("300000", 3), ("9900000", 8)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert usable_cores(tmp_path) == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert usable_cores(tmp_path) == 4


def test_a_worker_has_no_more_threads_than_the_container_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for cores, threads in ((2, 2), (8, None)):
        monkeypatch.setattr(pools, "usable_cores", lambda cores=cores: cores)
        fleet = InProcessCluster().fleet(RunConfig(device="cpu"), 5, 0)
        assert (fleet.workers, fleet.threads, fleet.cores, fleet.where) == (1, threads, cores, "in this process")


@pytest.mark.parametrize(("cores", "threads"), [(1, 2), (2, 2), (7, 2), (8, 4), (16, 8), (128, 8)])
def test_a_worker_with_many_cores_decodes_with_more_threads(cores: int, threads: int) -> None:
    assert threads_for(2, cores) == threads
