"""`i2s-batch edit` and `i2s-batch render`: pictures from tables of latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from i2s_batch.cli.options import Location, Renamed, add_debug, refuse_without_effect, run_arguments, run_options
from i2s_batch.config import ANIMATIONS, PICTURE_FORMATS
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
_OLD_NAMES = ("--jobs",)  # of --edit-list


class _Parsed(_Numbers):
    """A text that one of `editing.edit_lists`' functions reads."""

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
    """Holds the options that every edit has, by the names of `_edit_options` and `run_options`."""

    places: tuple[str, ...]
    generator: str | None
    where: str | None
    ids: str | None
    picture_format: str
    batch_size: int | None
    actors: int | None
    in_process: bool
    precision: str
    device: str
    shard_size: int
    max_failed_fraction: float
    retry_failed: bool
    dry_run: bool
    animation: str = "none"  # of an edit that makes no sequences, and so has neither option
    fps: float = 12.0

    def arguments(self, makes_sequences: bool) -> dict[str, Any]:
        """Return how the run is carried out, as options of `api.editing_runs.edit`."""
        if self.animation == "none":
            refuse_without_effect(["--fps"], f"without --animation {'|'.join(ANIMATIONS)}")
        animated = {"animation": self.animation} if makes_sequences else {}
        return (animated if self.animation == "none" else animated | {"fps": self.fps}) | run_arguments(
            format=self.picture_format,
            batch_size=self.batch_size,
            actors=self.actors,
            in_process=self.in_process,
            precision=self.precision,
            device=self.device,
            shard_size=self.shard_size,
            max_failed_fraction=self.max_failed_fraction,
            retry_failed=self.retry_failed,
        )


def _edit_options(command: F) -> F:
    """Where the codes are, which of them, and what files are made."""
    options = [
        click.argument("places", type=Location(), nargs=-1, required=True, metavar="LATENTS... OUT"),
        click.option(
            "--generator", type=Location(), help="Checkpoint; default: the one that the first table's run recorded."
        ),
        click.option("--where", metavar="SQL", help="Choose images by a condition, such as 'psnr > 22'."),
        click.option(
            "--ids", type=Location(), metavar="FILE", help="Choose images by a list of ids, one a line, in its order."
        ),
        click.option(
            "--format", "picture_format", type=click.Choice(PICTURE_FORMATS), default="png", show_default=True
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return run_options(command)


def _animation(default: str) -> Callable[[F], F]:
    """Let a command make an animation of every sequence; those without one take no options of it."""
    choices = click.Choice(("none", *ANIMATIONS))
    animation = click.option("--animation", type=choices, default=default, show_default=True, help="Of every sequence.")
    fps = click.option("--fps", default=12.0, show_default=True, help="Pictures a second of an animation.")
    return lambda command: animation(fps(command))


class _Edits(click.Group):
    """The commands of the registered edits, built when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name in EDITS.names if name != _RENDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = _command(EDITS.get(cmd_name))
        add_debug(command)
        return command


@click.group(cls=_Edits)
def edit() -> None:
    """Make pictures from tables of latents: morph, style, expression, reenact.

    LATENTS are outputs of `embed` or `edit`, OUT is a folder or an s3:// prefix. OUT gets the pictures and a table
    of their codes, which can be edited again. Run the same command again to go on with one that was stopped.
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
    for each in reversed(own.values()):
        callback = _own_option(each)(callback)
    return click.command(declaration.name, help=declaration.summary)(_edit_options(callback))


def _own_option(own: Field[Any]) -> Callable[[F], F]:
    """Return what gives a command the option that a field of an edit's options describes."""
    option: Option = own.metadata[OPTION]
    name = f"--{own.name.replace('_', '-')}"
    if option.kind is Kind.FLAG:
        return click.option(name, is_flag=True, help=option.help)
    if option.kind is Kind.EDIT_LIST:
        return click.option(name, *_OLD_NAMES, own.name, cls=Renamed, type=Location(), metavar="FILE", help=option.help)
    if option.kind in (Kind.IMAGE_ID, Kind.PREFIX):
        return click.option(name, required=option.required, metavar=option.kind.value, help=option.help)
    default = None if own.default is MISSING else own.default
    if isinstance(default, tuple):
        default = ",".join(f"{value:g}" for value in default)
    types: dict[Kind, click.ParamType[Any]] = {
        Kind.WHOLE: click.IntRange(option.least, option.most),
        Kind.NUMBER: click.FLOAT,
        Kind.STRENGTHS: _Parsed(Kind.STRENGTHS.value, "parse_strengths"),
        Kind.LAYERS: _Parsed(Kind.LAYERS.value, "parse_layers"),
    }
    return click.option(name, type=types[option.kind], default=default, show_default=True, help=option.help)


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
    *latents, out = common.places
    if not latents:
        raise click.UsageError(f"give at least one table and OUT; {out!r} alone is neither")
    if (where and ids) or (request.listed is not None and (where or ids)):
        raise click.UsageError("--where, --ids and --edit-list are ways to choose the images; give one")
    arguments = common.arguments(options.animation is not None)
    from i2s_batch.api import editing_runs
    from i2s_batch.cli.run_command import caller, ended, resumable, voice
    from i2s_batch.editing.edit_lists import read_ids

    chosen = None if ids is None else read_ids(ids)
    arguments |= {"generator": common.generator, "where": where, "ids": chosen, "progress": voice(), "caller": caller()}
    with resumable():
        if common.dry_run:
            preview = editing_runs.preview_edit(latents, out, request, **arguments)
            click.echo(json.dumps(preview.to_json(), indent=2))
            return 0
        result = editing_runs.edit(latents, out, request, **arguments)
    folder = out.rstrip("/")
    click.echo(f"{result.counted('pictures')}. Pictures: {folder}/pictures/ Table: {folder}/latents/")
    if result.animations:
        click.echo(f"Animations: {folder}/animations/")
    if result.contact_sheet:
        click.echo(f"Contact sheet: {result.contact_sheet}")
    return ended(result, "pictures")


render = _command(EDITS.get(_RENDER))
