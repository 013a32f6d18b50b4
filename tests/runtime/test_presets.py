"""Runs with presets: resumed, alone or beside others the same; what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import i2s_batch
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.single_image import embed_image
from i2s_batch.errors import CheckpointError, ConfigError, InternalError, RunConflictError
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.work_log import WorkLog
from i2s_batch.presets import PRESETS, preset
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.runs import job_over, state_in

NAMES = ("01.png", "02.png", "03.png")
STEPS = 30  # at most, of every preset


class StopError(Exception):
    """What ends a run here."""


def job_of(name: str, folder: Path, generator: Path, vgg: Path, learned_file: Path) -> EmbedRunRequest:
    """A run with a preset over three pictures, one at a time, in float64, which saves its images all the time."""
    embed = preset(name)
    learned = load_learned(learned_file) if embed.uses_learned else None
    embed = replace(embed, steps=min(embed.steps, STEPS), learned="" if learned is None else learned.fingerprint)
    config = EmbedRunConfig(embed=embed, batch_size=1, precision="fp64", checkpoint_every_s=1e-3, preset=name)
    location = "" if learned is None else str(learned_file)
    return replace(job_over(folder, NAMES, generator, vgg, config), learned=learned, learned_from=location)


def carried_out(job: EmbedRunRequest) -> dict[str, dict]:
    """The rows of a run, by image."""
    EmbedRun(job, [].append).execute(InProcessCluster(1))
    return {row["image_id"]: row for row in read_table(job.out).to_pylist()}


def interrupt(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carry a run on until its first image has been saved some times; it is saved after each step here."""
    original, saved = WorkLog.write_checkpoint, []

    def stop(self: WorkLog, index: int, content: bytes) -> None:
        if len(saved) == STEPS // 2:
            raise StopError
        saved.append(index)
        original(self, index, content)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_checkpoint", stop)
        with pytest.raises(InternalError, match="StopError"):
            EmbedRun(job, [].append).execute(InProcessCluster(1))


