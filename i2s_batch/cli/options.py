"""Defines the options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from i2s_batch.cli.help_groups import EMBEDDING, INPUT, RUN, SPEED, option
from i2s_batch.cli.option_types import AutoOr, Checkpoint, Location, Weights
from i2s_batch.cli.preset_option import preset_option
from i2s_batch.cli.settings_file import config_option
from i2s_batch.config import (
    ALIGNMENTS,
    AUTO_PRECISION,
    DEVICES,
    FACES,
    FITS,
    NOISE_OBJECTIVES,
    PRECISIONS,
    SPACES,
    TERMS,
    EmbedConfig,
    RunConfig,
)
from i2s_batch.engine_registries import INITIALISATIONS, OPTIMIZERS

F = TypeVar("F", bound=Callable[..., Any])


_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)  # the latter: by the file of --config


def is_given(option: str, among: Sequence[ParameterSource] = _GIVEN) -> bool:
    """Return True if the option, such as "--fps", is on the command line, or in --config, whatever its value."""
    context = click.get_current_context()
    sources = {name: each.name for each in context.command.params for name in each.opts}
    return context.get_parameter_source(sources.get(option) or "") in among


def refuse_without_effect(options: Sequence[str], unless: str, among: Sequence[ParameterSource] = _GIVEN) -> None:
    """Refuse those of the options that are given: they have no effect `unless` something else is given, too."""
    for name in options:
        if is_given(name, among):
            raise click.UsageError(f"{name} has no effect {unless}; leave it out")


def add_debug(command: click.Command) -> None:
    """Give a command, and those below it, the option `--debug`, which `cli.main` looks for."""
    text = "Show the traceback of an internal error at once, as I2S_DEBUG=1 does."
    command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=text))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        add_debug(below)


def embed_options(command: F) -> F:
    """Give a command the options of the images and networks, and those of `config.EmbedConfig`."""
    return _decorated(command, _network_options() + _embedding_options())


def _decorated(command: F, options: Sequence[Callable[[F], F]]) -> F:
    """Return the command with the options, which `--help` shows in their order."""
    for each in reversed(options):
        command = each(command)
    return command


def _network_options() -> list[Callable[[F], F]]:
    return [
        option(
            "--generator",
            group=INPUT,
            type=Checkpoint(),
            required=True,
            metavar="CHECKPOINT",
            help="StyleGAN checkpoint: a path, s3://, https://, or a name of `weights list`.",
        ),
        option(
            "--vgg",
            group=INPUT,
            type=Location("imagenet", "random"),
            default="imagenet",
            metavar="WEIGHTS",
            help="VGG-16 weights of the perceptual loss: imagenet, random, a path or a URL.",
        ),
        option(
            "--fit",
            group=INPUT,
            type=click.Choice(FITS),
            default="crop",
            help="Fitting to the generator's square: crop the middle, pad with black, or stretch.",
        ),
    ]


def _preset_options() -> list[Callable[[F], F]]:
    return [
        preset_option(),
        option(
            "--learned",
            group=EMBEDDING,
            type=Location(),
            default=None,
            metavar="FILE",
            help="Learned file, a path or URL, which all presets but paper need; `i2s-batch learn` writes it. "
            "Default: none.",
        ),
    ]


def _stopping_options() -> list[Callable[[F], F]]:
    return [
        option(
            "--target-loss",
            group=EMBEDDING,
            type=float,
            default=None,
            metavar="LOSS",
            help="Loss at which an image ends. Default: none, every image takes all --steps.",
        ),
        option(
            "--target-psnr",
            group=EMBEDDING,
            type=float,
            default=None,
            metavar="DB",
            help="PSNR in dB, of the image before it is rounded, at which an image ends. Default: none.",
        ),
        option(
            "--prior",
            group=EMBEDDING,
            type=float,
            default=0.0,
            metavar="WEIGHT",
            help="Weight of the penalty on latents that are unlikely for the generator, which keeps them where edits "
            "work; above 0 it needs --learned.",
        ),
    ]


def _embedding_options() -> list[Callable[[F], F]]:
    return [
        *_preset_options(),
        option("--steps", group=EMBEDDING, default=5000, help="Optimizer steps per image."),
        option(
            "--optimizer",
            group=EMBEDDING,
            type=click.Choice(OPTIMIZERS.names),
            default="adam",
            help="Optimizer: adam is the paper's; lbfgs needs fewer --steps for the same loss; lbfgs-learned needs the "
            "fewest, and --learned.",
        ),
        option(
            "--early-stopping",
            group=EMBEDDING,
            aliases=["--stop-plateau"],
            type=float,
            default=None,
            metavar="PERCENT",
            help="Minimum improvement of the best loss, in percent, within --patience steps; an image that improves "
            "less ends early. Default: none, every image takes all --steps.",
        ),
        option(
            "--patience",
            group=EMBEDDING,
            aliases=["--plateau-steps"],
            default=250,
            help="Steps within which --early-stopping expects its minimum improvement.",
        ),
        *_stopping_options(),
        option(
            "--space",
            group=EMBEDDING,
            type=click.Choice(SPACES),
            default="w+",
            help="Latent space that is searched: w+ has a vector per layer, w one for all, z is the mapping's input.",
        ),
        option(
            "--init",
            group=EMBEDDING,
            type=click.Choice(INITIALISATIONS.names),
            default="mean",
            help="Start of the optimization; the mean latent suits faces, learned is predicted from each image.",
        ),
        option("--seed", group=EMBEDDING, default=0, help="Seed of everything that is drawn at random."),
        option("--learning-rate", group=EMBEDDING, default=0.01, help="Learning rate of Adam."),
        option("--beta1", group=EMBEDDING, default=0.9, help="Decay of Adam's mean of the gradients."),
        option("--beta2", group=EMBEDDING, default=0.999, help="Decay of Adam's mean of their squares."),
        option("--epsilon", group=EMBEDDING, default=1e-8, help="Term added to the denominator of an Adam step."),
        option(
            "--loss-weights",
            group=EMBEDDING,
            type=Weights(),
            default=None,
            metavar="TERM=WEIGHT,...",
            help=f"Weights of loss terms, such as pixel=1,conv3_2=0.5; terms: {', '.join(TERMS)}. Default: 1, "
            "also for a term that is not named; 0 leaves a term out.",
        ),
        config_option(),
    ]


def noise_options(command: F) -> F:
    """Give a command the options of the noise stage."""
    usual = EmbedConfig()
    options = [
        option(
            "--noise-steps",
            group=EMBEDDING,
            default=usual.noise_steps,
            help="Steps of the noise stage: after the latent, the noise maps of each image are optimized too, and "
            "written to OUT/noise/. 0 keeps the stored noise.",
        ),
        option(
            "--noise-objective",
            group=EMBEDDING,
            type=click.Choice(NOISE_OBJECTIVES),
            default=usual.noise_objective,
            help="Objective of the noise stage: the pixel term alone, which is fastest, or the whole loss.",
        ),
        option(
            "--noise-learning-rate",
            group=EMBEDDING,
            default=usual.noise_learning_rate,
            help="Learning rate of Adam in the noise stage.",
        ),
        option(
            "--noise-penalty",
            group=EMBEDDING,
            default=usual.noise_penalty,
            help="Weight of the mean squared distance of the noise maps' effects from those of the stored ones.",
        ),
    ]
    return _decorated(command, options)


# `Any`: what a command is called with by click, a value of another type for each option.
def run_arguments(**options: Any) -> dict[str, Any]:
    """Return the options of a run as those of Python's functions, which do not take what has no effect."""
    if not options["overwrite"]:
        refuse_without_effect(["--yes"], "without --overwrite")
    options = {name: value for name, value in options.items() if name != "yes"}
    if "early_stopping" in options and options["early_stopping"] is None:
        refuse_without_effect(["--patience"], "without --early-stopping")
        del options["patience"]
    if options.get("preset", "") is None:
        del options["preset"]
    if "align" in options and options["align"] is None:
        refuse_without_effect(["--faces", "--face-model"], "without --align")
        options = {name: value for name, value in options.items() if name not in ("faces", "face_model")}
    if "noise_steps" in options and not options["noise_steps"]:
        names = ("noise_objective", "noise_learning_rate", "noise_penalty")
        refuse_without_effect([f"--{name.replace('_', '-')}" for name in names], "without --noise-steps")
        options = {name: value for name, value in options.items() if name not in names}
    for name in ("batch_size", "actors"):
        options[name] = "auto" if options[name] is None else options[name]
    return options


