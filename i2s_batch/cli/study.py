"""`i2s-batch study`: the paper's experiments on the user's own images."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.cli.help_groups import INPUT, GroupedCommand, option
from i2s_batch.cli.options import (
    Location,
    embed_options,
    embed_run_options,
    refuse_without_effect,
    take_embed_config,
)
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig

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
@embed_options
@embed_run_options
def study(name: str, source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Carry out a study, or print what it would do."""
    if (varied := STUDIES.get(name).varies) is not None:
        refuse_without_effect([varied], f"in the study {name}, which tries every value of it")
    config = StudyConfig(embed=take_embed_config(options), study=name, classes=options.pop("class_column"), **options)
    from i2s_batch.cli.run_command import command_words, ended, execute, line_logger, write_page
    from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

    run = StudyRun(StudyRunRequest(source, out, generator, vgg, config, command_words()), line_logger())
    if dry_run:
        click.echo(json.dumps(run.describe().to_json(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster), config.in_process)
    click.echo(f"{outcome.counted('variants of images')}. Table: {out.rstrip('/')}/latents/")
    write_page(out, run.generator)
    return ended(outcome, "variants")
