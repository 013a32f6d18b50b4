"""Measures everything of the engine's speed that takes a GPU, in one call that needs torch, NumPy and Pillow only.

    python -m i2s_batch.bench.gpu --device cuda --resolution 1024 --batch-sizes 1 4 8 16 --budget 420

Each case prints a line of JSON as soon as it is measured, so that a call that is cut short has printed what it could.
No case begins after --budget seconds; the cases that matter most come first. Every case is checked against plain
float32 at batch 1: the loss before the first update and after --steps updates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.loop import check_device, measure_loop
from i2s_batch.bench.traffic import memory_rate
from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg
from i2s_batch.models import random_generator as drawn_generator
from i2s_batch.models import random_vgg as drawn_vgg


def cases(batch_sizes: list[int]) -> Iterator[tuple[str, bool, int]]:
    """Yield (precision, compile, batch size): first what is expected to be fastest, then what it is compared with."""
    for precision, compile in (("bf16", True), ("tf32", True), ("fp32", False), ("bf16", False), ("fp32", True)):
        for batch_size in reversed(batch_sizes):
            yield precision, compile, batch_size


def networks(generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str) -> tuple[Generator, VGG16]:
    """Return the networks on the device, in `precision`."""
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    return build_generator(generator, device, dtype, maps), build_vgg(vgg, device, dtype, maps)


def losses(generator: Generator, vgg: VGG16, compile: bool, batch_size: int, steps: int) -> tuple[float, float, str]:
    """Return the first and last loss of one image in a batch of `batch_size`, and the compiler's warning.

    Raises:
        torch.OutOfMemoryError: Fewer than `batch_size` images fit, with which the engine would continue.
    """
    embedder = Embedder(generator, vgg, EmbedConfig(steps=steps, batch_size=batch_size, compile=compile))
    side = np.linspace(0, 255, generator.resolution, dtype=np.uint8)
    shades = np.broadcast_to(side[:, None, None], (len(side), len(side), 3))
    images = ((str(i), np.roll(shades, i * 7, axis=0).copy()) for i in range(batch_size))
    result = next(result for result in embedder.embed(images) if result.image_id == "0")
    if embedder.capacity < batch_size:
        raise torch.OutOfMemoryError(f"{embedder.capacity} of {batch_size} images fit")
    return float(result.curve[0]), result.loss, embedder.take_warning()


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("gpu", __doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="Device that is measured.")
    parser.add_argument("--resolution", type=int, default=1024, help="Side of the images, in pixels.")
    parser.add_argument("--width", type=int, default=512, help="Dimension of w.")
    parser.add_argument("--channel-base", type=int, help="Scale of the numbers of channels; none is the official one.")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8, 16], help="Batch sizes.")
    parser.add_argument("--steps", type=int, default=100, help="Optimizer steps of the check.")
    parser.add_argument("--pairs", type=int, default=3, help="Number of timed stretches of each loop.")
    parser.add_argument("--budget", type=float, default=420.0, help="Seconds after which no case begins.")
    options = parser.parse_args()
    check_device(options.device)
    begun = time.monotonic()

    def report(**facts: Any) -> None:
        print(json.dumps(facts | {"at_s": round(time.monotonic() - begun, 1)}), flush=True)

    weights = drawn_generator(resolution=options.resolution, width=options.width, channel_base=options.channel_base)
    vgg = drawn_vgg()
    report(torch=torch.__version__, memory_bytes_per_s=memory_rate(torch.device(options.device)))
    reference = losses(*networks(weights, vgg, options.device, "fp32"), False, 1, options.steps)
    report(case="reference", first_loss=reference[0], last_loss=reference[1])
    for precision, compile, batch_size in cases(sorted(options.batch_sizes)):
        case = {"precision": precision, "compile": compile, "batch_size": batch_size}
        if time.monotonic() - begun > options.budget:
            report(skipped="the time budget is used up", **case)
            continue
        pair = networks(weights, vgg, options.device, precision)
        try:
            first, last, warning = losses(*pair, compile, batch_size, options.steps)
            figures = measure_loop(*pair, batch_size, options.pairs, compile)
        except torch.OutOfMemoryError:
            report(skipped="too little memory", **case)
            continue
        except RuntimeError as error:  # of a library: the other cases may work
            report(skipped=" ".join(str(error).split())[:300], **case)
            continue
        near = {"first_loss_ratio": first / reference[0], "last_loss_ratio": last / reference[1], "warning": warning}
        report(**case | near | figures.as_json())


if __name__ == "__main__":
    main()
