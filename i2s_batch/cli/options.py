"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from i2s_batch.config import DEVICES, FITS, PRECISIONS, SPACES, EmbedConfig
from i2s_batch.engine_registries import INITIALISATIONS, OPTIMIZERS
from i2s_batch.sources.options import SourceOptions
from i2s_batch.storage.urls import is_url

if TYPE_CHECKING:
    _WholeOrNone: TypeAlias = click.ParamType[int | None]
    _Text: TypeAlias = click.ParamType[str]
else:
    _WholeOrNone = _Text = click.ParamType  # which older releases of Click cannot subscript

F = TypeVar("F", bound=Callable[..., Any])


class AutoOr(_WholeOrNone):
    """`auto` (None) or a positive whole number."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            number = int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither 'auto' nor a whole number from 1 up", param, ctx)
        return number


class Location(_Text):
    """A path or a URL. A recorded command holds a path as an absolute one (`run.command_words`); `names` are the values
    that mean no file."""

    name = "text"

    def __init__(self, *names: str) -> None:
        self.names = names

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def absolute(self, value: str) -> str:
        """Return the value as it means the same from any folder."""
        return value if is_url(value) or value in self.names else str(Path(value).absolute())


def is_given(option: str) -> bool:
    """Return whether the command line of this command has the option, such as "--fps", whatever its value."""
    context = click.get_current_context()
    sources = {name: each.name for each in context.command.params for name in each.opts}
    return context.get_parameter_source(sources.get(option) or "") is ParameterSource.COMMANDLINE


def refuse_without_effect(options: Sequence[str], unless: str) -> None:
    """Refuse each of the options that the command line has: nothing would come of it `unless` something else is."""
    for option in options:
        if is_given(option):
            raise click.UsageError(f"{option} has no effect {unless}; leave it out")


class Renamed(click.Option):
    """An option that is shown under its first name; the others are old ones, which keep working."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's line in `--help`."""
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def add_debug(command: click.Command) -> None:
    """Let a command, and those below it, take `--debug`, which `cli.main` looks for."""
    text = "Show the traceback of a fault of this program at once, as I2S_DEBUG=1 does."
    command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=text))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        add_debug(below)


def embed_options(command: F) -> F:
    """With what pictures are embedded, and how each is: the networks, and `config.EmbedConfig`."""
    options = [
        click.option(
            "--generator", type=Location(), required=True, help="StyleGAN checkpoint: a path, s3:// or https://."
        ),
        click.option(
            "--vgg",
            type=Location("imagenet", "random"),
            default="imagenet",
            show_default=True,
            help="VGG-16 weights: imagenet, random, path or URL.",
        ),
        click.option("--steps", default=5000, show_default=True, help="Of the optimizer, an image."),
        click.option(
            "--optimizer",
            type=click.Choice(OPTIMIZERS.names),
            default="adam",
            show_default=True,
            help="adam is the paper's; lbfgs needs fewer --steps.",
        ),
        click.option("--space", type=click.Choice(SPACES), default="w+", show_default=True, help="Latent space."),
        click.option(
            "--init",
            type=click.Choice(INITIALISATIONS.names),
            default="mean",
            show_default=True,
            help="mean suits faces.",
        ),
        click.option("--seed", default=0, show_default=True, help="Of everything that is drawn at random."),
        click.option("--fit", type=click.Choice(FITS), default="crop", show_default=True, help="To the square."),
        click.option(
            "--stop-plateau",
            type=float,
            default=None,
            metavar="PERCENT",
            help="End an image early whose best loss gained less than this in --plateau-steps.",
        ),
        click.option("--plateau-steps", default=250, show_default=True, help="Of --stop-plateau."),
        click.option(
            "--compile/--no-compile",
            default=None,
            help="Compile the step of a full batch. Default: on a GPU in tf32 or bf16, from 256 pixels on.",
        ),
        click.option(
            "--checkpoint-every",
            "checkpoint_every_s",
            default=60.0,
            show_default=True,
            metavar="SECONDS",
            help="Save images in flight.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


# `Any`: what a command is called with by click, a value of another type for each option.
def take_embed_config(options: dict[str, Any]) -> EmbedConfig:
    """Take the options out that say how an image is embedded."""
    if options["stop_plateau"] is None:
        refuse_without_effect(["--plateau-steps"], "without --stop-plateau")
    names = ("steps", "space", "init", "seed", "fit", "optimizer", "stop_plateau", "plateau_steps", "compile")
    return EmbedConfig(**{name: options.pop(name) for name in names})


def source_options(command: F) -> F:
    """Add the options that say how SOURCE is read and which of its images are meant (`sources.options`)."""
    options = [
        click.option(
            "--path-column",
            default=None,
            metavar="NAME",
            help="The column of a list that holds the paths. Default: the first with a usual name, such as path or "
            "file_name.",
        ),
        click.option(
            "--include",
            multiple=True,
            metavar="PATTERN",
            help="Take only files whose name, or path below SOURCE if it holds a /, fits this pattern, such as "
            "'*.{jpg,png}'. May be given several times; the case does not matter.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="PATTERN",
            help="Leave out files whose name, or path below SOURCE, fits this pattern. May be given several times.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(1),
            default=None,
            metavar="N",
            help="Take only the first N images by their ids. Default: all.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


# `Any`: what a command is called with by click, a value of another type for each option.
def take_source_options(options: dict[str, Any]) -> SourceOptions:
    """Take the options out that say how SOURCE is read."""
    return SourceOptions(**{name: options.pop(name) for name in ("path_column", "include", "exclude", "limit")})


def run_options(command: F) -> F:
    """How a run is carried out, as `config.RunConfig` names it."""
    options = [
        click.option("--batch-size", type=AutoOr(), default="auto", show_default=True, help="Images side by side."),
        click.option("--actors", type=AutoOr(), default="auto", show_default=True, help="Workers; auto: one a GPU."),
        click.option(
            "--in-process",
            is_flag=True,
            help="Work with one worker in this very process, without Ray: for one GPU, a debugger or a profiler.",
        ),
        click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True),
        click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
        click.option("--shard-size", default=1000, show_default=True, help="Rows a Parquet file."),
        click.option("--max-failed-fraction", default=0.1, show_default=True, help="More failed images: status 1."),
        click.option("--retry-failed", is_flag=True, help="Try images again whose row is not ok."),
        click.option("--dry-run", is_flag=True, help="Print what would be done, as JSON, and stop."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
