"""Measures the cost of the filtered non-linearities of a StyleGAN3 beside its convolutions, layer by layer.

    python -m i2s_batch.bench.filters --resolution 64 --batch-size 1

Forward and backward passes with respect to the input are timed, with random weights of official widths (or
--channel-max). Seconds are medians, memory is the peak beside what was held before. The last line is JSON.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from functools import partial

import torch

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.loop import check_device
from i2s_batch.bench.peak import peak_memory
from i2s_batch.bench.traffic import timed
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, random_generator
from i2s_batch.models.stylegan3 import FilteredLayer, StyleGAN3


def measure(generator: StyleGAN3, batch_size: int, repeats: int) -> list[dict[str, float]]:
    """Return the seconds, peak bytes and output side of the convolution and the non-linearity of each layer."""
    w = generator.w_avg.expand(batch_size, -1)
    x = generator.input(w, generator.identity).detach()
    rows = []
    for index, layer in enumerate(generator.layers):
        assert isinstance(layer, FilteredLayer)
        parts: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "convolution": partial(layer.convolution, w=w),
            "non_linearity": layer.non_linearity,
        }
        row: dict[str, float] = {"layer": index}
        for name, part in parts.items():
            work = _forward_and_backward(part, x)
            peak = peak_memory(work, x.device)
            row[f"{name}_s"] = statistics.median(timed(work, x.device) for _ in range(repeats))
            row[f"{name}_peak_bytes"] = -1 if peak is None else peak
            with torch.no_grad():
                x = part(x)
            row[f"{name}_side"] = x.shape[-1]
        rows.append(row)
    return rows


def _forward_and_backward(part: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], object]:
    def work() -> None:
        start = x.detach().requires_grad_()
        torch.autograd.grad(part(start).square().sum(), start)

    return work


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("filters", __doc__)
    parser.add_argument("--resolution", type=int, default=64, help="Side of the images, in pixels.")
    parser.add_argument("--channel-max", type=int, help="Largest number of channels; none is the official one.")
    parser.add_argument("--batch-size", type=int, default=1, help="Images in a batch.")
    parser.add_argument("--repeats", type=int, default=5, help="Number of timed passes; their median counts.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="Device that is measured.")
    options = parser.parse_args()
    check_device(options.device)
    keep_freed_memory()
    weights = random_generator("stylegan3", options.resolution, channel_max=options.channel_max)
    generator = build_generator(weights, options.device, set_numerics("fp32"))
    assert isinstance(generator, StyleGAN3)
    rows = measure(generator, options.batch_size, options.repeats)
    print("layer  convolution s  side  non-linearity s  side")
    for row in rows:
        print("{layer:5}  {convolution_s:13.4f}  {convolution_side:4}".format(**row), end="  ")
        print("{non_linearity_s:15.4f}  {non_linearity_side:4}".format(**row))
    totals = {name: sum(row[name] for row in rows) for name in ("convolution_s", "non_linearity_s")}
    print(json.dumps(totals | {"batch_size": options.batch_size, "layers": rows}))


if __name__ == "__main__":
    main()
