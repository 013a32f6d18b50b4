"""Defines the options of embed(), edit() and study(): the command line's, with underscores and the same defaults.

A `TypedDict` states each option once, with its type: type checkers read it, and so does `checked`, which refuses what a
call without a type checker gets wrong. Standard library only.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, TypedDict, TypeVar, cast, get_args, get_origin, get_type_hints

from i2s_batch.config import EditConfig, EmbedConfig, EmbedRunConfig, RunConfig
from i2s_batch.errors import ConfigError
from i2s_batch.sources.options import SourceOptions
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig


class RunOptions(TypedDict, total=False):
    """Holds the options of every run.

    Attributes:
        batch_size: The number of images in a batch; "auto" (the default) takes what is fastest and fits into memory.
        actors: The number of workers; "auto" (the default) takes one per GPU, or one per CPU core.
        in_process: True works with one worker in this very process, without Ray. Default: False.
        precision: The arithmetic: fp32 (the default), tf32, bf16 or fp64.
        device: The device: auto (the default), cpu or cuda.
        shard_size: The number of rows per Parquet file. Default: 1000.
        max_failed_fraction: The fraction of images that may fail before the result is not `acceptable`. Default: 0.1.
        retry_failed: True tries images again whose row is not ok. Default: False.
    """

    batch_size: int | Literal["auto"]
    actors: int | Literal["auto"]
    in_process: bool
    precision: str
    device: str
    shard_size: int
    max_failed_fraction: float
    retry_failed: bool


class ImageOptions(RunOptions, total=False):
    """Holds the options that say how an image is embedded.

    Attributes:
        steps: The number of optimizer steps per image. Default: 5000.
        optimizer: The optimizer: adam (the default) or lbfgs.
        space: The latent space: w+ (the default), w or z.
        init: The start: mean (the default) or random.
        seed: The seed of everything that is drawn at random. Default: 0.
        fit: The way to a square: crop (the default), pad or stretch.
        early_stopping: The minimum improvement of the best loss, in percent, within `patience` steps; an image that
            improves less ends early. Default: None, every image takes all steps.
        patience: The number of steps within which `early_stopping` expects its improvement. Default: 250.
        compile: True compiles the step of a full batch; None (the default) does so where it is worth it, on a GPU.
        checkpoint_every_s: The seconds between two checkpoints of the images in flight. Default: 60.
        path_column: The column of a list that holds the paths. Default: None, the first with a usual name.
        include: Patterns of the files to embed, such as ["*.png"], whatever the case. Default: all files.
        exclude: Patterns of the files to leave out. Default: none.
        limit: The largest number of images, the first by their ids. Default: None, all.
    """

    steps: int
    optimizer: str
    space: str
    init: str
    seed: int
    fit: str
    early_stopping: float | None
    patience: int
    compile: bool | None
    checkpoint_every_s: float
    path_column: str | None
    include: Sequence[str]
    exclude: Sequence[str]
    limit: int | None


class EmbedOptions(ImageOptions, total=False):
    """Holds the options of embed().

    Attributes:
        update: True embeds what is new or has changed in the source since the run was planned. Default: False.
    """

    update: bool


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
        animation: The format of an animation of every sequence, beside single images: webp, gif, mp4 or none. The
            default is the edit's own.
        fps: The images per second of an animation. Default: 12.
        side_by_side: True writes each image beside its photograph, too, in OUT/side-by-side/; of a render alone.
            Default: False.
    """

    where: str | None
    ids: Sequence[str] | None
    format: str
    animation: str | None
    fps: float
    side_by_side: bool


Options = TypeVar("Options", EmbedOptions, StudyOptions, EditRunOptions)

# Names that somebody may know from run.json, from settings in Python or from earlier versions.
_OTHER_NAMES = {
    "grow": "update",
    "stop_plateau": "early_stopping",
    "plateau_steps": "patience",
    "checkpoint_every": "checkpoint_every_s",
    "classes": "class_column",
    "picture_format": "format",
    "frames_per_second": "fps",
}
# What is taken for a value of a type, and the type in words.
_PLAIN: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    NoneType: (NoneType, "None"),
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
    return cast(Options, {name: _plain(name, value, hints[name]) for name, value in options.items()})


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = [_OTHER_NAMES[name]] if _OTHER_NAMES.get(name) in names else difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(names))}"


