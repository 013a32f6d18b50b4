"""The runs behind the saved outputs: each as it was started, so that the same command can resume it.

A run records absolute paths. `/proc/self/cwd` is an absolute path to whatever folder the process is in, so outputs
recorded under it can be used from any checkout: a test copies them into a folder of its own and changes into it.
"""

from __future__ import annotations

from dataclasses import replace

from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig
from i2s_batch.editing import Morph, Render, Style
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.execution import Outcome
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

HERE = "/proc/self/cwd"
BUCKET = "i2s-batch-outputs"
IMAGES = ("cats/0.png", "cats/1.png", "dogs/2.png", "dogs/3.png", "dogs/4.png", "dogs/5 damaged.png")
LIST = "path,label,age\n" + "".join(f"in/{name},label {n},{n}\n" for n, name in enumerate(IMAGES))
# A list whose columns have names that later versions of the table have themselves; the last line is added to it later.
FOLDERS = "path,folder,mode\n" + "".join(f"in/{name},kind {n % 2},{n}\n" for n, name in enumerate(IMAGES[:5]))
_GENERATOR, _VGG = f"{HERE}/generator.safetensors", f"{HERE}/vgg.pth"

AnyJob = EmbedRunRequest | EditRunRequest


def _embed(out: str, config: EmbedRunConfig, source: str = f"{HERE}/in") -> EmbedRunRequest:
    return EmbedRunRequest(source, f"{HERE}/{out}", _GENERATOR, _VGG, config)


def _study(out: str, config: StudyConfig) -> StudyRunRequest:
    return StudyRunRequest(f"{HERE}/in", f"{HERE}/{out}", _GENERATOR, _VGG, config)


def _edit(out: str, request: Morph | Style | Render, config: EditConfig) -> EditRunRequest:
    return EditRunRequest((f"{HERE}/finished",), f"{HERE}/{out}", _GENERATOR, request, config)


# float64, so that a run on another machine can be compared with them; the damaged image may fail.
_STUDY = StudyConfig(
    embed=EmbedConfig(steps=10), precision="fp64", batch_size=2, checkpoint_every_s=0.01, sample=2, shard_size=8
)
_ADAM = EmbedRunConfig(
    embed=EmbedConfig(steps=40), precision="fp64", batch_size=2, checkpoint_every_s=0.01, shard_size=2
)
_LBFGS = replace(
    _ADAM,
    embed=EmbedConfig(
        steps=130, space="z", init="random", seed=7, optimizer="lbfgs", stop_plateau=0.5, plateau_steps=30
    ),
    batch_size=3,
)

FINISHED = _embed(
    "finished", EmbedRunConfig(embed=EmbedConfig(steps=8), batch_size=4, shard_size=3), f"{HERE}/list.csv"
)
CLASHING = _embed("clashing", _ADAM, f"{HERE}/folders.csv")
MORPH = _edit("morph", Morph((0.0, 0.5, 1.0), "chain"), EditConfig(animation="webp"))
RENDER = _edit("render", Render(), EditConfig(picture_format="webp"))

STOPPED: dict[str, AnyJob] = {
    "killed": _embed("killed", _ADAM),
    "killed-edit": _edit("killed-edit", Style("all-pairs"), EditConfig(shard_size=2)),
    "stopped-lbfgs": _embed("stopped-lbfgs", _LBFGS),
    "stopped-steps": _study("stopped-steps", replace(_STUDY, study="steps", embed=EmbedConfig(steps=30))),
    "stopped-iterate": _study("stopped-iterate", replace(_STUDY, study="iterate", embed=EmbedConfig(steps=10))),
    "stopped-transforms": _study(
        "stopped-transforms", replace(_STUDY, study="transforms", embed=EmbedConfig(steps=10))
    ),
}
ON_S3 = EmbedRunRequest(f"s3://{BUCKET}/in", f"s3://{BUCKET}/out", _GENERATOR, _VGG, _ADAM)


def carry_out(job: AnyJob) -> Outcome:
    """Start or resume a run with one worker in this process, and carry it to its end."""
    run: EmbedRun | EditRun
    if isinstance(job, EditRunRequest):
        run = EditRun(job, generator_weights(job.generator), _ignore)
    elif isinstance(job, StudyRunRequest):
        run = StudyRun(job, _ignore)
    else:
        run = EmbedRun(job, _ignore)
    return run.execute(InProcessCluster(1))


def _ignore(line: str) -> None:
    """Drop a line of progress."""
