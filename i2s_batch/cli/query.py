"""`i2s-batch query`: SQL over the table of a run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2s_batch.cli.aligned import aligned, terminal_columns
from i2s_batch.cli.help_groups import OUTPUT, GroupedCommand, option
from i2s_batch.cli.options import refuse_without_effect
from i2s_batch.cli.run_command import log_line, shown_at_once
from i2s_batch.plurals import counted
from i2s_batch.storage.urls import is_url

if TYPE_CHECKING:
    from i2s_batch.table.sql import QueryResult

FORMATS = ("table", "csv", "json", "parquet")
_NAMED = 6  # of the columns that do not fit
TABLE_ROWS = 50  # shown when no --limit is given


_HELP = """Query a table with SQL.

OUT is the folder or s3:// prefix of a run. SQL is one SELECT in the SQL of DuckDB, which can only read the table:

\b
latents                all rows; "DESCRIBE latents" lists the columns
failures               the rows whose status is not ok
layer(latent, k)       layer k of a latent, 0 is the coarsest
latent_of(image_id)    the latent of one image
euclidean(a, b)        distance of two latents or layers
cosine(a, b)           1 - their cosine
psnr_class(psnr)       00-20 dB, 20-25 dB, ..., 40+ dB
"""


@click.command(cls=GroupedCommand, help=_HELP)
@click.argument("out")
@click.argument("sql")
@option(
    "--format",
    "kind",
    group=OUTPUT,
    type=click.Choice(FORMATS),
    help="Format of the result. Default: the ending of FILE, or a table for people on standard output.",
)
@option(
    "--limit",
    group=OUTPUT,
    type=click.IntRange(min=1),
    help=f"Largest number of rows. Default: {TABLE_ROWS} of a table for people, otherwise all.",
)
@option(
    "--max-width",
    group=OUTPUT,
    type=click.IntRange(min=20),
    help="Characters in a line of a table for people. Default: the width of the terminal; whole texts elsewhere.",
)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    metavar="FILE",
    help="File on this machine that gets the result. Default: standard output.",
)
def query(out: str, sql: str, kind: str | None, limit: int | None, max_width: int | None, output: str | None) -> int:
    """Run a query and print its result, or write it into a file."""
    kind = _kind(kind, output)
    if kind != "table":
        refuse_without_effect(["--max-width"], "in a table for programs")
    with shown_at_once("reading the table"):
        from i2s_batch.output.ownership import check_file
        from i2s_batch.table.dataset import open_table
        from i2s_batch.table.sql import run_query

        if output is not None:
            check_file(output)
    with run_query(open_table(out), sql) as found:
        if kind == "table" and output is None:
            _show(found, limit, max_width)
        else:
            _write(found, kind, limit, output)
    return 0


def _kind(kind: str | None, output: str | None) -> str:
    if kind is None:
        ending = "" if output is None else Path(output).suffix.removeprefix(".").lower()
        kind = ending if ending in FORMATS else "table"
        if output is not None and kind == "table":
            raise click.UsageError(f"{output!r} ends in no format; end it in .csv, .json or .parquet, or give --format")
    if output is None and kind == "parquet":
        raise click.UsageError("Parquet is not for a terminal; name a file with --output FILE.parquet")
    if output is not None and kind == "table":
        raise click.UsageError("a file takes --format csv, json or parquet")
    if output is not None and is_url(output):
        raise click.UsageError(f"--output is {output!r}; give a path on this machine")
    return kind


def _show(found: QueryResult, given_limit: int | None, max_width: int | None) -> None:
    """Print the first rows as a table; lines on standard error say how many there are, and what is not shown."""
    from i2s_batch.table.query_output import limited

    limit = TABLE_ROWS if given_limit is None else given_limit
    rows: list[tuple[Any, ...]] = []
    for batch in limited(found.batches, limit + 1):
        rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    table = aligned(found.schema.names, rows[:limit], max_width or terminal_columns())
    click.echo("\n".join(table.lines))
    if table.left_out:
        some = ", ".join(table.left_out[:_NAMED]) + (", ..." if len(table.left_out) > _NAMED else "")
        log_line(
            f"{counted(len(table.left_out), 'column does', 'columns do')} not fit ({some}); name those that you want"
        )
    if len(rows) > limit:
        log_line(f"there are more than these {limit} rows; --limit shows more, --output FILE.csv writes all")
    else:
        log_line("1 row" if len(rows) == 1 else f"{len(rows)} rows")


def _write(found: QueryResult, kind: str, limit: int | None, output: str | None) -> None:
    from i2s_batch.storage.files import written_whole
    from i2s_batch.table.query_output import limited, write_csv, write_json, write_parquet

    batches = limited(found.batches, limit)
    write_text = write_json if kind == "json" else write_csv
    if output is None:
        write_text(found.schema, batches, sys.stdout)
        return
    with written_whole(Path(output), seekable=kind == "parquet") as file:
        if kind == "parquet":
            write_parquet(found.schema, batches, file)
        else:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            write_text(found.schema, batches, text)
            text.detach()  # flushes it; the file is not this one's to close
