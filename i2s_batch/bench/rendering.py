"""Measures how much of a bare render loop's rate an edit run kept.

    python -m i2s_batch.bench.rendering OUT --generator G --processes 2

OUT is a finished run of `edit` or `render`. Its rate is that of the middle nine tenths of its rows, since workers start
and end at different times. Bare loops render the same latents in as many processes, in the same batches with the same
threads; one writes nothing, one encodes each image as a PNG in memory.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import torch

from i2s_batch.bench.command_line import parser_of
from i2s_batch.images.read.decoding import encode_image
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, read_generator
from i2s_batch.table.arrays import read_latents

_WARM_UP = 64  # images


def bare_loop(generator: str, latents: np.ndarray, batch: int, encodes: bool) -> tuple[float, float]:
    """Render `latents` [N, L, w_dim] on one thread; return start, after a warm-up, and end in epoch seconds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    network = build_generator(read_generator(generator), "cpu", set_numerics("fp32"))
    ws = torch.from_numpy(latents)

    def draw(some: torch.Tensor) -> None:
        with torch.no_grad():
            for start in range(0, len(some), batch):
                for image in map(to_uint8, network.synthesize(some[start : start + batch])):
                    if encodes:
                        encode_image(image, "png")

    draw(ws[:_WARM_UP])
    begun = time.time()
    draw(ws)
    return begun, time.time()


def bare_rate(generator: str, latents: np.ndarray, processes: int, batch: int, encodes: bool) -> float:
    """Return the images per second of bare loops in `processes` processes."""
    parts = np.array_split(latents, processes)
    arguments = zip(*((generator, part, batch, encodes) for part in parts), strict=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        begun, ended = zip(*pool.map(bare_loop, *arguments), strict=True)
    return len(latents) / float(max(ended) - min(begun))


def run_rate(table: pa.Table) -> float:
    """Return the images per second in the middle nine tenths of a run's rows."""
    times = np.sort(table["embedded_at"].cast(pa.int64()).to_numpy()) / 1e6
    first, last = round(0.05 * len(times)), round(0.95 * len(times)) - 1
    return float((last - first) / (times[last] - times[first]))


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("rendering", __doc__)
    parser.add_argument("out", metavar="OUT", help="Folder or s3:// prefix of a finished edit.")
    parser.add_argument("--generator", required=True, help="StyleGAN checkpoint.")
    parser.add_argument("--processes", type=int, default=2, help="Number of processes with a bare loop.")
    parser.add_argument("--batch", type=int, default=8, help="Images in a batch.")
    options = parser.parse_args()
    table = read_latents(options.out)
    run = run_rate(table.table)
    figures: dict[str, float] = {"pictures": len(table.ids), "run_per_s": run}
    for name, encodes in (("bare", False), ("bare_with_png", True)):
        rate = bare_rate(options.generator, table.latents, options.processes, options.batch, encodes)
        figures |= {f"{name}_per_s": rate, f"of_{name}": run / rate}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