def _plain(name: str, value: object, hint: Any) -> object:
    """Return a value as the type `hint` has it; ConfigError if it is of no such type."""
    types = (hint,) if hint in _PLAIN or get_origin(hint) in (Literal, get_origin(Sequence[str])) else get_args(hint)
    for each in types:
        if _fits(value, each):
            return each(value) if each in _PLAIN and value is not None else value
    wanted = " or ".join(_worded(each) for each in types)
    raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); it must be {wanted}")


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is not None:
        return _is_sequence_of_texts(value)
    if isinstance(value, bool):  # which is an Integral, too
        return kind is bool
    return isinstance(value, _PLAIN[kind][0])


def _is_sequence_of_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _worded(kind: Any) -> str:
    """Return a type in words."""
    if kind in _PLAIN:
        return _PLAIN[kind][1]
    return " or ".join(map(repr, get_args(kind))) if get_origin(kind) is Literal else "a sequence of texts"


def path_or_url(name: str, value: str | os.PathLike[str]) -> str:
    """Return a path or URL as text; ConfigError, with the argument's `name`, for what is neither."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(text := os.fspath(value), str):
        raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); give a path or a URL")
    return text


def embed_run_config(options: EmbedOptions) -> EmbedRunConfig:
    """Return the settings of an embedding run. Raises ConfigError."""
    options = checked(options, EmbedOptions, "embed")
    usual = EmbedRunConfig()
    return EmbedRunConfig(
        **vars(_run_config(options)),
        embed=_embed_config(options),
        checkpoint_every_s=options.get("checkpoint_every_s", usual.checkpoint_every_s),
        grow=options.get("update", usual.grow),
    )


def source_options(options: ImageOptions) -> SourceOptions:
    """Return how the source is to be read, from options that are checked. Raises ConfigError."""
    limit = options.get("limit")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1, or None for all images")
    patterns = (tuple(options.get("include", ())), tuple(options.get("exclude", ())))
    return SourceOptions(options.get("path_column"), *patterns, limit)


def study_config(study: str, options: StudyOptions) -> StudyConfig:
    """Return the settings of a study. Raises ConfigError."""
    options = checked(options, StudyOptions, "study")
    varied = (STUDIES.get(study).varies or "").removeprefix("--").replace("-", "_")
    if varied in options:
        raise ConfigError(f"{varied} has no effect in the study {study}, which tries every value of it; leave it out")
    usual = StudyConfig()
    return StudyConfig(
        **vars(_run_config(options)),
        embed=_embed_config(options),
        checkpoint_every_s=options.get("checkpoint_every_s", usual.checkpoint_every_s),
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
        animation=animation,
        frames_per_second=options.get("fps", usual.frames_per_second),
        side_by_side=options.get("side_by_side", usual.side_by_side),
    )


def _run_config(options: RunOptions) -> RunConfig:
    usual = RunConfig()
    return RunConfig(
        precision=options.get("precision", usual.precision),
        device=options.get("device", usual.device),
        batch_size=_or_auto(options.get("batch_size", "auto")),
        actors=_or_auto(options.get("actors", "auto")),
        shard_size=options.get("shard_size", usual.shard_size),
        retry_failed=options.get("retry_failed", usual.retry_failed),
        max_failed_fraction=options.get("max_failed_fraction", usual.max_failed_fraction),
        in_process=options.get("in_process", usual.in_process),
    )


def _or_auto(value: int | Literal["auto"]) -> int | None:
    return None if value == "auto" else value


def _embed_config(options: ImageOptions) -> EmbedConfig:
    usual = EmbedConfig()
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
        stop_plateau=early_stopping,
        plateau_steps=options.get("patience", usual.plateau_steps),
        compile=options.get("compile", usual.compile),
    )
