"""`i2s-batch weights`: published weights by name; what there is, where a file is, and getting it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import INPUT, OUTPUT, GroupedCommand, GroupedCommands, option
from i2s_batch.cli.network_options import ACCEPT_HELP, OFFLINE_HELP, go_offline, settle_licence
from i2s_batch.cli.option_types import Location
from i2s_batch.cli.run_command import log_line, shown_at_once

if TYPE_CHECKING:
    from i2s_batch.api.weight_files import KnownWeights

_COLUMNS = ("name", "here", "family", "size", "licence", "what it draws or is for")


@click.group(cls=GroupedCommands)
def weights() -> None:
    """Get published weights by name.

    A name such as ffhq1024 can be given wherever a command takes --generator. Its file is fetched once into the folder
    of caches, which all processes of this machine share.
    """


@click.command("list", cls=GroupedCommand)
@option("--json", "as_json", group=OUTPUT, is_flag=True, help="Print JSON, for programs.")
def list_weights(as_json: bool) -> int:
    """List the names, and what this machine has of them."""
    from i2s_batch.api.weight_files import known_weights

    known = known_weights()
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in known], indent=2))
        return 0
    rows = [_COLUMNS, *map(_row, known)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


@click.command("get", cls=GroupedCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@option("--accept-licence", group=INPUT, is_flag=True, help=ACCEPT_HELP)
@option(
    "--from",
    "file",
    group=INPUT,
    type=Location(),
    metavar="FILE",
    help="File that was downloaded by other means, a copy of which is kept under the name. Default: it is fetched.",
)
@option("--offline", group=INPUT, is_flag=True, help=OFFLINE_HELP)
def get(names: tuple[str, ...], accept_licence: bool, file: str | None, offline: bool) -> int:
    """Get the files of weights, and print their paths.

    NAME is a name that `weights list` shows. A file that is here is not fetched again. One that broke off is continued.
    """
    if file is not None and len(names) > 1:
        raise click.UsageError(f"--from gives one file, and there are {len(names)} names; give one of them")
    if offline:
        go_offline()
    for name in names:
        with shown_at_once(f"looking for {name}"):
            from i2s_batch.api.weight_files import get_weights

        settle_licence(name, accept_licence)
        click.echo(get_weights(name, file=None if file is None else Path(file)))
    return 0


@click.command("where", cls=GroupedCommand)
@click.argument("name")
@option("--json", "as_json", group=OUTPUT, is_flag=True, help="Print JSON, for programs.")
def where(name: str, as_json: bool) -> int:
    """Print where the file of weights is on this machine.

    NAME is a name that `weights list` shows. The exit status is 1 if the file is not here; what it takes to get it is
    then shown.
    """
    from i2s_batch.api.weight_files import weights_named

    known = weights_named(name)
    if as_json:
        click.echo(json.dumps(_as_json(known), indent=2))
    elif known.file is not None:
        click.echo(known.file)
    else:
        for line in _missing(known):
            log_line(line)
    return 0 if known.file is not None else 1


def _missing(known: KnownWeights) -> Iterator[str]:
    """Yield lines on a file that is not here."""
    entry = known.entry
    yield f"{entry.name} is not on this machine"
    yield f"  address  {entry.address}{' (for a browser)' if entry.by_browser else ''}"
    yield f"  page     {entry.page}"
    yield f"  licence  {entry.licence}{', accepted' if known.accepted and entry.licence.is_asked else ''}"
    yield f"  cache    {known.place or 'none: set I2S_CACHE to a folder that can be written to'}"


def _row(known: KnownWeights) -> tuple[str, ...]:
    entry = known.entry
    size = "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"
    return entry.name, "" if known.file is None else "yes", entry.family, size, entry.licence.name, entry.summary


def _as_json(known: KnownWeights) -> dict[str, str | int | bool | None]:
    entry = known.entry
    return {
        "name": entry.name,
        "family": entry.family,
        "summary": entry.summary,
        "file": None if known.file is None else str(known.file),
        "cache": None if known.place is None else str(known.place),
        "address": entry.address,
        "page": entry.page,
        "by_browser": entry.by_browser,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256 or None,
        "licence": entry.licence.name,
        "licence_address": entry.licence.address,
        "licence_accepted": known.accepted,
    }


weights.add_group("Published weights", (list_weights, get, where))
