"""Measures what a run costs on top of the engine: the same images alone in as many processes, and through Ray.

    python -m i2s_batch.bench.overhead SOURCE OUT --generator FILE --actors 2 --batch-size 2 --steps 400

The images of SOURCE are embedded on the CPU (with `i2s-batch bench --images`, on a GPU, too) in turn: by the bare
engine, which has them decoded in memory and keeps nothing; and by a run into a new folder in OUT (removed after each),
which reads files, computes metrics, saves checkpoints, writes rows and makes the table. Both are timed from the first
image's start to the last one's end; the time of a run before and after that is measured separately. `occupancy` is the
batch occupancy until the last image was put into a slot. All images have to be readable. The last line is JSON.
"""

from __future__ import annotations

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

from i2s_batch.bench.command_line import parser_of
from i2s_batch.config import EmbedConfig, EmbedRunConfig, ImageSettings
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.engine import Engine
from i2s_batch.errors import PictureError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.run.ray.pool import RayCluster
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.table.shards import read_table


@dataclass(frozen=True)
class Case:
    """Describes a run on `actors` processes of `threads` threads each."""

    request: EmbedRunRequest
    threads: int

    @property
    def actors(self) -> int:
        """Return the number of processes."""
        assert self.request.config.actors is not None
        return self.request.config.actors

    @property
    def slots(self) -> int:
        """Return the number of images that are embedded at a time."""
        assert self.request.config.batch_size is not None
        return self.actors * self.request.config.batch_size


def readable(source: str) -> list[tuple[str, np.ndarray]]:
    """Return the images of SOURCE, decoded, under their ids.

    Raises:
        PictureError: A file is no readable image; the message names it.
    """
    images = []
    for row in list_images(source).read().to_pylist():
        try:
            images.append((row["image_id"], decode_image(read_bytes(row["uri"]))))
        except PictureError as error:
            raise PictureError(f"{row['uri']}: {error}; a measurement needs images that can all be embedded") from error
    return images


def _alone(case: Case, number: int, ready: Any, results: Any) -> None:
    """Embed one process's share of the images with the bare engine, and send its start and end."""
    keep_freed_memory()
    torch.set_num_threads(case.threads)
    request, config = case.request, case.request.config
    engine = Engine(generator_weights(request.generator), vgg_weights(request.vgg), config.device, config.precision)
    images = readable(request.source)[number :: case.actors]
    assert config.batch_size is not None
    embedder = engine.embedder(ImageSettings(config.embed), min(config.batch_size, len(images)))
    ready.wait()
    began = time.monotonic()
    for _ in embedder.embed(images):
        pass
    results.put((began, time.monotonic()))


def engine_alone(case: Case) -> float:
    """Return the seconds that the bare engine takes, in as many processes as the run has."""
    fresh = multiprocessing.get_context("spawn")
    ready, results = fresh.Barrier(case.actors), fresh.Queue()
    processes = [fresh.Process(target=_alone, args=(case, n, ready, results)) for n in range(case.actors)]
    for process in processes:
        process.start()
    times = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return float(max(ended for _, ended in times) - min(began for began, _ in times))


def whole_run(case: Case) -> dict[str, float]:
    """Return the seconds of a run from the first image's start to the last one's end, and those before and after."""
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
    """Return the batch occupancy: the part of the slots' time, from the first start to the last, that images took."""
    span = float(starts.max() - starts.min())
    return float((np.minimum(ends, starts.max()) - starts).sum() / (slots * span)) if span else 1.0


def measure(case: Case, rounds: int) -> Iterator[dict[str, float]]:
    """Yield the figures of each round as soon as they are known, and last the medians, with the quotient of both."""
    readable(case.request.source)  # here first: a process that fails on an unreadable one would leave this one waiting
    known = []
    for _ in range(rounds):
        known.append({"engine_s": engine_alone(case)} | {f"run_{k}": v for k, v in whole_run(case).items()})
        yield known[-1]
    medians = {name: statistics.median(each[name] for each in known) for name in known[0]}
    yield medians | {"run_over_engine": statistics.median(each["run_seconds"] / each["engine_s"] for each in known)}


def main() -> None:
    """Run the command line; print each round, then the medians."""
    parser = parser_of("overhead", __doc__)
    parser.add_argument("source", metavar="SOURCE", help="Images: a folder, a pattern or a list.")
    parser.add_argument("out", metavar="OUT", help="Folder for the runs, which are removed.")
    parser.add_argument("--generator", required=True, help="StyleGAN checkpoint.")
    parser.add_argument("--vgg", default="random", help="VGG-16 weights: imagenet, random, a path or a URL.")
    parser.add_argument("--steps", type=int, default=400, help="Optimizer steps per image.")
    parser.add_argument("--early-stopping", type=float, help="Minimum improvement in percent within --patience steps.")
    parser.add_argument("--patience", type=int, default=250, help="Steps within which an image has to improve.")
    parser.add_argument("--actors", type=int, default=2, help="Number of workers, and of processes of the bare engine.")
    parser.add_argument("--threads", type=int, help="CPU threads per process; none is the fair share.")
    parser.add_argument("--batch-size", type=int, default=2, help="Images in a batch of one worker.")
    parser.add_argument("--rounds", type=int, default=3, help="Number of rounds; their medians count.")
    given = parser.parse_args()
    embed = EmbedConfig(steps=given.steps, stop_plateau=given.early_stopping, plateau_steps=given.patience)
    config = EmbedRunConfig(embed=embed, actors=given.actors, batch_size=given.batch_size, device="cpu")
    request = EmbedRunRequest(given.source, given.out, given.generator, given.vgg, config)
    case = Case(request, threads=given.threads or max(1, (os.cpu_count() or 1) // given.actors))
    for figures in measure(case, given.rounds):
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
