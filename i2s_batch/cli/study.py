"""`i2s-batch study`: the paper's experiments on the user's own images."""

from __future__ import annotations

import json
from typing import Any

import click
from click.core import ParameterSource

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.option_types import Location
from i2s_batch.cli.options import (
    embed_options,
    embed_run_options,
    refuse_without_effect,
    run_arguments,
    source_options,
)
from i2s_batch.studies.registered import STUDIES

_HELP = """Compare settings or alterations on a sample of your images.

STUDY is one of:

\b
{studies}

SOURCE holds the images, as of `i2s-batch embed`: a folder, a glob pattern, an s3:// prefix or a list. OUT is the folder
or s3:// prefix that gets the table of all variants, the findings (study.md), their figures and report.html.

Run the same command again to resume a study that was stopped.
"""


def _help() -> str:
    width = max(map(len, STUDIES.names)) + 2
    return _HELP.format(studies="\n".join(f"{study.name:{width}}{study.summary}" for study in STUDIES))


@click.command(cls=GroupedCommand, help=_help())
@click.argument("name", type=click.Choice(STUDIES.names), metavar="STUDY")
@click.argument("source", type=Location())
@click.argument("out", type=Location())
@option(
    "--sample",
    group=INPUT,
    default=25,
    help="Number of images in the sample, as many of each class as possible.",
)
@option(
    "--class-column",
    group=INPUT,
    aliases=["--classes"],
    metavar="COLUMN",
    help="Column of the list SOURCE that names the class of an image. Default: its first folder is its class.",
)
@source_options
@embed_options
@embed_run_options
def study(name: str, source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Carry out a study, or print what it would do."""
    if (varied := STUDIES.get(name).varies) is not None:
        unless = f"in the study {name}, which tries every value of it"
        refuse_without_effect([varied], unless, [ParameterSource.COMMANDLINE])  # a run.json has a value of each option
        del options[varied.removeprefix("--").replace("-", "_")]
    arguments = {"generator": generator, "vgg": vgg} | run_arguments(**options)
    from i2s_batch.cli.run_command import caller, ended, line_logger, resumable

    report = line_logger()
    with resumable("looking at SOURCE and OUT"):
        asked_by = caller(options["overwrite"] and not dry_run, options["yes"])
        from i2s_batch.api import study_runs

        if dry_run:
            preview = study_runs.preview_study(source, out, name, progress=report, caller=asked_by, **arguments)
            click.echo(json.dumps(preview.to_json(), indent=2))
            return 0
        result = study_runs.study(source, out, name, progress=report, caller=asked_by, **arguments)
    click.echo(f"{result.counted('variant of images', 'variants of images')}. Table: {out.rstrip('/')}/latents/")
    return ended(result, "variants")