def embed_run_options(command: F) -> F:
    """Give a command that embeds the options of `config.EmbedRunConfig` beside those of every run."""
    options = [
        option(
            "--checkpoint-every",
            "checkpoint_every_s",
            group=RUN,
            default=60.0,
            metavar="SECONDS",
            help="Seconds between two checkpoints of the images in flight.",
        ),
        option(
            "--tune-seconds",
            "tune_s",
            group=SPEED,
            default=240.0,
            metavar="SECONDS",
            help="Seconds that a worker on a GPU may measure how its steps run fastest, with --batch-size auto; what "
            "it finds is cached, and 0 measures nothing.",
        ),
        option(
            "--source-moved",
            group=RUN,
            is_flag=True,
            help="Take SOURCE for the source of the run in OUT at its new path, if some of its images prove to be the "
            "same.",
        ),
        option(
            "--compile/--no-compile",
            group=SPEED,
            default=None,
            help="Compile the step of a full batch. Default: only on a GPU in tf32 or bf16, from 256 pixels on.",
        ),
    ]
    return run_options(_decorated(command, options), embeds=True)


def align_options(command: F) -> F:
    """Give a command the options of what of each image is embedded."""
    options = [
        option(
            "--align",
            group=INPUT,
            type=click.Choice(ALIGNMENTS),
            default=None,
            help="Alignment of faces: ffhq turns, scales and crops each image so that its face is where FFHQ has it. "
            "Default: images are embedded as they are.",
        ),
        option(
            "--faces",
            group=INPUT,
            type=click.Choice(FACES),
            default="largest",
            help="Faces of an image that are aligned: the largest, or all of them, which only i2s-batch align does.",
        ),
        face_model_option(),
        option(
            "--box",
            group=INPUT,
            default=None,
            metavar="X0,Y0,X1,Y1",
            help="Columns of a list, one with four numbers or four of them, with the part of each image to embed, in "
            "pixels. Default: whole images.",
        ),
    ]
    return _decorated(command, options)