@pytest.mark.parametrize("name", PRESETS)
def test_resumed_runs_have_the_same_rows_and_batches_nearly(
    name: str, tmp_path: Path, generator: Path, vgg: Path, learned_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(name, tmp_path, generator, vgg, learned_file)
    whole = carried_out(job)
    resumed_job = replace(job, out=str(tmp_path / "resumed"))
    interrupt(resumed_job, monkeypatch)
    states = [state_in(path.read_bytes()) for path in (tmp_path / "resumed/work/checkpoints").iterdir()]
    assert [0 < state.step < STEPS for state in states] == [True], "one image is in the middle of its steps"
    resumed = carried_out(resumed_job)
    # The products of several images are summed in another order, which L-BFGS amplifies: hence no equality of bits.
    batched = carried_out(replace(job, out=str(tmp_path / "batched"), config=replace(job.config, batch_size=3)))
    for image_id, row in whole.items():
        again, beside = resumed[image_id], batched[image_id]
        for column in ("latent", "loss", "loss_prior", "loss_curve", "steps", "evaluations", "stop_reason"):
            assert again[column] == row[column], f"{image_id}: {column}"
        np.testing.assert_allclose(beside["latent"], row["latent"], rtol=0, atol=1e-5)
        assert beside["loss"] == pytest.approx(row["loss"], rel=1e-7) and beside["evaluations"] == row["evaluations"]
        assert row["evaluations"] == row["steps"] + 1 <= STEPS + 1
        assert (row["loss_prior"] is None) == (not preset(name).prior), "the penalty is a column of its own"
        terms = sum(row[f"loss_{term}"] for term in ("pixel", "conv1_1", "conv1_2", "conv3_2", "conv4_2"))
        assert terms == pytest.approx(row["loss"], rel=1e-6), "the loss leaves the penalty out"
    record = RunRecord.decode((tmp_path / "out/run.json").read_bytes(), "")
    assert record.preset == name and record.settings.learned == (job.config.embed.learned or None)
    assert i2s_batch.verify(job.out).sound


def test_the_learned_start_and_curvature_reach_a_lower_loss_than_as_many_steps_of_adam(
    tmp_path: Path, generator: Path, vgg: Path, learned_file: Path
) -> None:
    job = job_of("fast", tmp_path, generator, vgg, learned_file)
    fast = carried_out(job)
    adam = EmbedRunConfig(embed=EmbedConfig(steps=STEPS), batch_size=3, precision="fp64")
    paper = carried_out(replace(job, out=str(tmp_path / "adam"), config=adam, learned=None, learned_from=""))
    assert all(fast[image_id]["loss"] < 0.5 * paper[image_id]["loss"] for image_id in fast)


def test_a_target_ends_images_and_says_so(tmp_path: Path, generator: Path, vgg: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        scene(int(name[:2]), (40, 40)).save(tmp_path / "in" / name)
    options = {"generator": generator, "vgg": vgg, "in_process": True, "steps": 60, "progress": False}
    i2s_batch.embed(tmp_path / "in", tmp_path / "all", **options)
    everything = read_table(str(tmp_path / "all")).to_pylist()
    target = float(np.median([row["loss"] for row in everything])) * 1.05
    i2s_batch.embed(tmp_path / "in", tmp_path / "some", target_loss=target, **options)
    rows = read_table(str(tmp_path / "some")).to_pylist()
    reasons = {row["stop_reason"] for row in rows}
    assert "target" in reasons and all((row["loss"] <= target) == (row["stop_reason"] == "target") for row in rows)
    assert all(row["evaluations"] < 61 for row in rows if row["stop_reason"] == "target")
    pages = [(tmp_path / out / "report.html").read_text() for out in ("all", "some")]
    assert ["Evaluations" in page for page in pages] == [False, True], "charted where images differ"
    record = RunRecord.decode((tmp_path / "some/run.json").read_bytes(), "")
    assert f"--target-loss {target}" in str(record.resume_command(str(tmp_path / "some")))


def test_a_learned_file_belongs_to_its_networks_and_run(
    tmp_path: Path, generator: Path, vgg: Path, learned_file: Path
) -> None:
    job = job_of("edit", tmp_path, generator, vgg, learned_file)
    other = tmp_path / "other.safetensors"
    write_safetensors(random_generator("stylegan1", 16, seed=4, width=16, channel_base=256), other)
    with pytest.raises(ConfigError, match="does not belong to this generator: it was learned for the generator"):
        EmbedRun(replace(job, generator=str(other)), print)
    with pytest.raises(ConfigError, match="does not belong to this VGG-16"):
        EmbedRun(replace(job, vgg="random"), print)
    weights = replace(job.config.embed.loss_weights, pixel=2.0)
    heavier = replace(job, config=replace(job.config, embed=replace(job.config.embed, loss_weights=weights)))
    with pytest.raises(ConfigError, match="belongs to other loss weights"):
        EmbedRun(heavier, print)
    assert not Path(job.out).exists(), "all of that is refused before anything is written"

    carried_out(job)
    moved = tmp_path / "moved.safetensors"
    shutil.copy(learned_file, moved)
    common = {"generator": generator, "vgg": vgg, "in_process": True, "progress": False, "precision": "fp64"}
    again = i2s_batch.embed(
        tmp_path / "in", job.out, preset="edit", steps=STEPS, learned=moved, checkpoint_every_s=1e-3, **common
    )
    assert again.images == len(NAMES), "the same file at another path resumes the run"
    second = tmp_path / "second.safetensors"
    i2s_batch.learn(generator, second, vgg=vgg, samples=64, latents=8, seed=1, held_out=0, progress=False)
    with pytest.raises(RunConflictError, match=r"the learned file is .* there, .* was asked"):
        i2s_batch.embed(tmp_path / "in", job.out, preset="edit", steps=STEPS, learned=second, **common)
    i2s_batch.embed(tmp_path / "in", tmp_path / "two", preset="edit", steps=STEPS, learned=second, **common)
    with pytest.raises(RunConflictError, match=r"the learned file is .* only runs that agree can be merged"):
        merge_runs([job.out, str(tmp_path / "two")], str(tmp_path / "merged"), print)


def test_an_image_that_is_searched_for_uses_the_learned_file_of_the_run(
    tmp_path: Path, generator: Path, vgg: Path, learned_file: Path
) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copy(learned_file, copy)
    job = job_of("fast", tmp_path, generator, vgg, copy)
    rows = carried_out(job)
    image = embed_image(job.out, f"{job.source}/02.png")
    np.testing.assert_allclose(image.latent, rows["02.png"]["latent"], rtol=0, atol=1e-4)
    copy.unlink()
    with pytest.raises(CheckpointError, match=r"the learned file is not available here .* give it with --learned"):
        embed_image(job.out, f"{job.source}/02.png")
    given = embed_image(job.out, f"{job.source}/02.png", learned=str(learned_file))
    np.testing.assert_array_equal(given.latent, image.latent)


def test_a_study_refuses_variants_to_which_no_learned_file_belongs(
    tmp_path: Path, generator: Path, vgg: Path, learned_file: Path
) -> None:
    (tmp_path / "in").mkdir()
    scene(1, (40, 40)).save(tmp_path / "in/a.png")
    common = {"generator": generator, "vgg": vgg, "in_process": True, "progress": False, "learned": learned_file}
    with pytest.raises(ConfigError, match="study space takes no learned file: its variants have other"):
        i2s_batch.study(tmp_path / "in", tmp_path / "out", "space", preset="fast", **common)
    with pytest.raises(ConfigError, match="study loss takes no learned file: its variants have other"):
        i2s_batch.study(tmp_path / "in", tmp_path / "out", "loss", preset="fast", **common)
    result = i2s_batch.study(tmp_path / "in", tmp_path / "out", "init", preset="edit", steps=4, **common)
    assert result.images == 2
    settings = json.loads((tmp_path / "out/run.json").read_text())["settings"]
    assert settings["learned"] == load_learned(learned_file).fingerprint and settings["prior"] == 0.2
