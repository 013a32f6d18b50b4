"""Defines the command line: one file a command, which calls `api` and prints.

Comes in: the words of a command line. Goes out: lines, files, an exit status. Every error of the user's is one line on
standard error and status 2. Nothing of the package imports it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from i2s_batch.cli.align import align
from i2s_batch.cli.bench import bench
from i2s_batch.cli.convert import convert
from i2s_batch.cli.demo import demo
from i2s_batch.cli.doctor import doctor
from i2s_batch.cli.edit import edit, render
from i2s_batch.cli.embed import embed
from i2s_batch.cli.export import export
from i2s_batch.cli.help_groups import GroupedCommands
from i2s_batch.cli.inspect import inspect
from i2s_batch.cli.learn import learn
from i2s_batch.cli.merge import merge
from i2s_batch.cli.neighbours import neighbours
from i2s_batch.cli.network_options import add_network_options
from i2s_batch.cli.options import add_debug
from i2s_batch.cli.query import query
from i2s_batch.cli.report import report
from i2s_batch.cli.sample import sample
from i2s_batch.cli.status import status
from i2s_batch.cli.study import study
from i2s_batch.cli.verify import verify
from i2s_batch.cli.warned import warnings_as_lines
from i2s_batch.cli.weights import weights
from i2s_batch.concurrency import passive_waiting
from i2s_batch.errors import I2SError, InternalError, QueryError, described
from i2s_batch.run.terminal import printable
from i2s_batch.storage.job_folder import why_missing

EX_SOFTWARE = 70  # of sysexits.h
_MESSAGE_CHARACTERS = 1000
_RUNS = {"embed", "edit", "render", "study", "learn"}  # which resume


@click.group(cls=GroupedCommands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="i2s_batch", prog_name="i2s-batch")
@click.pass_context
def commands(context: click.Context) -> None:
    """Invert whole image datasets into StyleGAN latents (GAN inversion, Image2StyleGAN).

    Images are embedded into W+ by Ray actors, one latent per image, into a Parquet table that can be queried, edited
    and exported. `i2s-batch COMMAND --help` explains a command.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


commands.add_group("Embed and edit", (align, embed, learn, edit, render, study))
commands.add_group("Runs and their tables", (status, report, query, neighbours, export, verify, merge))
commands.add_group("Checkpoints", (weights, inspect, sample, convert))
commands.add_group("Try and measure", (doctor, demo, bench))
add_network_options(commands)
add_debug(commands)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its status.

    The status is 0 when all is done, 1 if images failed, 2 for bad usage or input, 70 for an error of this program, and
    128 + N when signal N stopped it.
    """
    args = sys.argv[1:] if args is None else list(args)
    os.environ.update(passive_waiting(os.environ))
    try:
        _check_folder()
        status = _run(args)
        if sys.stdout is not None:  # which a program without a terminal may have closed
            sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "i2s-batch"
        message = error.format_message()
        _leave(f"{message} (see {where} --help){why_missing(message, args)}", 2)
    except click.ClickException as error:
        _leave(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _leave("stopped", 128 + signal.SIGINT)
    except InternalError as error:
        _leave_with_report(str(error), error.details, args)
    except I2SError as error:
        drawing = error.drawing if isinstance(error, QueryError) else ()
        _leave(f"{error}{why_missing(str(error), args)}", 2, drawing)
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        _leave(f"this machine has too little memory{reason}; give it more, or ask for less at a time", 2)
    except Exception as error:  # noqa: BLE001 - the last net of the command line: a bug, whatever it is, is one line
        if isinstance(error, BrokenPipeError) and _is_output_closed():
            sys.exit(128 + signal.SIGPIPE)
        if (lack := _lack_of(error)) is not None:
            _leave(lack, 2)
        doing = " ".join(["i2s-batch", *args[:1]])
        what = f"{described(error)}, while carrying out {doing}"
        _leave_with_report(what, "".join(traceback.format_exception(error)), args)
    sys.exit(status)


def _run(args: list[str]) -> int:
    """Run a command and return its exit status."""
    if "_I2S_BATCH_COMPLETE" in os.environ:  # a shell asks for completions
        commands.main(args, prog_name="i2s-batch")
    # `obj` is the command line itself: a run that is stopped shows it, to be resumed with.
    words = tuple(word for word in args if word != "--debug")
    # Not `commands.main`, which takes every BrokenPipeError and EOFError for the user's, a bug's, too.
    try:
        with warnings_as_lines(), commands.make_context("i2s-batch", list(args), obj=words) as context:
            return commands.invoke(context) or 0
    except click.exceptions.Exit as done:
        return done.exit_code


def _check_folder() -> None:
    """Raise UsageError if the folder that relative paths start from has been deleted."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
    except FileNotFoundError as error:
        raise click.UsageError("the current folder has been deleted; change to another one") from error


def _lack_of(error: Exception) -> str | None:
    """Return what this machine lacks where that explains an error of a library or of an output; None otherwise."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what is left in standard output would fail again
        os.dup2(nowhere, 1)
        os.close(nowhere)
        return f"there is no room left to write to ({described(error)}); make some, or write elsewhere"
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return f"this machine has too little memory to load a library ({error}); give it more"
    return None


def _is_output_closed() -> bool:
    """Return True if standard output or error is a pipe whose reader has gone, as with `| head`.

    What is left in such a stream is discarded: it would be written, and fail, when Python ends.
    """
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    gone = [descriptor for descriptor, state in poll.poll(0) if state & (select.POLLERR | select.POLLHUP)]
    for descriptor in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(gone)


def _leave_with_report(what: str, details: str, args: Sequence[str]) -> NoReturn:
    """Report in one line an error of this program and the path of the file for a bug report, and exit."""
    from i2s_batch.cli.bug_report import without_any_secret, write_bug_report

    what = " ".join(without_any_secret(what).split())[:_MESSAGE_CHARACTERS]
    if "--debug" in args or os.environ.get("I2S_DEBUG", "0") not in ("", "0"):
        click.echo(without_any_secret(details), err=True)
    try:
        report = f"please report it with {write_bug_report(what, details, args)}"
    except OSError as error:
        report = f"no file for a report could be written ({error}), --debug shows what it would hold"
    kept = "; what was finished is kept, and the same command resumes the run" if _RUNS & {*args[:1]} else ""
    _leave(f"{what}; this is an error of i2s-batch: {report}{kept}", EX_SOFTWARE)


def _leave(message: str, status: int, drawing: Sequence[str] = ()) -> NoReturn:
    """Exit with a message in one line, and a drawing of where the fault is, if there is one."""
    with suppress(BrokenPipeError):
        click.echo("i2s-batch: " + " ".join(message.split()), err=True)
        for line in drawing:
            click.echo(printable(line), err=True)
    _is_output_closed()
    sys.exit(status)
