"""Shares among the commands that carry out runs: the lines they log, the life of the cluster, and being stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from i2s_batch.cli.option_types import Location
from i2s_batch.errors import RunStoppedError
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import LiveLine, is_terminal
from i2s_batch.storage.urls import hide_secrets, is_url

if TYPE_CHECKING:
    from i2s_batch.api.results import RunResult
    from i2s_batch.api.sessions import Caller
    from i2s_batch.run.pools import Cluster

T = TypeVar("T")

_NOT_AGAIN = ("--overwrite", "--yes", "-y")  # no part of the command that resumes a run


def log_line(line: str) -> None:
    """Write a line of progress to standard error.

    A reader of standard error that has gone away must not end a run of days: the failure is ignored.
    """
    with suppress(OSError):
        click.echo(line, err=True)


@cache
def line_logger() -> Callable[[str], None]:
    """Return what logs the lines of a run: one live line if standard error is a terminal, else `log_line`.

    It is the same object throughout a process.
    """
    return LiveLine(sys.stderr) if is_terminal(sys.stderr) else log_line


def caller(overwrite: bool = False, yes: bool = False) -> Caller:
    """Return what a run needs to know of this command line: its words, its questions, how it ends within a step.

    Args:
        overwrite: Whether the command may delete the run that OUT holds.
        yes: Whether it need not ask before.

    Raises:
        click.UsageError: It has to ask, and nobody is there to answer.
    """
    from i2s_batch.api.sessions import Caller

    if overwrite and not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("--overwrite asks before it deletes a run, and this is no terminal; add --yes")
    from i2s_batch.run.stopping import RunInterruptedError

    command = _same_command()  # here: another thread has no click context

    def leave(stopped: RunInterruptedError) -> NoReturn:
        try:
            _end_live_line()
            log_line(_how_to_resume(stopped.saved, command))
        finally:  # whatever happens: the main thread is in the middle of a step, or waits for this end
            os._exit(128 + stopped.signal)

    return Caller(command_words(), leave, None if yes or not overwrite else _ask_before_deleting)


def _ask_before_deleting(what: str) -> None:
    """Ask whether a run is to be deleted; raise ClickException if not."""
    _end_live_line()
    if not click.confirm(f"{what}. Delete it, and begin anew?", err=True):
        raise click.ClickException("nothing was deleted; without --overwrite give another OUT")


@contextmanager
def shown_at_once(doing: str) -> Iterator[None]:
    """Show on a terminal what a command is doing until it prints something: libraries take seconds to load."""
    live = line_logger()
    if isinstance(live, LiveLine):
        live.stage(doing)
    elif sys.stderr.isatty():
        log_line(doing)
    try:
        yield
    finally:
        _end_live_line()


@contextmanager
def resumable(doing: str = "starting") -> Iterator[None]:
    """Carry out a run; if a signal stops it, the process exits with status 128 + the number of the signal.

    The command that resumes the run is shown on standard error, and on a terminal at once what is `doing`.
    """
    try:
        with shown_at_once(doing):
            yield
    except RunStoppedError as stopped:
        log_line(_how_to_resume(stopped.saved, _same_command()))
        sys.exit(128 + stopped.signal)


def execute(work: Callable[[Cluster, Callable[[str], None]], T]) -> T:
    """Run `work`, several runs of a program of ours, in this process, or on the Ray cluster that is given."""
    with resumable():
        from i2s_batch.api import sessions

        cluster = sessions.cluster_at_hand(caller().leave)
        with sessions.session(line_logger()) as report:
            try:
                return work(cluster, report)
            finally:
                cluster.close()


def _how_to_resume(saved: int | None, command: str) -> str:
    """Return the message of a run that was stopped when `saved` images in flight had been saved."""
    kept = "" if saved is None else f" {counted(saved, 'image in flight was', 'images in flight were')} saved,"
    return f"i2s-batch: stopped;{kept} run the same command again to resume:\n  {command}"


def _end_live_line() -> None:
    """End the live line, if there is one."""
    live = line_logger()
    if isinstance(live, LiveLine):
        live.end()


def ended(result: RunResult, what: str) -> int:
    """Show where the report of a run is and return the exit status; a line gives the reason if it is not 0."""
    if result.report is not None:
        click.echo(f"Report: {result.report}")
    if result.acceptable:
        return 0
    limit = result.max_failed_fraction
    failed = counted(result.failed, what.removesuffix("s"))
    log_line(f"i2s-batch: {failed} failed, more than --max-failed-fraction {limit} allows")
    return 1


def command_words() -> tuple[str, ...] | None:
    """Return this command line with its paths absolute, to be run again from anywhere; None if it holds a secret.

    Paths are the parameters of the command whose type is `option_types.Location`.
    """
    from i2s_batch.output.run_record import given

    context = click.get_current_context()
    names = len(context.command_path.split()) - 1  # "edit morph"
    words = [*context.obj[:names], *_with_absolute_paths(context.command, _resuming(context.obj[names:]))]
    values = [value for word in words for value in (word, word.partition("=")[2]) if is_url(value)]
    return None if any(given(value) is None for value in values) else tuple(words)


def _resuming(words: Sequence[str]) -> list[str]:
    """Return the words of a command without those that would delete what it has done when it is run again."""
    last = words.index("--") if "--" in words else len(words)
    return [word for at, word in enumerate(words) if at > last or word not in _NOT_AGAIN]


def _with_absolute_paths(command: click.Command, words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line that `command` has accepted, each read as Click reads it."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}
    awaiting: click.Parameter | None = None  # the option whose value comes next
    only_arguments = False
    for word in words:
        if awaiting is not None:
            yield _absolute(word, awaiting)
            awaiting = None
        elif only_arguments or word == "-" or not word.startswith("-"):
            yield _absolute(word, arguments[0] if arguments[0].nargs < 0 else arguments.pop(0))
        else:
            name, equals, value = word.partition("=")
            option = options.get(name)
            yield f"{name}={_absolute(value, option)}" if equals and option is not None else word
            only_arguments = word == "--"
            awaiting = None if equals or option is None or option.is_flag else option


def _absolute(word: str, parameter: click.Parameter) -> str:
    return parameter.type.absolute(word) if isinstance(parameter.type, Location) else word


def _same_command() -> str:
    """Return the command line of this process, to be pasted; secrets are left out, since lines end in logs."""
    words = _resuming(click.get_current_context().obj)
    shown = [hide_secrets(word) for word in words]
    return shlex.join(["i2s-batch", *shown]) + ("" if shown == words else "  (add what is secret in its urls)")
