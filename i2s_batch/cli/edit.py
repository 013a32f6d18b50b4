"""`i2s-batch edit` and `i2s-batch render`: pictures from tables of latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from i2s_batch.cli.options import Location, refuse_without_effect, run_options
from i2s_batch.config import ANIMATIONS, MOST_STRENGTHS, PICTURE_FORMATS, EditConfig
from i2s_batch.errors import ConfigError, I2SError

if TYPE_CHECKING:
    from i2s_batch.editing import Job, Request
    from i2s_batch.editing.edit_run import EditRun
    from i2s_batch.models import GeneratorWeights

F = TypeVar("F", bound=Callable[..., Any])


class _Parsed(click.ParamType):
    """A text that one of `storage.sources.jobs`' functions reads."""

    def __init__(self, name: str, parser: str) -> None:
        self.name, self._parser = name, parser

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        from i2s_batch.editing import edit_lists as jobs

        try:
            return tuple(getattr(jobs, self._parser)(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_STRENGTHS = _Parsed("A,B,...", "parse_strengths")
_LAYERS = _Parsed("4-7,9", "parse_layers")


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


@click.group()
def edit() -> None:
    """Make pictures from tables of latents: morph, style, expression, reenact.

    LATENTS are outputs of `embed` or `edit`, OUT is a folder or an s3:// prefix. OUT gets the pictures and a table
    of their codes, which can be edited again. Run the same command again to go on with one that was stopped.
    """


@edit.command()
@_edit_options
@click.option("--all-pairs", is_flag=True, help="Between every two images.")
@click.option("--chain", is_flag=True, help="From each image to the next, as one sequence.")
@click.option("--to", metavar="ID", help="From every image to this one.")
@click.option(
    "--jobs", type=Location(), metavar="FILE", help="CSV or Parquet with columns from, to, and perhaps strengths."
)
@click.option(
    "--frames", type=click.IntRange(2, MOST_STRENGTHS), default=9, show_default=True, help="Evenly from 0 to 1."
)
@click.option("--strengths", type=_STRENGTHS, help="Instead of --frames: 0 is the first image, 1 the second.")
@_animation("none")
def morph(all_pairs: bool, chain: bool, frames: int, strengths: tuple[float, ...] | None, **options: Any) -> int:
    """Straight lines between codes: w = a * w1 + (1 - a) * w2."""
    from i2s_batch.editing import Morph

    jobs, to = _jobs(options.pop("jobs"), "morph"), options.pop("to")
    pairing = _only_one({"all-pairs": all_pairs, "chain": chain, "to": to is not None, "jobs": jobs is not None})
    if strengths is not None:
        refuse_without_effect(["--frames"], "with --strengths")
    steps = strengths or tuple(round(i / (frames - 1), 12) for i in range(frames))
    return _run(Morph(steps, pairing, to, jobs), options)


@edit.command()
@_edit_options
@click.option("--all-pairs", is_flag=True, help="Every image in the style of every other.")
@click.option("--to", metavar="ID", help="Every image in the style of this one.")
@click.option(
    "--jobs", type=Location(), metavar="FILE", help="CSV or Parquet with columns content, style, and perhaps layers."
)
@click.option("--keep", type=click.IntRange(0), help="Layers that the content keeps; default: the first half.")
@click.option("--layers", type=_LAYERS, help="Instead of --keep: layers that come from the style, 0 the coarsest.")
def style(all_pairs: bool, keep: int | None, layers: tuple[int, ...] | None, **options: Any) -> int:
    """Crossovers: the content's code with the finer layers of the style's."""
    from i2s_batch.editing import Style

    jobs, to = _jobs(options.pop("jobs"), "style"), options.pop("to")
    pairing = _only_one({"all-pairs": all_pairs, "to": to is not None, "jobs": jobs is not None})
    return _run(Style(pairing, to, keep, layers, jobs), options)


_THRESHOLD = click.option(
    "--threshold", default=1.0, show_default=True, help="Layers of the change that are shorter are left out."
)
_NORMALISE = click.option("--normalise", is_flag=True, help="Divide the change by its norm: strengths are lengths.")


@edit.command()
@_edit_options
@click.option("--neutral", metavar="ID", help="A face without the expression.")
@click.option("--expressive", metavar="ID", help="The same face with it.")
@click.option(
    "--jobs",
    type=Location(),
    metavar="FILE",
    help="CSV or Parquet: content, neutral, expressive, and perhaps strengths.",
)
@click.option("--strengths", type=_STRENGTHS, default="1", show_default=True, help="1 is the change itself.")
@_THRESHOLD
@_NORMALISE
@_animation("none")
def expression(neutral: str | None, expressive: str | None, **options: Any) -> int:
    """Give the chosen images an expression: w = w1 + a * (w3 - w2), cleaned."""
    from i2s_batch.editing import Expression

    jobs = _jobs(options.pop("jobs"), "expression")
    strengths, threshold, normalise = (options.pop(name) for name in ("strengths", "threshold", "normalise"))
    return _run(Expression(strengths, neutral, expressive, threshold, normalise, jobs), options)


@edit.command()
@_edit_options
@click.option("--target", metavar="ID", required=True, help="The face that is to move.")
@click.option("--frames", metavar="PREFIX", help="Choose the images whose ids begin so, such as a folder: clip/")
@click.option("--neutral", metavar="ID", help="The frame without expression; default: the first.")
@click.option("--strength", default=1.0, show_default=True, help="1 is the change itself.")
@_THRESHOLD
@_NORMALISE
@_animation("webp")
def reenact(target: str, frames: str | None, neutral: str | None, **options: Any) -> int:
    """Let a face move as the face of a film: the expression of every frame, given to the target."""
    from i2s_batch.editing import Reenact

    if frames is not None:
        if options["where"] or options["ids"]:
            raise click.UsageError("--frames, --where and --ids are three ways to choose the frames; give one")
        quoted = frames.replace("'", "''")
        options["where"] = f"starts_with(image_id, '{quoted}')"
    strength, threshold, normalise = (options.pop(name) for name in ("strength", "threshold", "normalise"))
    return _run(Reenact(target, neutral, strength, threshold, normalise), options)


@click.command()
@_edit_options
def render(**options: Any) -> int:
    """Draw the chosen images of LATENTS, or all, as the generator draws them."""
    from i2s_batch.editing import Render

    return _run(Render(), options)


def _only_one(given: dict[str, bool]) -> str | None:
    """The one pairing of those that were asked for; None for a list of jobs."""
    asked = [name for name, is_asked in given.items() if is_asked]
    if len(asked) != 1:
        ways = ", ".join(f"--{name}" for name in given)
        found = " and ".join(f"--{name}" for name in asked) or "none"
        raise click.UsageError(f"exactly one of {ways} says what goes with what; given: {found}")
    return None if asked[0] == "jobs" else asked[0]


def _jobs(source: str | None, operation: str) -> tuple[Job, ...] | None:
    if source is None:
        return None
    from i2s_batch.editing import ROLES, Job
    from i2s_batch.editing.edit_lists import read_jobs

    return tuple(Job(row.ids, row.strengths, row.layers) for row in read_jobs(source, ROLES[operation]))


def _run(request: Request, options: dict[str, Any]) -> int:
    """What all these commands do, once they know what is asked."""
    *latents, out = options.pop("places")
    if not latents:
        raise click.UsageError(f"give at least one table and OUT; {out!r} alone is neither")
    if (options["where"] and options["ids"]) or (request.jobs is not None and (options["where"] or options["ids"])):
        raise click.UsageError("--where, --ids and --jobs are ways to choose the images; give one")
    generator, where, ids = (options.pop(name) for name in ("generator", "where", "ids"))
    dry_run = options.pop("dry_run")
    config = _config(**options)
    from i2s_batch.cli.run import command_words, ended, execute, voice
    from i2s_batch.editing.edit_lists import read_ids
    from i2s_batch.editing.edit_run import EditRun, EditRunRequest

    place, weights = _generator(generator, latents[0])
    chosen = None if ids is None else tuple(read_ids(ids))
    job = EditRunRequest(tuple(latents), out, place, request, config, chosen, where, command_words())
    run = EditRun(job, weights, voice())
    if dry_run:
        click.echo(json.dumps(run.describe(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster), config.in_process)
    folder = out.rstrip("/")
    click.echo(f"{outcome.counted('pictures')}. Pictures: {folder}/pictures/ Table: {folder}/latents/")
    if config.animation:
        click.echo(f"Animations: {folder}/animations/")
    _shown(out, run)
    return ended(outcome, "pictures")


def _config(animation: str = "none", fps: float = 12.0, **options: Any) -> EditConfig:
    """Return the settings of the run. An edit without sequences has no options of animations."""
    if animation == "none":
        refuse_without_effect(["--fps"], f"without --animation {'|'.join(ANIMATIONS)}")
    return EditConfig(animation=None if animation == "none" else animation, frames_per_second=fps, **options)


def _generator(given: str | None, table: str) -> tuple[str, GeneratorWeights]:
    """The generator and where it is: as given, or as the run of `table` recorded it."""
    from i2s_batch.models.loading import generator_weights
    from i2s_batch.run.recorded import recorded_generator, recorded_place

    if given is not None:
        return given, generator_weights(given)
    weights, why_none = recorded_generator(table)
    if weights is None:
        raise ConfigError(f"{table}: {why_none}")
    return recorded_place(table) or "", weights


def _shown(out: str, run: EditRun) -> None:
    """Draw the contact sheet and write the report. The run was for the pictures: it does not fail with these."""
    from i2s_batch.cli.run import say, write_page
    from i2s_batch.editing.strips import load_strips, write_edit_sheet

    strips = None
    try:
        strips = load_strips(out, lambda: run.network)
        click.echo(f"Contact sheet: {write_edit_sheet(out, strips)}")
    except I2SError as error:
        say(f"i2s-batch: no contact sheet was drawn ({error}); run the same command again")
    write_page(out, run.generator, strips)
