"""Shares among the commands that carry out runs: the lines they log, the life of the cluster, and being stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from i2s_batch.cli.options import Location
from i2s_batch.errors import I2SError
from i2s_batch.run.terminal import LiveLine, is_terminal
from i2s_batch.storage.urls import hide_secrets, is_url

if TYPE_CHECKING:
    from i2s_batch.editing.strips import Strip
    from i2s_batch.models import GeneratorWeights
    from i2s_batch.run.execution import Outcome
    from i2s_batch.run.pools import Cluster

T = TypeVar("T")


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


def execute(work: Callable[[Cluster, Callable[[str], None]], T], in_process: bool = False) -> T:
    """Run `work` with a Ray cluster, or with this process as the cluster.

    If a signal stops the run, the process exits with status 128 + the number of the signal.
    """
    from i2s_batch.run.stopping import RunInterruptedError

    cluster = _this_process() if in_process else _ray()
    try:
        return work(cluster, line_logger())
    except RunInterruptedError as stopped:
        status, why = 128 + stopped.signal, str(stopped)
    except KeyboardInterrupt:  # before the first image, or after the last
        status, why = 130, "stopped; run the same command again to resume"
    finally:
        _end_live_line()
        cluster.close()
    log_line(_how_to_resume(why, _same_command()))
    sys.exit(status)


def _ray() -> Cluster:
    # Ray would log a dead worker in ten lines on standard output; the driver logs one. Ray reads this at its import.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    from i2s_batch.run.ray.pool import RayCluster

    return RayCluster()


def _this_process() -> Cluster:
    """Return a cluster of one worker in this process, whose step is abandoned if the run is stopped."""
    from i2s_batch.run.pools import InProcessCluster
    from i2s_batch.run.stopping import RunInterruptedError

    command = _same_command()  # here: another thread has no click context

    def leave(stopped: RunInterruptedError) -> NoReturn:
        try:
            _end_live_line()
            log_line(_how_to_resume(str(stopped), command))
        finally:  # whatever happens: the main thread is in the middle of a step, or waits for this end
            os._exit(128 + stopped.signal)

    return InProcessCluster(leave=leave)


def _how_to_resume(why: str, command: str) -> str:
    return f"i2s-batch: {why}:\n  {command}"


def _end_live_line() -> None:
    """End the live line, if there is one."""
    live = line_logger()
    if isinstance(live, LiveLine):
        live.end()


def write_page(out: str, generator: GeneratorWeights, strips: list[Strip] | None = None) -> None:
    """Write the report of a run; if it cannot be written, a line says so and the run does not fail.

    Args:
        out: The output.
        generator: The generator of the run.
        strips: Those of an edit, which are then not loaded again.
    """
    from i2s_batch.api.reports import write_report

    try:
        click.echo(f"Report: {write_report(out, generator, strips=strips)}")
    except I2SError as error:
        log_line(f"i2s-batch: no report was written ({error}); i2s-batch report {out} tries again")


def ended(outcome: Outcome, what: str) -> int:
    """Return the exit status of a run that has ended, and log the reason if it is not 0."""
    if outcome.acceptable:
        return 0
    limit = outcome.config.max_failed_fraction
    log_line(f"i2s-batch: {outcome.failed} {what} failed, more than --max-failed-fraction {limit} allows")
    return 1


def command_words() -> tuple[str, ...] | None:
    """Return this command line with its paths absolute, to be run again from anywhere; None if it holds a secret.

    Paths are the parameters of the command whose type is `options.Location`.
    """
    from i2s_batch.output.run_record import given

    context = click.get_current_context()
    names = len(context.command_path.split()) - 1  # "edit morph"
    words = [*context.obj[:names], *_with_absolute_paths(context.command, context.obj[names:])]
    values = [value for word in words for value in (word, word.partition("=")[2]) if is_url(value)]
    return None if any(given(value) is None for value in values) else tuple(words)


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
    words = click.get_current_context().obj
    shown = [hide_secrets(word) for word in words]
    return shlex.join(["i2s-batch", *shown]) + ("" if shown == list(words) else "  (add what is secret in its urls)")
