"""Everything of the engine's speed that takes a GPU, in one call that needs torch, numpy and Pillow only.

    python -m i2s_batch.bench.gpu --device cuda --resolution 1024 --batch-sizes 1 4 8 16 --budget 420

A line of JSON for each case as soon as it is known, so that a call that is cut short has told what it could. No case
begins after `--budget` seconds; the cases that matter most come first. Every case is checked against plain float32 at
batch 1: the loss before the first update and after `--steps` updates.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from i2s_batch.bench.loop import check_device, measure_loop
from i2s_batch.bench.traffic import memory_rate
from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg
from i2s_batch.models import random_generator as drawn_generator
from i2s_batch.models import random_vgg as drawn_vgg


def cases(batch_sizes: list[int]) -> Iterator[tuple[str, bool, int]]:
    """(precision, compile, batch size): what is expected to be fastest first, then what it is compared with."""
    for precision, compile in (("bf16", True), ("tf32", True), ("fp32", False), ("bf16", False), ("fp32", True)):
        for batch_size in reversed(batch_sizes):
            yield precision, compile, batch_size


def networks(generator: GeneratorWeights, vgg: VGGWeights, device: str, precision: str) -> tuple[Generator, VGG16]:
    """On the device, in `precision`."""
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    return build_generator(generator, device, dtype, maps), build_vgg(vgg, device, dtype, maps)


def losses(generator: Generator, vgg: VGG16, compile: bool, batch_size: int, steps: int) -> tuple[float, float, str]:
    """The first and last loss of one picture among `batch_size` of them, and what the compiler had to say. Raises
    torch.OutOfMemoryError if fewer images than `batch_size` fit, with which the engine would go on quietly."""
    embedder = Embedder(generator, vgg, EmbedConfig(steps=steps, batch_size=batch_size, compile=compile))
    side = np.linspace(0, 255, generator.resolution, dtype=np.uint8)
    shades = np.broadcast_to(side[:, None, None], (len(side), len(side), 3))
    images = ((str(i), np.roll(shades, i * 7, axis=0).copy()) for i in range(batch_size))
    result = next(result for result in embedder.embed(images) if result.image_id == "0")
    if embedder.capacity < batch_size:
        raise torch.OutOfMemoryError(f"{embedder.capacity} of {batch_size} images fit")
    return float(result.curve[0]), result.loss, embedder.take_warning()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m i2s_batch.bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--channel-base", type=int, default=None)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--budget", type=float, default=420.0)
    options = parser.parse_args()
    check_device(options.device)
    begun = time.monotonic()

    def tell(**facts: Any) -> None:
        print(json.dumps(facts | {"at_s": round(time.monotonic() - begun, 1)}), flush=True)

    weights = drawn_generator(resolution=options.resolution, width=options.width, channel_base=options.channel_base)
    vgg = drawn_vgg()
    tell(torch=torch.__version__, memory_bytes_per_s=memory_rate(torch.device(options.device)))
    reference = losses(*networks(weights, vgg, options.device, "fp32"), False, 1, options.steps)
    tell(case="reference", first_loss=reference[0], last_loss=reference[1])
    for precision, compile, batch_size in cases(sorted(options.batch_sizes)):
        case = {"precision": precision, "compile": compile, "batch_size": batch_size}
        if time.monotonic() - begun > options.budget:
            tell(skipped="the time is over", **case)
            continue
        pair = networks(weights, vgg, options.device, precision)
        try:
            first, last, warning = losses(*pair, compile, batch_size, options.steps)
            figures = measure_loop(*pair, batch_size, options.pairs, compile)
        except torch.OutOfMemoryError:
            tell(skipped="too little memory", **case)
            continue
        except RuntimeError as error:  # of a library: the other cases may work
            tell(skipped=" ".join(str(error).split())[:300], **case)
            continue
        near = {"first_loss_ratio": first / reference[0], "last_loss_ratio": last / reference[1], "warning": warning}
        tell(**case | near | figures.as_json())


if __name__ == "__main__":
    main()
