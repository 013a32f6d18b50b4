"""`i2s-batch doctor`: whether a run would work on this machine or cluster, and how long it would take."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from i2s_batch.cli.embed import embed
from i2s_batch.cli.help_groups import INPUT, OUTPUT, GroupedCommand, option
from i2s_batch.cli.option_types import Location, Price
from i2s_batch.cli.options import run_arguments
from i2s_batch.cli.run_command import line_logger, shown_at_once
from i2s_batch.run.terminal import LiveLine

if TYPE_CHECKING:
    from i2s_batch.diagnosis.findings import Section
    from i2s_batch.diagnosis.node_report import NodeReport

# Options of `embed` that change what is found; the others are taken and not shown, so that the command of a run needs
# no more than another name.
_SHOWN = {
    *("vgg", "preset", "learned", "steps", "optimizer", "config", "include", "exclude", "where", "limit", "sample"),
    *("path_column", "image_column", "device", "precision", "batch_size", "actors", "in_process", "compile"),
}


@click.command(cls=GroupedCommand)
@click.argument("source", required=False)
@click.argument("out", required=False)
@option(
    "--generator",
    group=INPUT,
    type=Location(),
    default=None,
    metavar="CHECKPOINT",
    help="StyleGAN checkpoint: a path, s3:// or https://. Default: none, and no speed is measured.",
)
@option(
    "--price-per-hour",
    group=OUTPUT,
    type=Price(),
    default=None,
    help="Price of one worker per hour, for the price of SOURCE. Default: no cost is estimated.",
)
@option("--json", "as_json", group=OUTPUT, is_flag=True, help="Print JSON, for programs.")
def doctor(
    source: str | None,
    out: str | None,
    generator: str | None,
    price_per_hour: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Tell whether a run would work here, and how long it takes.

    This machine is examined, or each node of the Ray cluster that a run would join: versions, devices, memory,
    folders. With OUT it is tried whether a run could write there, with SOURCE a sample is decoded, and with --generator
    twenty steps are timed. Nothing is left behind but caches. The arguments and options are those of `embed`.

    The page holds no secrets and can be attached to a report. The exit status is 1 if a run would fail.
    """
    del options["dry_run"]
    arguments = run_arguments(**options)
    live = line_logger()
    show: Callable[[str], None] = live.stage if isinstance(live, LiveLine) else _ignore
    with shown_at_once("examining this machine"):
        from i2s_batch.api.diagnoses import Diagnosis, asked_of, examination
        from i2s_batch.diagnosis.findings import Section

        vgg = arguments.pop("vgg")
        asked = asked_of(source, out, generator, vgg, price_per_hour, arguments)  # type: ignore[arg-type]
        found = []
        if not as_json:
            click.echo("\n".join(_heading()))
        for part in map(_without_secrets, examination(asked, show)):
            found.append(part)
            if not as_json:
                _print(part, is_first_node=len(found) > 1 and isinstance(found[-2], Section))
    sections = tuple(each for each in found if isinstance(each, Section))
    diagnosis = Diagnosis(sections, tuple(each for each in found if not isinstance(each, Section)))
    if as_json:
        click.echo(json.dumps(diagnosis.to_json(), indent=2))
    else:
        from i2s_batch.cli.doctor_page import last_line

        click.echo(last_line(diagnosis.findings))
    return 0 if diagnosis.sound else 1


def _taken() -> Iterator[click.Parameter]:
    """Yield the options of `embed` that this command has not got of its own."""
    own = {each.name for each in doctor.params}
    for each in embed.params:
        if isinstance(each, click.Option) and each.name not in own:
            taken = copy.copy(each)
            taken.hidden = each.hidden or each.name not in _SHOWN
            yield taken


doctor.params += _taken()


def _ignore(text: str) -> None:
    """Show nothing: a log gets no line of what is only being done."""


def _heading() -> list[str]:
    """Return what stands above the findings: the command, and when it was run."""
    from i2s_batch.cli.bug_report import without_any_secret

    words = shlex.join(["i2s-batch", *click.get_current_context().obj])
    return [without_any_secret(words), f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC", ""]


def _print(part: Section | NodeReport, is_first_node: bool) -> None:
    """Print a group of findings, or the line of a node."""
    from i2s_batch.cli.doctor_page import columns, node_lines, section_lines
    from i2s_batch.diagnosis.findings import Section

    live = line_logger()
    if isinstance(live, LiveLine):
        live.end()
    if isinstance(part, Section):
        lines = list(section_lines(part, columns()))
    else:
        lines = ["Nodes"] * is_first_node + list(node_lines(part, columns()))
    click.echo("\n".join(lines))


def _without_secrets(part: Section | NodeReport) -> Section | NodeReport:
    """Return what was found without any secret that a message may hold."""
    from i2s_batch.cli.bug_report import without_any_secret
    from i2s_batch.diagnosis.findings import Section

    if isinstance(part, Section):
        texts = (
            replace(f, found=without_any_secret(f.found), advice=without_any_secret(f.advice)) for f in part.findings
        )
        return replace(part, findings=tuple(texts))
    sections = (_without_secrets(section) for section in part.sections)
    return replace(part, sections=tuple(each for each in sections if isinstance(each, Section)))
