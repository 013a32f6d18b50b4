"""What a run chooses for itself and how it is recorded: its precision, and on a GPU its step program."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig, RunConfig
from i2s_batch.embedding import embed_run
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.engine import Engine
from i2s_batch.errors import ClusterError, RunConflictError
from i2s_batch.inversion.precision import PrecisionChoice
from i2s_batch.inversion.step_program import StepProgram
from i2s_batch.inversion.tuning import Candidate, Trial, Tuning
from i2s_batch.run.pools import Fleet, InProcessCluster, Pool
from i2s_batch.table.arrays import read_latents
from tests.runs import embed, job_over

EMBED = EmbedConfig(steps=3)
AUTO = EmbedRunConfig(embed=EMBED, precision="auto")


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, ("01.png", "02.png"), generator, vgg, AUTO)


def recorded(job: EmbedRunRequest) -> str:
    return json.loads((Path(job.out) / "run.json").read_text())["settings"]["precision"]


def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = PrecisionChoice("tf32", "precision: tf32, the fastest")
    monkeypatch.setattr(
        embed_run, "device_precision", lambda asked, _: choice if asked == "auto" else PrecisionChoice(asked)
    )


class OtherMachines(InProcessCluster):
    """A cluster whose machines have GPUs, and which breaks down."""

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        return Fleet(1, "cuda")

    def pool(self, spec: object, fleet: Fleet) -> Pool:
        raise ClusterError("scripted")


def test_on_a_cpu_auto_is_fp32_and_says_nothing(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said: list[str] = []
    embed(job, said=said)
    assert recorded(job) == "fp32" and not any("precision" in line for line in said)
    there = EmbedRun(replace(job, out=f"{job.out}-2"), said.append)
    with pytest.raises(ClusterError, match="scripted"):
        there.execute(OtherMachines())
    assert any("--precision tf32 or --device cuda is faster" in line for line in said), (
        "the GPUs of a cluster show later"
    )
    usual = replace(job, config=replace(AUTO, precision="fp32"))
    assert EmbedRun(usual, said.append).config == usual.config, "it is the run that fp32 would be"


def test_a_precision_is_chosen_once_and_recorded(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with monkeypatch.context() as patch:
        on_gpu(patch)
        embed(job, said=said)
    assert recorded(job) == "tf32" and said.count("precision: tf32, the fastest") == 1
    again: list[str] = []
    assert EmbedRun(job, again.append).config.precision == "tf32", "what is recorded holds on any device"
    assert not any("precision" in line for line in again)
    with pytest.raises(RunConflictError, match="--precision is tf32 there, fp32 was asked"):
        EmbedRun(replace(job, config=replace(AUTO, precision="fp32")), again.append)
    over = replace(job, config=replace(AUTO, overwrite=True))
    assert EmbedRun(over, again.append).config.precision == "fp32", "a run that is replaced decides nothing"


def test_an_output_of_another_precision_is_resumed_in_it(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(replace(job, config=replace(AUTO, precision="fp64")))
    on_gpu(monkeypatch)
    said: list[str] = []
    resumed = EmbedRun(job, said.append)
    assert resumed.config.precision == "fp64" and not any("precision" in line for line in said)
    assert resumed.describe().images_to_do == 0


def test_a_worker_steps_as_was_measured_and_reports_it(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = replace(job, config=replace(AUTO, precision="fp64"))
    embed(exact)
    usual = read_latents(exact.out)
    chosen = Candidate(StepProgram(graph=True, layout="nhwc"), 2)
    failed = Trial(Candidate(StepProgram(compiled=True), 2), None, "too little memory")
    asked: list[tuple[int, float]] = []

    def tune(self: Engine, embed: EmbedConfig, limit: int, seconds: float) -> Tuning:
        asked.append((limit, seconds))
        return Tuning(chosen, (Trial(chosen, 0.002), failed), "nothing else to try")

    monkeypatch.setattr(Engine, "tune", tune)
    other = replace(exact, out=f"{exact.out}-2", config=replace(exact.config, tune_s=7.0))
    said: list[str] = []
    embed(other, said=said)
    assert asked == [(2, 7.0)]
    assert any("step program: plain, batch 2, 2 ms per step and image (of 2 measured)" in line for line in said), said
    assert any("step program not used: compiled nchw, batch 2 (too little memory)" in line for line in said), said
    found = read_latents(other.out)
    assert list(found.ids) == list(usual.ids)
    np.testing.assert_allclose(found.latents, usual.latents, rtol=0, atol=1e-6)
