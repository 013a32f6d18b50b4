"""`i2s-batch study`: the paper's experiments on the user's own pictures."""

from __future__ import annotations

import json
from typing import Any

import click

from i2s_batch.cli.options import Location, embed_options, refuse_without_effect, run_options, take_embed_config
from i2s_batch.config import STUDIES, StudyConfig

# The option that a study sets in every variant.
_VARIED = {"init": "--init", "space": "--space"}


@click.command()
@click.argument("name", type=click.Choice(STUDIES), metavar=f"[{'|'.join(STUDIES)}]")
@click.argument("source", type=Location())
@click.argument("out", type=Location())
@click.option("--sample", default=25, show_default=True, help="Pictures to look at, of each class as many.")
@click.option("--classes", metavar="COLUMN", help="Column of the list SOURCE; default: each picture's first folder.")
@embed_options
@run_options
def study(name: str, source: str, out: str, generator: str, vgg: str, dry_run: bool, **options: Any) -> int:
    """Answer a question about your own pictures before you embed all of them.

    \b
    transforms  must they be aligned?       moved, scaled and turned pictures
    init        which start?                the mean latent against a random one
    space       which latent space?         Z, W, W+, and W+ without training
    loss        which terms of the loss?    each alone, all together
    steps       how many are enough?        the loss after 1, 10, 100, ... steps
    iterate     what remains?               the result embedded again, seven times
    defects     what does damage do?        holes, scribbles, blur, noise

    A sample of SOURCE is embedded in every variant into OUT, as `embed` does it; OUT/study.md has the answer, and
    OUT/report.html shows it. Run the same command again to go on with a study that was stopped.
    """
    if name in _VARIED:
        refuse_without_effect([_VARIED[name]], f"in the study {name}, which tries every value of it")
    config = StudyConfig(embed=take_embed_config(options), study=name, **options)
    from i2s_batch.cli.run import command_words, ended, execute, voice, write_page
    from i2s_batch.studies.study_run import StudyRun, StudyRunRequest

    run = StudyRun(StudyRunRequest(source, out, generator, vgg, config, command_words()), voice())
    if dry_run:
        click.echo(json.dumps(run.describe(), indent=2))
        return 0
    outcome = execute(lambda cluster, _: run.execute(cluster), config.in_process)
    click.echo(f"{outcome.counted('variants of pictures')}. Table: {out.rstrip('/')}/latents/")
    write_page(out, run.generator)
    return ended(outcome, "variants")
