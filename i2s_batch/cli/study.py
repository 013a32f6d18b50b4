"""`i2s-batch study`: the paper's experiments on the user's own images."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.cli.options import (
    Location,
    embed_options,
    refuse_without_effect,
    run_options,
    source_options,
    take_embed_config,
    take_source_options,
)
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig

_HELP = """Answer a question about your own images before you embed all of them.

\b
{studies}

A sample of SOURCE is embedded in every variant into OUT, as `embed` does it; OUT/study.md has the answer, and
OUT/report.html shows it. Run the same command again to resume a study that was stopped.
"""


def _help() -> str:
    width = max(map(len, STUDIES.names)) + 2
    return _HELP.format(studies="\n".join(f"{study.name:{width}}{study.summary}" for study in STUDIES))


@click.command(help=_help())
@click.argument("name", type=click.Choice(STUDIES.names), metavar=f"[{'|'.join(STUDIES.names)}]")
@click.argument("source", type=Location())
@click.argument("out", type=Location())
@click.option("--sample", default=25, show_default=True, help="Images to look at, as many of each class as possible.")
@click.option("--classes", metavar="COLUMN", help="Column of the list SOURCE; default: each image's first folder.")
@source_options
@embed_options
@run_options
def study(name: str, source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Carry out a study, or print what it would do."""
    if (varied := STUDIES.get(name).varies) is not None:
        refuse_without_effect([varied], f"in the study {name}, which tries every value of it")
    chosen = take_source_options(options)
    config = StudyConfig(embed=take_embed_config(options), study=name, **options)
    from i2s_batch.cli.run_command import command_words, ended, execute, voice, write_page
    from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

    request = StudyRunRequest(source, out, generator, vgg, config, command_words(), source_options=chosen)
    run = StudyRun(request, voice())
    if dry_run:
        click.echo(json.dumps(run.describe().to_json(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster), config.in_process)
    click.echo(f"{outcome.counted('variants of pictures')}. Table: {out.rstrip('/')}/latents/")
    write_page(out, run.generator)
    return ended(outcome, "variants")
