"""`i2s-batch edit` and `i2s-batch render`: images from tables of latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from i2s_batch.cli.help_groups import OUTPUT, SELECTION, GroupedCommand
from i2s_batch.cli.help_groups import option as grouped_option
from i2s_batch.cli.network_options import add_network_options
from i2s_batch.cli.option_types import Checkpoint, Location
from i2s_batch.cli.options import add_debug, refuse_without_effect, run_arguments, run_options
from i2s_batch.config import ANIMATIONS, NOISE, PICTURE_FORMATS, PICTURE_OUTPUTS
from i2s_batch.editing.edit_options import OPTION, EditOptions, Kind, Option, OptionsError
from i2s_batch.editing.registered import EDITS, Edit
from i2s_batch.errors import ConfigError
from i2s_batch.registry import Declaration

if TYPE_CHECKING:
    _Numbers = click.ParamType[tuple[Any, ...]]
else:
    _Numbers = click.ParamType  # which older releases of Click cannot subscript
F = TypeVar("F", bound=Callable[..., Any])

_RENDER = "render"  # has a command of its own: i2s-batch render
_EDIT = "What the edit does"
_OLD_NAMES = ("--jobs",)  # of --edit-list


_ARGUMENTS = """LATENTS are one or several tables: outputs of `i2s-batch embed` or of an edit, folders or s3://
prefixes. OUT is the folder or s3:// prefix that gets the images and the table of their latents, new or of the run that
is to be resumed.
"""


class _Parsed(_Numbers):
    """Reads a list of numbers with one of the functions of `editing.edit_lists`."""

    def __init__(self, name: str, parser: str) -> None:
        self.name, self._parser = name, parser

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        from i2s_batch.editing import edit_lists

        try:
            return tuple(getattr(edit_lists, self._parser)(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class _CommonOptions:
    """Holds the options that every edit has, by the names that `_edit_options` and `run_options` give them."""

    locations: tuple[str, ...]
    generator: str | None
    where: str | None
    ids: str | None
    picture_format: str
    output: str
    batch_size: int | None
    actors: int | None
    in_process: bool | None
    precision: str
    device: str
    shard_size: int
    max_failed_fraction: float
    retry_failed: bool
    overwrite: bool
    yes: bool
    dry_run: bool
    animation: str = "none"  # of an edit that makes no sequences, and so has neither option
    fps: float = 12.0
    unalign: bool = False
    noise: str | bool = "drop"  # of a render it is a flag: there is nothing else to keep
    side_by_side: bool = False  # of an edit that reproduces photographs; no other has the option

    def arguments(self, makes_sequences: bool) -> dict[str, Any]:
        """Return how the run is carried out, as options of `api.editing_runs.edit`."""
        if self.animation == "none":
            refuse_without_effect(["--fps"], f"without --animation {'|'.join(ANIMATIONS)}")
        animated: dict[str, Any] = {"animation": self.animation} if makes_sequences else {}
        animated |= {"side_by_side": True} if self.side_by_side else {}
        animated |= {"unalign": True} if self.unalign else {}
        animated |= {"noise": "keep"} if self.noise in (True, "keep") else {}
        return (animated if self.animation == "none" else animated | {"fps": self.fps}) | run_arguments(
            format=self.picture_format,
            output=self.output,
            batch_size=self.batch_size,
            actors=self.actors,
            in_process=self.in_process,
            precision=self.precision,
            device=self.device,
            shard_size=self.shard_size,
            max_failed_fraction=self.max_failed_fraction,
            retry_failed=self.retry_failed,
            overwrite=self.overwrite,
            yes=self.yes,
        )


def _edit_options(command: F) -> F:
    """Give a command what every edit takes: the tables, the choice of images, and the format of the results."""
    options = [
        click.argument("locations", type=Location(), nargs=-1, required=True, metavar="LATENTS... OUT"),
        grouped_option(
            "--where",
            group=SELECTION,
            metavar="SQL",
            help="Condition that chooses the images, such as 'psnr > 22'. Default: all that have a latent.",
        ),
        grouped_option(
            "--ids",
            group=SELECTION,
            type=Location(),
            metavar="FILE",
            help="Text file with the ids of the images, one per line, in their order. Default: all that have a latent.",
        ),
        grouped_option(
            "--generator",
            group=SELECTION,
            type=Checkpoint(),
            metavar="CHECKPOINT",
            help="StyleGAN checkpoint: a path, s3://, https://, or a name of `weights list`. Default: the one that the "
            "run of the first table recorded.",
        ),
        grouped_option(
            "--format",
            "picture_format",
            group=OUTPUT,
            type=click.Choice(PICTURE_FORMATS),
            default="png",
            help="File format of the images.",
        ),
        grouped_option(
            "--unalign",
            group=OUTPUT,
            is_flag=True,
            help="Paste each face back into the photograph that it was aligned from, too, into OUT/unaligned/.",
        ),
        grouped_option(
            "--output",
            group=OUTPUT,
            type=click.Choice(PICTURE_OUTPUTS),
            default="files",
            help="Form of the images: a file each, or one archive for every --shard-size of them, a WebDataset "
            "tar or a Parquet file that Hugging Face datasets read.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return run_options(command)


def _animation(default: str) -> Callable[[F], F]:
    """Return what gives a command the options of animations; an edit that makes no sequences has none of them."""
    animation = grouped_option(
        "--animation",
        group=OUTPUT,
        type=click.Choice(("none", *ANIMATIONS)),
        default=default,
        help="File format of the animation that is made of every sequence.",
    )
    fps = grouped_option("--fps", group=OUTPUT, default=12.0, help="Frames per second of an animation.")
    return lambda command: animation(fps(command))


_SIDE_BY_SIDE = grouped_option(
    "--side-by-side",
    group=OUTPUT,
    is_flag=True,
    help="Write each photograph and its reconstruction side by side, too, into OUT/side-by-side/.",
)


_WITH_NOISE = grouped_option(
    "--noise",
    group=OUTPUT,
    is_flag=True,
    help="Draw each image with its own noise maps, which embed makes with --noise-steps.",
)
_NOISE = grouped_option(
    "--noise",
    group=OUTPUT,
    type=click.Choice(NOISE),
    default="drop",
    help="Noise maps of the image that is edited: drop draws with the stored noise, keep with those of --noise-steps.",
)


class _Edits(click.Group):
    """Shows the commands of the registered edits, which are built when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in EDITS.names if name != _RENDER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = _command(EDITS.get(cmd_name))
        add_network_options(command)
        add_debug(command)
        return command


