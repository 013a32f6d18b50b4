"""What the run costs on top of the engine: the same pictures alone in as many processes, and through Ray.

    python -m i2s_batch.bench.overhead SOURCE OUT --generator FILE [--vgg FILE] [--steps N] [--stop-plateau P]
        [--plateau-steps N] [--actors N] [--threads N] [--batch-size N] [--rounds N]

embeds the pictures of SOURCE on the CPU (`i2s-batch bench --pictures`: or on a GPU), in turn: by the bare engine,
which has them decoded in memory and keeps nothing; and by a run into a new folder in OUT (removed after each), which
reads files, computes metrics, saves checkpoints, writes rows and makes the table. Both are timed from the first
picture's start to the last one's end; what a run takes before and after that is told apart. `occupancy` is the part of
all slots' time, until the last picture was put into one, in which they held pictures. All pictures have to be readable.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2s_batch.config import EmbedConfig, EmbedRunConfig, ImageSettings
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.engine import Engine
from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_picture
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.run.ray.pool import RayCluster
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.table.shards import read_table


@dataclass(frozen=True)
class Case:
    """A run on `actors` processes of `threads` each."""

    request: EmbedRunRequest
    threads: int

    @property
    def actors(self) -> int:
        """How many processes."""
        assert self.request.config.actors is not None
        return self.request.config.actors

    @property
    def slots(self) -> int:
        """Pictures that are embedded at a time."""
        assert self.request.config.batch_size is not None
        return self.actors * self.request.config.batch_size


def readable(source: str) -> list[tuple[str, np.ndarray]]:
    """The pictures of SOURCE, decoded, under their ids. Raises PictureError, naming it, for a file that is none."""
    pictures = []
    for row in list_images(source).read().to_pylist():
        try:
            pictures.append((row["image_id"], decode_picture(read_bytes(row["uri"]))))
        except PictureError as error:
            raise PictureError(f"{row['uri']}: {error}; a bench needs pictures that can all be embedded") from error
    return pictures


def _alone(case: Case, number: int, ready: Any, answer: Any) -> None:
    """One process of the bare engine: when it began, and when it had embedded its share."""
    keep_freed_memory()
    torch.set_num_threads(case.threads)
    request, config = case.request, case.request.config
    engine = Engine(generator_weights(request.generator), vgg_weights(request.vgg), config.device, config.precision)
    pictures = readable(request.source)[number :: case.actors]
    assert config.batch_size is not None
    embedder = engine.embedder(ImageSettings(config.embed), min(config.batch_size, len(pictures)))
    ready.wait()
    began = time.monotonic()
    for _ in embedder.embed(pictures):
        pass
    answer.put((began, time.monotonic()))


def engine_alone(case: Case) -> float:
    """Seconds that the bare engine takes, in as many processes as the run has."""
    fresh = multiprocessing.get_context("spawn")
    ready, answer = fresh.Barrier(case.actors), fresh.Queue()
    processes = [fresh.Process(target=_alone, args=(case, n, ready, answer)) for n in range(case.actors)]
    for process in processes:
        process.start()
    times = [answer.get() for _ in processes]
    for process in processes:
        process.join()
    return float(max(ended for _, ended in times) - min(began for began, _ in times))


def whole_run(case: Case) -> dict[str, float]:
    """Seconds from the first picture's start to the last one's end, and those of the run before and after them."""
    Path(case.request.out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=case.request.out) as folder:
        request = replace(case.request, out=f"{folder}/run")
        cluster = RayCluster()
        began = time.time()
        try:
            EmbedRun(request, lambda line: None).execute(cluster)
        finally:
            cluster.close()
        ended = time.time()
        rows = read_table(request.out, ["image_id", "embedded_at", "seconds", "status", "steps"])
    assert set(rows["status"].to_pylist()) == {STATUS_OK}
    ends = np.array([at.timestamp() for at in rows["embedded_at"].to_pylist()])
    starts = ends - rows["seconds"].to_numpy()
    steps, first, last = rows["steps"].to_numpy(), float(starts.min()), float(ends.max())
    return {
        "seconds": last - first,
        "before_s": first - began,
        "after_s": ended - last,
        "occupancy": occupancy(starts, ends, case.slots),
        "least_steps": int(steps.min()),
        "most_steps": int(steps.max()),
    }


def occupancy(starts: np.ndarray, ends: np.ndarray, slots: int) -> float:
    """Of the time of `slots` from the first start to the last one, the part between starts and ends."""
    span = float(starts.max() - starts.min())
    return float((np.minimum(ends, starts.max()) - starts).sum() / (slots * span)) if span else 1.0


def measure(case: Case, rounds: int) -> Iterator[dict[str, float]]:
    """The figures of each round as soon as they are known, and at last the medians, with the quotient of both."""
    readable(case.request.source)  # here first: a process that finds one that is not would leave this one waiting
    known = []
    for _ in range(rounds):
        known.append({"engine_s": engine_alone(case)} | {f"run_{k}": v for k, v in whole_run(case).items()})
        yield known[-1]
    medians = {name: statistics.median(each[name] for each in known) for name in known[0]}
    yield medians | {"run_over_engine": statistics.median(each["run_seconds"] / each["engine_s"] for each in known)}


def main() -> None:
    """Print each round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--vgg", default="random")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--stop-plateau", type=float, default=None)
    parser.add_argument("--plateau-steps", type=int, default=250)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--threads", type=int, default=None, help="Of an actor, if the cluster gives it fewer CPUs.")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    embed = EmbedConfig(steps=given.steps, stop_plateau=given.stop_plateau, plateau_steps=given.plateau_steps)
    config = EmbedRunConfig(embed=embed, actors=given.actors, batch_size=given.batch_size, device="cpu")
    request = EmbedRunRequest(given.source, given.out, given.generator, given.vgg, config)
    case = Case(request, threads=given.threads or max(1, (os.cpu_count() or 1) // given.actors))
    for figures in measure(case, given.rounds):
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
