"""`i2s-batch study`: the paper's experiments on the user's own images."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.cli.options import Location, embed_options, refuse_without_effect, run_arguments, run_options
from i2s_batch.studies.registered import STUDIES

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
@click.option(
    "--classes", "class_column", metavar="COLUMN", help="Column of the list SOURCE; default: each image's first folder."
)
@embed_options
@run_options
def study(name: str, source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Carry out a study, or print what it would do."""
    if (varied := STUDIES.get(name).varies) is not None:
        refuse_without_effect([varied], f"in the study {name}, which tries every value of it")
        del options[varied.removeprefix("--").replace("-", "_")]
    arguments = {"generator": generator, "vgg": vgg} | run_arguments(**options)
    from i2s_batch.api import study_runs
    from i2s_batch.cli.run_command import caller, ended, resumable, voice

    with resumable():
        if dry_run:
            preview = study_runs.preview_study(source, out, name, progress=voice(), caller=caller(), **arguments)
            click.echo(json.dumps(preview.to_json(), indent=2))
            return 0
        result = study_runs.study(source, out, name, progress=voice(), caller=caller(), **arguments)
    click.echo(f"{result.counted('variants of pictures')}. Table: {out.rstrip('/')}/latents/")
    return ended(result, "variants")
