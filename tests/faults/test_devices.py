"""Devices that break or are too small, and a code that is no number: who pays for it, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2s_batch.checksums import with_checksum
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding import engine
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.embedding.embed_worker import EmbedSpec, EmbedWorker
from i2s_batch.errors import InternalError, RunFailedError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.slots import Slots
from i2s_batch.output.work_log import WorkLog
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_table
from tests.runs import embed, job_over, state_in

IMAGES = [f"{number:02d}.png" for number in range(8)]
POISON = "03.png"
STEPS = 12
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=STEPS), batch_size=3, shard_size=100, precision="fp64", checkpoint_every_s=0.001
)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, IMAGES, generator, vgg, CONFIG)


@pytest.fixture
def expected(job: EmbedRunRequest, tmp_path: Path) -> dict[str, list[float]]:
    """The codes of a run that nothing disturbs."""
    calm = replace(job, out=str(tmp_path / "calm"))
    embed(calm)
    return {row["image_id"]: row["latent"] for row in read_table(calm.out).to_pylist()}


def fail_at_steps(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Of a batch that holds the poison, no step after its third can be made."""
    original = Embedder.put

    def put(self: Embedder, image_id: str, *arguments: Any, **options: Any) -> None:
        original(self, image_id, *arguments, **options)
        if image_id == POISON:
            self.slots.advance = partial(fail, self, self.slots.advance)

    def fail(self: Embedder, advance: Callable[..., None], **options: Any) -> None:
        if self.in_flight.get(POISON, 0) >= 3:
            raise error
        advance(**options)

    monkeypatch.setattr(Embedder, "put", put)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ],
)
def test_a_picture_that_breaks_the_device_is_a_row_and_the_others_go_on(
    job: EmbedRunRequest, expected: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    workers: list[str] = []

    def build(self: EmbedSpec, name: str) -> EmbedWorker:
        workers.append(name)
        return original(self, name)

    original = EmbedSpec.build
    monkeypatch.setattr(EmbedSpec, "build", build)
    fail_at_steps(monkeypatch, error)
    said: list[str] = []
    summary = embed(job, said=said).summary
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    assert rows.pop(POISON)["status"] == "crashed" and sorted(rows) == [name for name in IMAGES if name != POISON]
    assert workers == ["local-0", "local-1", "local-2", "local-3"], "each time a fresh one, with a whole device"
    assert sum("died" in line and str(error).split("\n")[0] in line for line in said) == 3, said
    for image_id, row in rows.items():
        assert row["status"] == "ok"
        np.testing.assert_array_equal(row["latent"], expected[image_id])
    # A checkpoint follows each stretch of work, and a stretch ends with each picture: nothing finished is made again.
    assert summary.this_session.images == len(IMAGES)
    assert max(row["attempts"] for row in rows.values()) <= 3


def test_a_device_that_is_broken_from_the_beginning_stops_the_run(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*arguments: object) -> None:
        raise torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(engine, "build_generator", build)
    with pytest.raises(RunFailedError, match=r"3 workers died one after the other .* no kernel image is available"):
        embed(job)


def test_too_little_memory_for_one_image_stops_the_run_and_a_larger_device_goes_on(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(self: Slots, full: bool) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(Slots, "advance", advance)
        with pytest.raises(RunFailedError) as stop:
            embed(job)
    assert "too little memory for one image; run the same command again on a larger device" in str(stop.value)
    assert "\n" not in str(stop.value) and stop.value.__cause__ is None, "no bug, and so no traceback"
    embed(job)
    assert set(read_table(job.out)["status"].to_pylist()) == {"ok"}


def test_an_ordinary_bug_is_not_taken_for_a_broken_device(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_steps(monkeypatch, RuntimeError("shape '[3]' is invalid for input of size 4"))
    with pytest.raises(InternalError, match="is invalid for input"):
        embed(job)


def test_a_code_that_is_no_number_is_a_row_and_touches_no_other(
    job: EmbedRunRequest, expected: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(self: WorkLog, *arguments: object) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        with pytest.raises(InternalError, match="StopError"):
            embed(job)
    store = open_store(job.out)
    (key, *_) = [info.key for info in store.list("work/checkpoints/")]
    state = state_in(store.get(key))
    store.put(key, with_checksum(replace(state, variable=np.full_like(state.variable, np.nan)).to_bytes()))
    embed(job)
    rows = {row["image_id"]: row for row in read_table(job.out).to_pylist()}
    bad = rows.pop(state.image_id)
    assert (bad["status"], bad["latent"]) == ("diverged", None) and "not finite" in bad["error"]
    for image_id, row in rows.items():
        np.testing.assert_array_equal(row["latent"], expected[image_id])
