"""Runs with workers in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from i2s_batch.config import EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.inversion import SlotState
from i2s_batch.output.publication import present_shard, publish_shard
from i2s_batch.output.work_log import WorkLog, checkpoint_in
from i2s_batch.run.execution import Outcome
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import Store
from tests.material import scene


def embed(job: EmbedRunRequest, workers: int = 1, said: list[str] | None = None) -> Outcome:
    """Carry a job to its end; what is said goes into `said`."""
    return EmbedRun(job, [].append if said is None else said.append).execute(InProcessCluster(workers))


def job_over(folder: Path, names: Iterable[str], generator: Path, vgg: Path, config: EmbedRunConfig) -> EmbedRunRequest:
    """A job over pictures drawn into `folder`/in, into `folder`/out; a name begins with the number of its picture."""
    source = folder / "in"
    source.mkdir()
    for name in names:
        scene(int(name[:2]), (40, 40)).save(source / name)
    return EmbedRunRequest(str(source), str(folder / "out"), str(generator), str(vgg), config)


def rows_written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images whose rows are written from now on."""
    names: list[str] = []
    original = WorkLog.write_rows

    def note(self: WorkLog, task, rows):
        names.append(task.image_id)
        return original(self, task, rows)

    monkeypatch.setattr(WorkLog, "write_rows", note)
    return names


def rewrite_shard(store: Store, shard: int, rows: pa.Table, metadata: Mapping[str, str]) -> None:
    """Publish a shard over whatever is there."""
    assert publish_shard(store, shard, rows, metadata, present_shard(store, shard), lambda: None)


def state_in(stored: bytes) -> SlotState:
    """The state in the bytes of a checkpoint file."""
    return SlotState.from_bytes(checkpoint_in(stored))
