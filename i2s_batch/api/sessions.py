"""Carries out a run for a Python program or the command line: where it reports, where its workers live, how it stops.

Ray is imported only when a run needs it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from i2s_batch.api.notebook import NotebookBar, in_notebook
from i2s_batch.api.reports import write_report
from i2s_batch.config import RunConfig
from i2s_batch.editing.strips import Strip
from i2s_batch.errors import ClusterError, ConfigError, I2SError, RunStoppedError
from i2s_batch.models import GeneratorWeights
from i2s_batch.run.chosen import ChosenCluster
from i2s_batch.run.device import has_gpu
from i2s_batch.run.execution import Outcome, Run
from i2s_batch.run.pools import Cluster, InProcessCluster
from i2s_batch.run.ray.given import cluster_is_given, ray_is_installed
from i2s_batch.run.stopping import Leave, RunInterruptedError
from i2s_batch.run.terminal import LiveLine, LiveReporter, is_terminal

# How a run reports: None or True as suits where it runs (a bar in a notebook, one live line in a terminal, else a line
# every half minute on standard error), False not at all, a function gets each line.
Progress: TypeAlias = "bool | Callable[[str], None] | None"


@dataclass(frozen=True)
class Caller:
    """Describes the program that carries out a run, where it is a command of its own and not Python code of a user.

    Attributes:
        command: The words of its command line, which resume the run; run.json holds them. None: there are none.
        leave: Ends the process where it is told to stop in the middle of a step that this thread computes. None: the
            step is waited for, as in a notebook, whose process is not the run's alone.
        confirm: Is told which run `overwrite` deletes, before it does, and raises to prevent it. None: nobody is asked.
    """

    command: tuple[str, ...] | None = None
    leave: Leave | None = None
    confirm: Callable[[str], None] | None = None


PYTHON = Caller()


@contextmanager
def session(progress: Progress) -> Iterator[Callable[[str], None]]:
    """Yield what takes the lines of a run; what is drawn last stays when the run ends.

    Raises:
        RunStoppedError: A signal came while the run was carried out, or before, or after.
        ConfigError: `progress` is nothing that can be reported to.
    """
    report = _reporter(progress)
    try:
        yield report
    except RunInterruptedError as stopped:
        raise RunStoppedError(stopped.signal, stopped.saved) from stopped
    except KeyboardInterrupt as stopped:  # before the first image, or after the last
        raise RunStoppedError(signal.SIGINT) from stopped
    finally:
        if isinstance(report, LiveReporter):
            report.end()


def execute(run: Run, in_process: bool | None, caller: Caller, report: Callable[[str], None]) -> Outcome:
    """Carry a run to its end with a Ray cluster, or with this process as the cluster.

    None chooses this process where Ray would gain nothing (`run.chosen`).
    """
    run.plan()
    overwritten = run.overwritten() if caller.confirm is not None else None
    if caller.confirm is not None and overwritten is not None:
        caller.confirm(overwritten)
    cluster: Cluster = InProcessCluster(leave=caller.leave)
    if in_process is None:
        cluster = ChosenCluster(run, cluster, ray_cluster, report)
    elif not in_process:
        cluster = ray_cluster()
    try:
        return run.execute(cluster)
    finally:
        cluster.close()


def check_device(config: RunConfig) -> None:
    """Check that a run which asks for a GPU can get one, before anything is read or written.

    Raises:
        ClusterError: It would have to work on this machine, which has none.
    """
    if config.device != "cuda" or has_gpu():
        return
    if config.in_process or (config.in_process is None and not cluster_is_given()):
        InProcessCluster().fleet(config, 1, 0)
        return
    _check_ray()
    from i2s_batch.run.ray import node

    if node.is_alone():
        raise ClusterError("this machine has no GPU that Ray can see; use --device cpu, or set RAY_ADDRESS")


def _check_ray() -> None:
    """Raise ClusterError if Ray is not installed."""
    if not ray_is_installed():
        raise ClusterError(
            "a cluster or several workers need Ray, which is not installed here; install it (pip install "
            "'ray[default]'), or work in this process: with --in-process, without --actors and RAY_ADDRESS"
        )


def cluster_at_hand(leave: Leave | None) -> Cluster:
    """Return the Ray cluster that is given, else this process, for runs that are small however many cores there are.

    Args:
        leave: Ends the process in the middle of a step, as of `Caller`.
    """
    return ray_cluster() if cluster_is_given() else InProcessCluster(leave=leave)


def ray_cluster() -> Cluster:
    """Return the Ray cluster that this process has joined, or can join, or starts.

    Raises:
        ClusterError: Ray is not installed.
    """
    _check_ray()
    # Ray would tell of a dead worker in ten lines on standard output; the driver does it in one. Read at Ray's import.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    from i2s_batch.run.ray.pool import RayCluster

    return RayCluster()


def try_report(
    out: str, generator: GeneratorWeights, report: Callable[[str], None], strips: list[Strip] | None = None
) -> str | None:
    """Write the report of a run that has ended and return its path or URL; None, and a line, where that fails.

    The table is what a run is for: it does not fail with its report. `strips`, of an edit, are not loaded again.
    """
    try:
        return write_report(out, generator, strips=strips)
    except I2SError as error:
        report(f"i2s-batch: no report was written ({error}); i2s-batch report {out} tries again")
        return None


def _reporter(progress: Progress) -> Callable[[str], None]:
    """Return what takes the lines of a run."""
    if progress is False:
        return _ignore
    if callable(progress):
        return progress
    if progress not in (None, True):
        raise ConfigError(f"progress is {progress!r}; give True, False, or a function that takes a line of text")
    if in_notebook():
        return NotebookBar()
    return LiveLine(sys.stderr) if is_terminal(sys.stderr) else _print


def _ignore(line: str) -> None:
    """Report nothing."""


def _print(line: str) -> None:
    """Write a line to standard error. A reader that has gone away must not end a run of days."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