@click.group(cls=_Edits)
def edit() -> None:
    """Edit latents: morphs, style transfer, expressions.

    Each edit takes tables of latents and writes the edited images, and a table of their latents that can be edited
    again. Run the same command again to resume an edit that was stopped.
    """


def _command(declaration: Declaration[Edit]) -> click.Command:
    """Return the command of an edit: the options of every edit, its own, and --animation if it makes sequences."""
    kind = declaration.resolve().options
    own = {each.name: each for each in fields(kind)}
    taken = own.keys() & {each.name for each in fields(_CommonOptions)}
    if taken:
        raise ConfigError(f"edit {declaration.name!r} has an option {min(taken)!r}, as all edits have; rename its own")

    def carry_out(**values: Any) -> int:
        options = kind(**{name: values.pop(name) for name in own})
        return _run(options, _CommonOptions(**values))

    callback = carry_out
    if kind.animation is not None:
        callback = _animation(kind.animation)(callback)
    callback = _WITH_NOISE(callback) if kind.reproduces else _NOISE(callback)
    if kind.reproduces:
        callback = _SIDE_BY_SIDE(callback)
    for each in reversed(own.values()):
        callback = _own_option(each)(callback)
    text = f"{declaration.summary}\n\n{_ARGUMENTS}"
    return click.command(declaration.name, cls=GroupedCommand, help=text)(_edit_options(callback))


