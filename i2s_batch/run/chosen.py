"""Chooses where the workers of a run live: in this process where Ray would gain nothing, otherwise on Ray.

Ray takes some ten seconds to start, and a worker that is a process of its own some more. It brings several workers, and
an image that crashes its worker (a fault of a decoder, a lack of memory) does not end the run. One device has one
worker, so there this process is as fast. An output whose driver was killed is left to Ray, where an image that is to
blame is given up after some deaths.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from i2s_batch.config import RunConfig
from i2s_batch.run.cores import usable_cores
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Cluster, Fleet, Pool, WorkerSpec
from i2s_batch.run.ray.given import cluster_is_given, ray_is_installed
from i2s_batch.run.stopping import Leave

# So many cores one worker uses as well as several workers of one thread do (docs/guides/performance.md); with more, its
# threads wait for each other. Only two have been measured.
ALONE_CORES = 2
# A run is small if one worker is expected to do it in this time: about what starting Ray takes.
SMALL_S = 10.0
# Multiplications a second that convolutions reach in float32: of one core of a server (70 of 140 GFLOP/s of two cores,
# docs/guides/performance.md), and of a GPU with some allowance for small networks.
_WORK_PER_S = {"cpu": 2e10, "cuda": 2e12}
# What an update takes however small the networks are: the launches of its operators, files that are read and written.
_LEAST_S = 0.005


def expected_seconds(run: Run, units: int, device: str) -> float:
    """Return about how long one worker takes for `units` of a run: a guess from the sizes of its networks."""
    plan = run.plan()
    images = min(units * plan.unit_size, len(plan))
    return images * run.steps * (run.update_work / _WORK_PER_S[device] + _LEAST_S)


class ChosenCluster:
    """Works in this process or on Ray, whichever suits the run; decided when it is known how much is to be done."""

    def __init__(self, run: Run, here: Cluster, on_ray: Callable[[], Cluster], report: Callable[[str], None]) -> None:
        """Look at the output of `run`, before the run takes it.

        Args:
            run: The run that is to be carried out.
            here: Works in this process.
            on_ray: Returns what works on Ray.
            report: Shows a line to the user.
        """
        self._run, self._here, self._on_ray, self._report = run, here, on_ray, report
        self._was_killed = run.was_killed()
        self._chosen: Cluster | None = None

    @property
    def leave(self) -> Leave | None:
        """Return what ends the process, if the worker lives in it."""
        return None if self._chosen is None else self._chosen.leave

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Choose, and offer what the chosen one offers."""
        if self._chosen is None:
            self._chosen = self._here if self._suits_this_process(config, units) else self._on_ray()
        return self._chosen.fleet(config, units, worker_bytes)

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        """Return a pool of the chosen one."""
        assert self._chosen is not None
        return self._chosen.pool(spec, fleet)

    def close(self) -> None:
        """Close the chosen one."""
        if self._chosen is not None:
            self._chosen.close()

    def _suits_this_process(self, config: RunConfig, units: int) -> bool:
        if (config.actors or 1) > 1 or cluster_is_given():
            return False
        device = self._here.fleet(config, units, 0).device  # raises, before Ray starts, where there is no such device
        if not ray_is_installed():
            return True
        if units > 1 and not is_one_worker_enough(config, device) and not self._is_small(units, device):
            return False
        if self._was_killed:
            self._report(
                "an earlier driver of this output was killed, perhaps by one of its images: the rest is done on Ray, "
                "whose workers may die; --in-process does it here"
            )
        return not self._was_killed

    def _is_small(self, units: int, device: str) -> bool:
        several_gpus = device == "cuda" and torch.cuda.device_count() > 1
        return not several_gpus and expected_seconds(self._run, units, device) <= SMALL_S


def is_one_worker_enough(config: RunConfig, device: str) -> bool:
    """Return whether several workers on this machine would gain nothing over one, or are not asked for."""
    return (config.actors or devices(device)) == 1


def devices(device: str) -> int:
    """Return how many workers use this machine better than one does: one for each GPU, or for each of many cores."""
    if device == "cuda":
        return torch.cuda.device_count()
    cores = usable_cores()
    return cores if cores > ALONE_CORES else 1
