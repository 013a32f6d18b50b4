"""Measures the quality of each precision: latents embedded in each, evaluated in float32.

    python -m i2s_batch.bench.quality IMAGE... --generator FILE --precisions fp32 fp64 bf16

The first precision is what the others are compared with, image by image. The way to a minimum is chaotic, so that even
latents of equal quality differ: `fp64` beside `fp32` shows by how much. It needs torch, NumPy and Pillow only, and
prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.gpu_case import networks
from i2s_batch.bench.loop import check_device
from i2s_batch.config import PRECISIONS, EmbedConfig
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.loss import loss_terms
from i2s_batch.inversion.metrics import from_uint8, image_metrics, to_uint8
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, random_vgg, read_generator, read_vgg

COLUMNS = ("loss", "perceptual", "psnr", "ssim")
HEAD = "| precision | loss | worst loss | perceptual terms | PSNR | SSIM | s per step and image |\n" + "|---" * 7 + "|"
Evaluator = tuple[Generator, VGG16]
_PRODUCTS = {torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default}


class FloatSums(TorchDispatchMode):
    """Sums convolutions of bfloat16 numbers in float32 and rounds at their ends, as GPUs do.

    CPUs without instructions for bfloat16 do so, too, but some twenty times slower.
    """

    # `Any`: PyTorch's signature; an operator takes anything.
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **(kwargs or {}))
        wide = tree_map_only(torch.Tensor, lambda tensor: tensor.float(), args)
        return tree_map_only(torch.Tensor, lambda tensor: tensor.bfloat16(), func(*wide, **(kwargs or {})))


def embed(
    pair: Evaluator, images: list[np.ndarray], config: EmbedConfig, imitated: bool
) -> tuple[list[torch.Tensor], float | None]:
    """Return the latents [L, w_dim] of the images, and the seconds per step and image unless they are imitated."""
    embedder = Embedder(*pair, config)
    began = time.perf_counter()
    with FloatSums() if imitated else nullcontext():
        found = {one.image_id: one.latent for one in embedder.embed((str(n), p) for n, p in enumerate(images))}
    seconds = (time.perf_counter() - began) / (config.steps * len(images))
    latents = [torch.from_numpy(found[str(number)]) for number in range(len(images))]
    return latents, None if imitated else seconds


def evaluated(evaluator: Evaluator, latent: torch.Tensor, target_image: np.ndarray) -> list[float]:
    """Return `COLUMNS` of a latent: the whole loss, its perceptual terms, and the metrics of the 8-bit image."""
    generator, features = evaluator
    like = generator.w_avg
    target = from_uint8(target_image, like)[None]
    with torch.no_grad():
        image = generator.synthesize(latent[None].to(like.device, like.dtype))
        terms = loss_terms(image, target, features(image), features(target))[0]
    metrics = image_metrics(to_uint8(image[0]), target_image, None, like)
    return [float(terms.sum()), float(terms[1:].sum()), metrics["psnr"] or 0.0, metrics["ssim"] or 0.0]


def compare(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return, of [images, COLUMNS], geometric means of the ratios of losses, and mean differences of PSNR and SSIM."""
    ratios = np.log(found[:, :2] / reference[:, :2])
    differences = (found - reference)[:, 2:]
    loss, perceptual = np.exp(ratios.mean(axis=0))
    psnr, ssim = differences.mean(axis=0)
    named = {"loss_ratio": loss, "perceptual_ratio": perceptual, "psnr_db": psnr, "ssim": ssim}
    return {name: float(value) for name, value in named.items()} | {
        "worst_loss_ratio": float(np.exp(ratios[:, 0].max()))
    }


@dataclass(frozen=True)
class PrecisionFigures:
    """Holds the quality of the latents of one precision, relative to those of the first one.

    Attributes:
        loss_ratio: The geometric mean over the images, as `perceptual_ratio`; `worst_loss_ratio` is the highest.
        psnr_db: The mean difference, as `ssim`.
        seconds: Seconds per step and image; None where the precision is imitated.
        means: `COLUMNS`, the means over the images.
    """

    loss_ratio: float
    perceptual_ratio: float
    psnr_db: float
    ssim: float
    worst_loss_ratio: float
    precision: str
    seconds: float | None
    means: list[float]


def measure(
    generator: GeneratorWeights,
    vgg: VGGWeights,
    images: Sequence[np.ndarray],
    device: str,
    precisions: Sequence[str],
    config: EmbedConfig,
) -> Iterator[PrecisionFigures]:
    """Yield the figures of each precision as soon as they are known, relative to those of the first.

    The numerics of the process are those of fp32 afterwards.
    """
    evaluator = networks(generator, vgg, device, "fp32")
    fitted = [fit_image(image, evaluator[0].resolution, config.fit) for image in images]
    reference: np.ndarray | None = None
    for precision in precisions:
        pair, imitated = networks(generator, vgg, device, precision), (device, precision) == ("cpu", "bf16")
        latents, seconds = embed(pair, fitted, config, imitated)
        set_numerics("fp32")
        found = np.array([evaluated(evaluator, *both) for both in zip(latents, fitted, strict=True)])
        reference = found if reference is None else reference
        ratios = compare(found, reference)
        yield PrecisionFigures(**ratios, precision=precision, seconds=seconds, means=found.mean(axis=0).tolist())


def line(one: PrecisionFigures) -> str:
    """Return a precision as a row of a Markdown table under `HEAD`."""
    losses = [f"{ratio:.4f}x" for ratio in (one.loss_ratio, one.worst_loss_ratio, one.perceptual_ratio)]
    seconds = "imitated" if one.seconds is None else f"{one.seconds:.4f}"
    cells = [one.precision, *losses, f"{one.psnr_db:+.3f} dB", f"{one.ssim:+.5f}", seconds]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("quality", __doc__)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="Image files.")
    parser.add_argument("--generator", type=Path, required=True, help="StyleGAN checkpoint.")
    parser.add_argument("--vgg", type=Path, help="VGG-16 weights; none stands for random ones.")
    parser.add_argument("--steps", type=int, default=1000, help="Optimizer steps per image.")
    parser.add_argument("--batch-size", type=int, default=2, help="Images in a batch.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="Device that is measured.")
    parser.add_argument(
        "--precisions",
        choices=PRECISIONS,
        nargs="+",
        default=["fp32", "fp64", "bf16"],
        help="Precisions that are compared with the first.",
    )
    given = parser.parse_args()
    check_device(given.device)
    vgg = random_vgg() if given.vgg is None else read_vgg(given.vgg)
    images = [decode_image(path.read_bytes()) for path in given.images]
    config = EmbedConfig(steps=given.steps, batch_size=given.batch_size)
    results = []
    print(HEAD)
    for one in measure(read_generator(given.generator), vgg, images, given.device, given.precisions, config):
        results.append(asdict(one))
        print(line(one), flush=True)
    print(json.dumps({"pictures": len(images), "steps": given.steps, "results": results}))


if __name__ == "__main__":
    main()