def _own_option(own: Field[Any]) -> Callable[[F], F]:
    """Return what gives a command the option that a field of an edit's options describes."""
    option: Option = own.metadata[OPTION]
    name = f"--{own.name.replace('_', '-')}"
    if option.kind is Kind.FLAG:
        return grouped_option(name, group=_EDIT, is_flag=True, help=option.help)
    if option.kind is Kind.EDIT_LIST:
        return grouped_option(name, group=_EDIT, aliases=_OLD_NAMES, type=Location(), metavar="FILE", help=option.help)
    if option.kind in (Kind.IMAGE_ID, Kind.PREFIX):
        return grouped_option(name, group=_EDIT, required=option.required, metavar=option.kind.value, help=option.help)
    default = None if own.default is MISSING else own.default
    if isinstance(default, tuple):
        default = ",".join(f"{value:g}" for value in default)
    types: dict[Kind, click.ParamType[Any]] = {
        Kind.WHOLE: click.IntRange(option.least, option.most),
        Kind.NUMBER: click.FLOAT,
        Kind.STRENGTHS: _Parsed(Kind.STRENGTHS.value, "parse_strengths"),
        Kind.LAYERS: _Parsed(Kind.LAYERS.value, "parse_layers"),
    }
    return grouped_option(name, group=_EDIT, type=types[option.kind], default=default, help=option.help)


def _where(options: EditOptions, common: _CommonOptions) -> str | None:
    """Return the condition that chooses the images: --where, or that of an edit's own option of a prefix of ids."""
    for each in fields(options):
        value = getattr(options, each.name)
        if each.metadata[OPTION].kind is Kind.PREFIX and value is not None:
            if common.where or common.ids:
                ways = f"--{each.name}, --where and --ids are three ways to choose the {each.name}"
                raise click.UsageError(f"{ways}; give one")
            quoted = value.replace("'", "''")
            return f"starts_with(image_id, '{quoted}')"
    return common.where


def _run(options: EditOptions, common: _CommonOptions) -> int:
    """Carry out an edit and return the exit status."""
    for each in fields(options):
        option: Option = each.metadata[OPTION]
        if option.replaces is not None and getattr(options, each.name) is not None:
            refuse_without_effect([f"--{option.replaces}"], f"with --{each.name}")
    where, ids = _where(options, common), common.ids
    try:
        request = options.request()
    except OptionsError as error:
        raise click.UsageError(str(error)) from error
    *latents, out = common.locations
    if not latents:
        raise click.UsageError(f"give at least one table and OUT; {out!r} alone is neither")
    if (where and ids) or (request.listed is not None and (where or ids)):
        raise click.UsageError("--where, --ids and --edit-list are ways to choose the images; give one")
    arguments = common.arguments(options.animation is not None)
    from i2s_batch.cli.run_command import caller, ended, line_logger, resumable

    with resumable("looking at the tables and OUT"):
        arguments |= {"progress": line_logger(), "caller": caller(common.overwrite and not common.dry_run, common.yes)}
        from i2s_batch.api import editing_runs
        from i2s_batch.editing.edit_lists import read_ids

        arguments |= {"generator": common.generator, "where": where, "ids": None if ids is None else read_ids(ids)}
        if common.dry_run:
            preview = editing_runs.preview_edit(latents, out, request, **arguments)
            click.echo(json.dumps(preview.to_json(), indent=2))
            return 0
        result = editing_runs.edit(latents, out, request, **arguments)
    folder = out.rstrip("/")
    click.echo(f"{result.counted('image')}. Images: {folder}/pictures/ Table: {folder}/latents/")
    if result.animations:
        click.echo(f"Animations: {folder}/animations/")
    if result.side_by_side:
        click.echo(f"Beside their photographs: {result.side_by_side}")
    if result.unaligned:
        click.echo(f"In their photographs: {result.unaligned}")
    if result.contact_sheet:
        click.echo(f"Contact sheet: {result.contact_sheet}")
    return ended(result, "images")


render = _command(EDITS.get(_RENDER))
