"""The command line. Every fault of the user's is one line on standard error and status 2."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from i2s_batch.cli.bench import bench
from i2s_batch.cli.convert import convert
from i2s_batch.cli.demo import demo
from i2s_batch.cli.edit import edit, render
from i2s_batch.cli.embed import embed
from i2s_batch.cli.export import export
from i2s_batch.cli.inspect import inspect
from i2s_batch.cli.merge import merge
from i2s_batch.cli.neighbours import neighbours
from i2s_batch.cli.query import query
from i2s_batch.cli.report import report
from i2s_batch.cli.status import status
from i2s_batch.cli.study import study
from i2s_batch.cli.verify import verify
from i2s_batch.errors import I2SError, RunFailedError


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="i2s_batch", prog_name="i2s-batch")
@click.pass_context
def commands(context: click.Context) -> None:
    """Turn whole datasets of pictures into StyleGAN latent codes (Image2StyleGAN), on Ray, into Parquet."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_ON_TABLES = (status, query, neighbours, export, verify, merge, report)
for command in (embed, edit, render, study, *_ON_TABLES, demo, convert, inspect, bench):
    commands.add_command(command)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its status: 0 done, 1 images failed, 2 bad usage or input."""
    args = sys.argv[1:] if args is None else list(args)
    try:
        # `obj` is the command line itself: a run that is stopped shows it, to go on with.
        exit_status = commands.main(args, prog_name="i2s-batch", standalone_mode=False, obj=tuple(args))
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "i2s-batch"
        _leave(f"{error.format_message()} (see {where} --help)", 2)
    except click.ClickException as error:
        _leave(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _leave("stopped", 130)
    except I2SError as error:
        if isinstance(error, RunFailedError) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)  # a bug, not a fault of the user's: worth a report
        _leave(str(error), 2)
    sys.exit(exit_status or 0)


def _leave(message: str, status: int) -> NoReturn:
    click.echo("i2s-batch: " + " ".join(message.split()), err=True)
    sys.exit(status)