def face_model_option() -> Callable[[F], F]:
    """Return what gives a command the option of the face detector's model."""
    return option(
        "--face-model",
        group=INPUT,
        default=None,
        metavar="FILE",
        help="Model file of the face detector, CenterFace in ONNX, on every machine that works. Default: that of "
        "the package which pip install 'i2s_batch[align]' installs.",
    )


def source_options(command: F) -> F:
    """Give a command the options of how SOURCE is read and which of its images are meant (`sources.options`)."""
    options = [
        option(
            "--path-column",
            group=INPUT,
            default=None,
            metavar="NAME",
            help="Column of a list that holds the paths. Default: the first with a usual name, such as path.",
        ),
        option(
            "--image-column",
            group=INPUT,
            default=None,
            metavar="NAME",
            help="Column of Parquet files that holds images. Default: the only one that can be meant, such as image.",
        ),
        option(
            "--include",
            group=INPUT,
            multiple=True,
            metavar="PATTERN",
            help="Take only files whose name, or path below SOURCE if it holds a /, fits this pattern, such as "
            "'*.{jpg,png}'. May be given several times; the case does not matter. Default: all files.",
        ),
        option(
            "--exclude",
            group=INPUT,
            multiple=True,
            metavar="PATTERN",
            help="Leave out files whose name, or path below SOURCE, fits this pattern. May be given several times. "
            "Default: none.",
        ),
        option(
            "--where",
            group=INPUT,
            default=None,
            metavar="SQL",
            help="Take only images that fulfil a condition on columns of the list or archive, such as 'width >= 512'. "
            "Default: all.",
        ),
        option(
            "--limit",
            group=INPUT,
            type=click.IntRange(1),
            default=None,
            metavar="N",
            help="Take only the first N images by their ids. Default: all.",
        ),
    ]
    return _decorated(command, options)


def min_size_option(command: F) -> F:
    """Give a command the option of the smallest images that it takes."""
    return option(
        "--min-size",
        group=INPUT,
        type=click.IntRange(1),
        default=None,
        metavar="PIXELS",
        help="Smallest side of an image in pixels; smaller images are left out as too_small, which is no failure. "
        "Default: all are taken.",
    )(command)


def run_options(command: F, embeds: bool = False) -> F:
    """Give a command the options of every run, which are `config.RunConfig`; `embeds`: whether it embeds images."""
    usual = AUTO_PRECISION if embeds else RunConfig.precision
    auto = "auto is the fastest that is as good as fp32 on the device, and " if embeds else ""
    options = [
        option("--dry-run", group=RUN, is_flag=True, help="Print as JSON what would be done, and stop."),
        option("--retry-failed", group=RUN, is_flag=True, help="Try the images again whose row is not ok."),
        option(
            "--overwrite",
            group=RUN,
            is_flag=True,
            help="Delete the run that OUT holds and begin anew; a terminal is asked first, other files in OUT stay.",
        ),
        option("--yes", "-y", group=RUN, is_flag=True, help="Answer the question of --overwrite with yes."),
        option(
            "--max-failed-fraction",
            group=RUN,
            default=0.1,
            help="Fraction of the images that may fail, from 0 to 1; with more the exit status is 1.",
        ),
        option("--shard-size", group=RUN, default=1000, help="Rows per Parquet file of the table."),
        option(
            "--device",
            group=SPEED,
            type=click.Choice(DEVICES),
            default="auto",
            help="Device of the workers; auto takes the GPUs if there are any.",
        ),
        option(
            "--precision",
            group=SPEED,
            type=click.Choice((AUTO_PRECISION, *PRECISIONS) if embeds else PRECISIONS),
            default=usual,
            help=f"Precision of the networks; {auto}tf32 and bf16 are faster on a GPU.",
        ),
        option(
            "--batch-size",
            group=SPEED,
            type=AutoOr(),
            default="auto",
            help="Images in a batch of one worker; auto suits the device.",
        ),
        option(
            "--actors",
            group=SPEED,
            type=AutoOr(),
            default="auto",
            help="Number of workers; auto is one per GPU, or one per CPU core as far as memory goes.",
        ),
        option(
            "--in-process/--no-in-process",
            group=SPEED,
            default=None,
            help="Work in this very process with one worker, without Ray. Default: where Ray gains nothing (one GPU, "
            "up to two CPU cores, some seconds), unless more --actors or a Ray cluster is given.",
        ),
    ]
    return _decorated(command, options)
