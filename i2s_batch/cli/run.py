"""What the commands share that carry out runs: the lines they say, the cluster's life, and being stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from i2s_batch.errors import I2SError
from i2s_batch.run.terminal import LiveLine, is_terminal
from i2s_batch.storage.urls import hide_secrets, is_url

if TYPE_CHECKING:
    from i2s_batch.models import GeneratorWeights
    from i2s_batch.run.execution import Outcome
    from i2s_batch.run.pools import Cluster

T = TypeVar("T")


def say(line: str) -> None:
    """Write a line of progress to standard error. A reader that has gone away must not end a run of days."""
    with suppress(OSError):
        click.echo(line, err=True)


@cache
def voice() -> Callable[[str], None]:
    """What says the lines of a run: one live line if standard error is a terminal. A process has one of either."""
    return LiveLine(sys.stderr) if is_terminal(sys.stderr) else say


def execute(work: Callable[[Cluster, Callable[[str], None]], T], in_process: bool = False) -> T:
    """Run `work` with a Ray cluster, or with this process as the cluster.

    A run that was stopped by a signal leaves with 128 + its number.
    """
    from i2s_batch.run.stopping import RunInterruptedError

    cluster = _this_process() if in_process else _ray()
    try:
        return work(cluster, voice())
    except RunInterruptedError as stopped:
        status, why = 128 + stopped.signal, str(stopped)
    except KeyboardInterrupt:  # before the first image, or after the last
        status, why = 130, "stopped; run the same command again to go on"
    finally:
        _rest()
        cluster.close()
    say(_how_to_resume(why, _same_command()))
    sys.exit(status)


def _ray() -> Cluster:
    # Ray would tell of a dead worker in ten lines on standard output; the driver does it in one. Read at Ray's import.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    from i2s_batch.run.ray.pool import RayCluster

    return RayCluster()


def _this_process() -> Cluster:
    """Return a cluster of one worker in this process, which is stopped in the middle of a step if it must be."""
    from i2s_batch.run.pools import InProcessCluster
    from i2s_batch.run.stopping import RunInterruptedError

    command = _same_command()  # here: another thread has no click context

    def leave(stopped: RunInterruptedError) -> NoReturn:
        try:
            _rest()
            say(_how_to_resume(str(stopped), command))
        finally:  # whatever happens: the main thread is in the middle of a step, or waits for this end
            os._exit(128 + stopped.signal)

    return InProcessCluster(leave=leave)


def _how_to_resume(why: str, command: str) -> str:
    return f"i2s-batch: {why}:\n  {command}"


def _rest() -> None:
    """Let the live line, if there is one, come to rest."""
    live = voice()
    if isinstance(live, LiveLine):
        live.end()


def write_page(out: str, generator: GeneratorWeights) -> None:
    """Write the report. The table is what a run is for: a report that fails does not make the run fail."""
    from i2s_batch.api.reports import write_report

    try:
        click.echo(f"Report: {write_report(out, generator)}")
    except I2SError as error:
        say(f"i2s-batch: no report was written ({error}); i2s-batch report {out} tries again")


def ended(outcome: Outcome, what: str) -> int:
    """The exit status of a run that came to its end, and why if it is not 0."""
    if outcome.acceptable:
        return 0
    limit = outcome.config.max_failed_fraction
    say(f"i2s-batch: {outcome.failed} {what} failed, more than --max-failed-fraction {limit} allows")
    return 1


def command_words(local: set[str]) -> tuple[str, ...] | None:
    """This command line, with the paths in `local` absolute, to be run again from anywhere; None if it holds a
    secret."""
    from i2s_batch.output.run_record import given

    words = []
    for word in click.get_current_context().obj:
        if is_url(word) and given(word) is None:
            return None
        is_path = word in local and not is_url(word)
        words.append(str(Path(word).absolute()) if is_path else word)
    return tuple(words)


def _same_command() -> str:
    """The command line of this process, to be pasted. What it holds of secrets belongs in no log."""
    words = click.get_current_context().obj
    shown = [hide_secrets(word) for word in words]
    return shlex.join(["i2s-batch", *shown]) + ("" if shown == list(words) else "  (add what is secret in its urls)")
