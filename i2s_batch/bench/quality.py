"""How good the codes of each precision are: embedded in each, judged in float32.

    python -m i2s_batch.bench.quality PICTURE... --generator FILE [--vgg FILE] [--steps N] [--batch-size N]
        [--device cpu|cuda] [--precisions P ...]

The first precision is what the others are compared with, picture by picture. The way to a minimum is chaotic, so that
even codes of equal quality differ: `fp64` beside `fp32` says by how much. Needs torch, numpy and Pillow only. Prints a
Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
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

from i2s_batch.bench.gpu import networks
from i2s_batch.bench.loop import check_device
from i2s_batch.config import PRECISIONS, EmbedConfig
from i2s_batch.images.read.decoding import decode_picture
from i2s_batch.images.resize import fit_picture
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.loss import loss_terms
from i2s_batch.inversion.metrics import from_uint8, image_metrics, to_uint8
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import VGG16, Generator, GeneratorWeights, VGGWeights, random_vgg, read_generator, read_vgg

COLUMNS = ("loss", "perceptual", "psnr", "ssim")
HEAD = "| precision | loss | worst loss | perceptual terms | PSNR | SSIM | s a step and image |\n" + "|---" * 7 + "|"
Judge = tuple[Generator, VGG16]
_PRODUCTS = {torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default}


class FloatSums(TorchDispatchMode):
    """Convolutions of bfloat16 numbers, summed in float32 and rounded at their ends, as GPUs make them. So do CPUs
    without instructions for bfloat16, but some twenty times slower."""

    # `Any`: PyTorch's signature; an operator takes anything.
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **(kwargs or {}))
        wide = tree_map_only(torch.Tensor, lambda tensor: tensor.float(), args)
        return tree_map_only(torch.Tensor, lambda tensor: tensor.bfloat16(), func(*wide, **(kwargs or {})))


def codes(
    pair: Judge, pictures: list[np.ndarray], config: EmbedConfig, imitated: bool
) -> tuple[list[torch.Tensor], float | None]:
    """The latent [L, w_dim] of each picture, and the seconds a step and image unless they are of an imitation."""
    embedder = Embedder(*pair, config)
    began = time.perf_counter()
    with FloatSums() if imitated else nullcontext():
        found = {one.image_id: one.latent for one in embedder.embed((str(n), p) for n, p in enumerate(pictures))}
    seconds = (time.perf_counter() - began) / (config.steps * len(pictures))
    latents = [torch.from_numpy(found[str(number)]) for number in range(len(pictures))]
    return latents, None if imitated else seconds


def judged(judge: Judge, latent: torch.Tensor, picture: np.ndarray) -> list[float]:
    """`COLUMNS` of a code: the whole loss, its perceptual terms, and the metrics of the 8-bit picture."""
    generator, features = judge
    like = generator.w_avg
    target = from_uint8(picture, like)[None]
    with torch.no_grad():
        image = generator.synthesize(latent[None].to(like.device, like.dtype))
        terms = loss_terms(image, target, features(image), features(target))[0]
    metrics = image_metrics(to_uint8(image[0]), picture, None, like)
    return [float(terms.sum()), float(terms[1:].sum()), metrics["psnr"] or 0.0, metrics["ssim"] or 0.0]


def compare(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Of [pictures, COLUMNS]: geometric means of the ratios of losses, mean differences of PSNR and SSIM."""
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
    """Holds how good the latents of one precision are, relative to those of the first one.

    Attributes:
        loss_ratio: The geometric mean over the images, as `perceptual_ratio`; `worst_loss_ratio` is the highest.
        psnr_db: The mean difference, as `ssim`.
        seconds: Of a step and image; None where the precision is imitated.
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
    pictures: Sequence[np.ndarray],
    device: str,
    precisions: Sequence[str],
    config: EmbedConfig,
) -> Iterator[PrecisionFigures]:
    """Yield the figures of each precision as soon as they are known, relative to those of the first. Leaves the
    numerics of fp32 behind."""
    judge = networks(generator, vgg, device, "fp32")
    fitted = [fit_picture(picture, judge[0].resolution, config.fit) for picture in pictures]
    reference: np.ndarray | None = None
    for precision in precisions:
        pair, imitated = networks(generator, vgg, device, precision), (device, precision) == ("cpu", "bf16")
        latents, seconds = codes(pair, fitted, config, imitated)
        set_numerics("fp32")
        found = np.array([judged(judge, *both) for both in zip(latents, fitted, strict=True)])
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
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m i2s_batch.bench.quality", description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=["fp32", "fp64", "bf16"])
    given = parser.parse_args()
    check_device(given.device)
    vgg = random_vgg() if given.vgg is None else read_vgg(given.vgg)
    pictures = [decode_picture(path.read_bytes()) for path in given.pictures]
    config = EmbedConfig(steps=given.steps, batch_size=given.batch_size)
    results = []
    print(HEAD)
    for one in measure(read_generator(given.generator), vgg, pictures, given.device, given.precisions, config):
        results.append(asdict(one))
        print(line(one), flush=True)
    print(json.dumps({"pictures": len(pictures), "steps": given.steps, "results": results}))


if __name__ == "__main__":
    main()
