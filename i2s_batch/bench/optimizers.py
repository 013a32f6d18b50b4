"""Measures how many steps an optimiser needs for the loss of plain Adam, on the same images in one run.

    python -m i2s_batch.bench.optimizers --steps 5000 --try lbfgs:2500 --try adam:2500:0.05

The first row is the paper's Adam. A try is NAME:STEPS, or NAME:STEPS:RATE for another learning rate than 0.01. The
images are drawn faces that the demo's generator has not been fitted to, and files that are given. The last line is
JSON.

`median` and `worst` are of the quotients of an image's final loss and Adam's; `as adam` counts the images that are at
least as good. `needs`, and `most` of any image: the steps after which the loss was first as low as Adam's final one;
`adam needs`: the steps of Adam for the final loss of the try. These are medians; one more than the steps taken stands
for never. LPIPS needs the VGG of ImageNet (--vgg imagenet); without it the loss's own perceptual terms are those of a
random network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from i2s_batch.bench.command_line import parser_of
from i2s_batch.config import EmbedConfig
from i2s_batch.demo.faces import NAMES, render
from i2s_batch.errors import ConfigError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, build_vgg, random_vgg
from i2s_batch.models.loading import VGG_RANDOM, generator_weights, vgg_weights

_COLUMNS = (
    *("loss", "median", "worst", "as_adam", "pixel", "perceptual", "psnr", "ssim"),
    *("adam_needs", "needs", "most", "seconds"),
)

Images = list[tuple[str, np.ndarray]]


def images_of(faces: int, seed: int, paths: Sequence[str]) -> Images:
    """Return `faces` drawn images at 64 x 64, then the files, under unique ids."""
    drawn = render(np.random.RandomState(seed).standard_normal((faces, len(NAMES))))
    named = [(f"face {number}", image) for number, image in enumerate(drawn)]
    return named + [(path, decode_image(Path(path).read_bytes())) for path in paths]


def config_of(text: str) -> EmbedConfig:
    """Return the settings of a try, as it is given on the command line."""
    try:
        name, steps, *rate = text.split(":")
        config = EmbedConfig(optimizer=name, steps=int(steps))
        return replace(config, learning_rate=float(rate[0])) if rate else config
    except (ValueError, ConfigError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME:STEPS[:RATE]: {error}") from error


@dataclass(frozen=True)
class Comparison:
    """Holds the figures of one try, which the module describes; the last three are lists, image by image."""

    loss: float
    median: float
    worst: float
    as_adam: float
    pixel: float
    perceptual: float
    psnr: float
    ssim: float
    adam_needs: float
    needs: float
    most: float
    seconds: float
    quotients: list[float]
    each_adam_needs: list[int]
    each_needs: list[int]


def compared(results: Sequence[EmbedResult], reference: Sequence[EmbedResult], seconds: float) -> Comparison:
    """Return the figures of a row; the results of both are of the same images, in the same order.

    They are means, but for the quotients of the losses and the steps, which are also given image by image.
    """
    loss, adam = (np.array([r.loss for r in some]) for some in (results, reference))
    quotients = loss / adam
    terms = np.array([list(r.terms.values()) for r in results])
    adam_needs = [steps_to(r.curve, own) for r, own in zip(reference, loss, strict=True)]
    needs = [steps_to(r.curve, own) for r, own in zip(results, adam, strict=True)]
    figures = {
        "loss": loss.mean(),
        "median": np.median(quotients),
        "worst": quotients.max(),
        "as_adam": (quotients <= 1).sum(),
        "pixel": terms[:, 0].mean(),
        "perceptual": terms[:, 1:].sum(1).mean(),
        "psnr": np.mean([r.metrics["psnr"] for r in results]),
        "ssim": np.mean([r.metrics["ssim"] for r in results]),
        "adam_needs": np.median(adam_needs),
        "needs": np.median(needs),
        "most": max(needs),
        "seconds": seconds,
    }
    rounded = {name: round(float(value), 5) for name, value in figures.items()}
    return Comparison(**rounded, quotients=quotients.round(5).tolist(), each_adam_needs=adam_needs, each_needs=needs)


def steps_to(curve: np.ndarray, loss: float) -> int:
    """Return the steps after which the loss was first at most `loss`; one more than were taken if it never was."""
    return int((np.minimum.accumulate(curve) > loss).sum())


def embed(embedder: Embedder, images: Images) -> list[EmbedResult]:
    """Return the results in the order of `images`."""
    by_id = {result.image_id: result for result in embedder.embed(images)}
    return [by_id[image_id] for image_id, _ in images]


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("optimizers", __doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="Image files beside the drawn faces.")
    parser.add_argument("--faces", type=int, default=16, help="Number of drawn faces.")
    parser.add_argument("--seed", type=int, default=1, help="Seed of the drawn faces.")
    parser.add_argument("--steps", type=int, default=5000, help="Steps of plain Adam.")
    parser.add_argument(
        "--try",
        action="append",
        type=config_of,
        dest="tries",
        metavar="NAME:STEPS[:RATE]",
        help="Optimizer that is compared with Adam, again and again; none is L-BFGS in half the steps.",
    )
    parser.add_argument("--generator", help="StyleGAN checkpoint; none is the demo's.")
    parser.add_argument("--vgg", default=VGG_RANDOM, help="VGG-16 weights: imagenet, random, a path or a URL.")
    parser.add_argument("--narrow", type=int, default=1, help="Divisor of the widths of a random VGG, for speed.")
    parser.add_argument("--batch-size", type=int, default=4, help="Images in a batch.")
    parser.add_argument("--device", default="cpu", help="Device of the networks.")
    options = parser.parse_args()
    keep_freed_memory()
    dtype = set_numerics("fp32")
    with as_file(files("i2s_batch.demo") / "generator.safetensors") as bundled:
        generator = build_generator(generator_weights(options.generator or bundled), options.device, dtype)
    weights = random_vgg(narrow=options.narrow) if options.vgg == VGG_RANDOM else vgg_weights(options.vgg)
    vgg = build_vgg(weights, options.device, dtype)
    images = images_of(options.faces, options.seed, options.images)
    configs = options.tries or [EmbedConfig(optimizer="lbfgs", steps=options.steps // 2)]
    print(f"{len(images)} images, {generator.family} at {generator.resolution}, {weights.origin}, {options.device}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':28}" + "".join(f"{name.replace('_', ' '):>11}" for name in _COLUMNS))
    table: dict[str, Comparison] = {}
    reference: list[EmbedResult] = []
    for config in [EmbedConfig(steps=options.steps), *configs]:
        began = time.monotonic()
        results = embed(Embedder(generator, vgg, replace(config, batch_size=options.batch_size)), images)
        reference = reference or results
        name = f"{config.optimizer}:{config.steps}:{config.learning_rate:g}"
        table[name] = compared(results, reference, time.monotonic() - began)
        print(f"{name:28}" + "".join(f"{getattr(table[name], column):11.5g}" for column in _COLUMNS), flush=True)
    tries = {name: asdict(found) for name, found in table.items()}
    print(json.dumps({"pictures": [name for name, _ in images], "vgg": weights.origin, "tries": tries}))


if __name__ == "__main__":
    main()
