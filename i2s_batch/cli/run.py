"""What the commands share that run on Ray: the cluster's life, and being stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from i2s_batch.runtime.pools import Cluster

T = TypeVar("T")


def say(line: str) -> None:
    """A line of progress, on standard error."""
    click.echo(line, err=True)


def execute(work: Callable[[Cluster, Callable[[str], None]], T]) -> T:
    """Run `work` with a Ray cluster; a run that was stopped by a signal leaves with 128 + its number."""
    from i2s_batch.runtime.embed import RunInterruptedError
    from i2s_batch.runtime.ray_pool import RayCluster

    cluster = RayCluster()
    try:
        return work(cluster, say)
    except RunInterruptedError as stopped:
        say(f"i2s-batch: {stopped}")
        sys.exit(128 + stopped.signal)
    finally:
        cluster.close()
