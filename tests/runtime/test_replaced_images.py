"""An image file that is replaced between a checkpoint and its resume: never a row of two images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import InternalError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.units import Task
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.storage import open_store
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.material import scene, upload
from tests.runs import job_over, state_in

STEPS = 40
EMBED = EmbedConfig(steps=STEPS)
CONFIG = EmbedRunConfig(embed=EMBED, batch_size=3, precision="fp64", checkpoint_every_s=1e-3)
NAMES = ("01.png", "02.png", "03.png")


class StopError(Exception):
    """What ends a run here."""


def go(run: EmbedRun) -> None:
    run.execute(InProcessCluster(1))


def embedding(job: EmbedRunRequest, said: list[str] | None = None) -> EmbedRun:
    return EmbedRun(job, [].append if said is None else said.append)


def stopped(run: EmbedRun, monkeypatch: pytest.MonkeyPatch, when: Callable[[Task], bool] = lambda task: True) -> None:
    """Carry a run on to the first row for which `when` holds, which is not written; checkpoints are there."""
    original = WorkLog.write_rows

    def stop(self: WorkLog, task: Task, rows: list) -> object:
        if when(task):
            raise StopError
        return original(self, task, rows)

    with monkeypatch.context() as patch:
        patch.setattr(WorkLog, "write_rows", stop)
        # One writer at a time: what was finished before is durable.
        patch.setattr("i2s_batch.embedding.embed_worker.WRITER_THREADS", 1)
        with pytest.raises(InternalError, match="StopError"):
            go(run)


def saved_steps(out: str) -> dict[str, int]:
    store = open_store(out)
    states = [state_in(store.get(info.key)) for info in store.list(RunLayout.checkpoints_prefix)]
    return {state.image_id: state.step for state in states}


def latents(out: str) -> dict[str, np.ndarray]:
    return {row["image_id"]: np.array(row["latent"]) for row in read_table(out).to_pylist()}


def check_alike(out: str, fresh: str) -> None:
    """Every latent of `out` is that of a run that nothing happened to."""
    found, wanted = latents(out), latents(fresh)
    assert found.keys() == wanted.keys()
    for image_id, latent in found.items():
        np.testing.assert_allclose(latent, wanted[image_id], rtol=0, atol=1e-6, err_msg=image_id)


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, NAMES, generator, vgg, CONFIG)


def test_its_image_restarts_and_the_log_says_so(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(embedding(job), monkeypatch)
    steps = saved_steps(job.out)
    assert steps.keys() == set(NAMES) and min(steps.values()) > 0
    scene(77, (40, 40)).save(Path(job.source) / "02.png")
    said: list[str] = []
    run = embedding(job, said)
    made = run.execute(InProcessCluster(1)).summary.this_session.steps
    assert made == STEPS + sum(STEPS - steps[name] for name in ("01.png", "03.png")), "the others resume"
    told = [line for line in said if "has changed since its checkpoint" in line]
    assert len(told) == 1 and "'02.png'" in told[0] and "restarts at step 0" in told[0]
    fresh = replace(job, out=f"{job.out}-fresh")
    go(embedding(fresh))
    check_alike(job.out, fresh.out)


def test_on_s3_too(job: EmbedRunRequest, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(job.source)
    job = replace(job, source=f"s3://{s3_bucket}/in", out=f"s3://{s3_bucket}/out")
    upload(source, job.source)
    stopped(embedding(job), monkeypatch)
    assert saved_steps(job.out).keys() == set(NAMES)
    scene(77, (40, 40)).save(source / "02.png")
    upload(source, job.source)
    go(embedding(job))
    fresh = replace(job, out=f"s3://{s3_bucket}/fresh")
    go(embedding(fresh))
    check_alike(job.out, fresh.out)


def test_a_grown_run_whose_changed_image_changes_again(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    go(embedding(job))
    grown = replace(job, config=replace(CONFIG, grow=True))
    scene(77, (40, 40)).save(Path(job.source) / "02.png")
    stopped(embedding(grown), monkeypatch)
    assert saved_steps(job.out).keys() == {"02.png"}
    scene(78, (40, 40)).save(Path(job.source) / "02.png")
    go(embedding(grown))
    fresh = replace(job, out=f"{job.out}-fresh")
    go(embedding(fresh))
    check_alike(job.out, fresh.out)


def test_an_image_that_comes_back_as_it_was_resumes(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content counts, not the time of the file."""
    stopped(embedding(job), monkeypatch)
    before = saved_steps(job.out)
    for name in NAMES:
        content = (Path(job.source) / name).read_bytes()
        (Path(job.source) / name).unlink()
        (Path(job.source) / name).write_bytes(content)
    made = embedding(job).execute(InProcessCluster(1)).summary.this_session.steps
    assert made == sum(STEPS - step for step in before.values())


def study_of(job: EmbedRunRequest, name: str) -> StudyRunRequest:
    config = StudyConfig(
        embed=EMBED,
        batch_size=1,
        precision="fp64",
        checkpoint_every_s=1e-3,
        study=name,
        sample=1,
        max_failed_fraction=1,
    )
    return StudyRunRequest(job.source, job.out, job.generator, job.vgg, config)


def study(job: StudyRunRequest) -> StudyRun:
    return StudyRun(job, [].append)


def in_variant(name: str) -> Callable[[Task], bool]:
    return lambda task: task.image_id.startswith(f"{name}/")


def changed_picture(job: StudyRunRequest, picture: str) -> None:
    """Put another image in the place of one of the source."""
    scene(77, (40, 40)).save(Path(job.source) / picture)


def planned_picture(job: StudyRunRequest) -> str:
    (key,) = {row["picture"] for row in StudyRun(job, [].append).plan().rows(range(1)).to_pylist()}
    return str(key)


def test_a_variant_of_more_steps_does_not_go_on_with_another_image(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variant of fewer steps leaves the state that the next one continues."""
    steps = study_of(job, "steps")
    picture = planned_picture(steps)
    stopped(study(steps), monkeypatch, in_variant("steps-40"))
    assert any(image_id.startswith("steps-40/") for image_id in saved_steps(job.out))
    changed_picture(steps, picture)
    go(study(steps))
    fresh = replace(steps, out=f"{job.out}-fresh")
    go(study(fresh))
    name = f"steps-40/{picture}"
    np.testing.assert_allclose(latents(steps.out)[name], latents(fresh.out)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "variant", "key"),
    [
        ("iterate", "round-2", "pictures/round-1/{}.png"),
        ("transforms", "rotate-90", "inputs/rotate-90/{}.png"),
    ],
)
def test_a_picture_that_a_study_made_and_somebody_replaced(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, name: str, variant: str, key: str
) -> None:
    job = study_of(job, name)
    picture = planned_picture(job)
    stopped(study(job), monkeypatch, in_variant(variant))
    (image_id,) = [found for found in saved_steps(job.out) if found.startswith(f"{variant}/")]
    other = Path(job.out) / key.format(picture)
    assert other.is_file()
    scene(77, (16, 16)).save(other)
    go(study(job))
    single = EmbedRunRequest(str(other), f"{job.out}-fresh", job.generator, job.vgg, replace(CONFIG, batch_size=1))
    go(embedding(single))
    ((_, wanted),) = latents(single.out).items()
    np.testing.assert_allclose(latents(job.out)[image_id], wanted, rtol=0, atol=1e-6)
