"""How much of a bare render loop's rate an edit run kept.

    python -m i2s_batch.bench.render OUT --generator G --processes 2

OUT is a finished run of `edit` or `render`. Its rate is that of its rows, from the first unit to the last. The bare
loop draws the same codes in as many processes, in the same batches with the same threads, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow.compute as pc
import torch

from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, read_generator
from i2s_batch.storage.stream import read_latents

_WARM_UP = 64  # pictures


def bare_loop(generator: str, latents: np.ndarray, batch: int, threads: int) -> tuple[float, float]:
    """Draw `latents` [N, L, w_dim]; when it began after loading and warming up, and when it ended, in epoch seconds."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    network = build_generator(read_generator(generator), "cpu", set_numerics("fp32"))
    codes = torch.from_numpy(latents)

    def draw(some: torch.Tensor) -> None:
        with torch.no_grad():
            for start in range(0, len(some), batch):
                for picture in network.synthesize(some[start : start + batch]):
                    to_uint8(picture)

    draw(codes[:_WARM_UP])
    begun = time.time()
    draw(codes)
    return begun, time.time()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m i2s_batch.bench.render", description=__doc__)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    table = read_latents(options.out)
    ends = pc.min_max(table.table["embedded_at"]).as_py()
    seconds = (ends["max"] - ends["min"]).total_seconds()
    parts = np.array_split(table.latents, options.processes)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        spans = list(
            pool.map(bare_loop, *zip(*((options.generator, part, options.batch, 1) for part in parts), strict=True))
        )
    bare = len(table.ids) / (max(end for _, end in spans) - min(begun for begun, _ in spans))
    run = len(table.ids) / seconds
    figures = {"pictures": len(table.ids), "run_per_s": run, "bare_loop_per_s": bare, "fraction": run / bare}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
