"""A 3x3 convolution of few channels as a Triton kernel of our own.

It applies norm and style before the convolution, and bias, noise, leaky ReLU and the sums for the next norm after it,
which takes three passes over memory otherwise. Beside the table of convolutions it says whether such kernels are worth
writing. On a CPU it is interpreted, in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tests.gpu.bench import Bench
from tests.gpu.cases import Case

# Channels and pixels of a side.
SHAPES = ((16, 1024), (32, 512), (64, 256), (32, 1024), (64, 512))
# Pixels and rows of a program, warps, pipeline stages.
TILES = ((128, 16, 4, 1), (128, 16, 4, 2), (64, 16, 4, 2), (128, 8, 8, 1))
CHECKED = 2  # images of a batch whose result is compared with PyTorch's

Tile = tuple[int, int, int, int]


@dataclass(frozen=True)
class Inputs:
    """The operands of a layer: images `x` [B, R, R, C], weights `w` [3, 3, C, C] and noise [R, R] of one dtype.

    `gain` and `shift` [B, C], `bias` and `strength` [C] are float32.
    """

    x: torch.Tensor
    w: torch.Tensor
    gain: torch.Tensor
    shift: torch.Tensor
    bias: torch.Tensor
    noise: torch.Tensor
    strength: torch.Tensor

    @classmethod
    def draw(cls, batch: int, pixels: int, channels: int, dtype: torch.dtype, device: torch.device) -> Inputs:
        """Draw operands from the normal distribution."""

        def normal(*shape: int, like: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.randn(*shape, device=device).to(like)

        x, w = normal(batch, pixels, pixels, channels, like=dtype), normal(3, 3, channels, channels, like=dtype) / 12
        gain, shift, bias = normal(batch, channels).exp(), normal(batch, channels), normal(channels)
        return cls(x, w, gain, shift, bias, normal(pixels, pixels, like=dtype), normal(channels) * 0.1)

    def exact(self) -> torch.Tensor:
        """Return what the first images should become, by PyTorch in float32: [CHECKED, R, R, C]."""
        first = self.x[:CHECKED].float()
        scaled = first * self.gain[:CHECKED, None, None] + self.shift[:CHECKED, None, None]
        scaled = scaled.to(self.x.dtype).float().permute(0, 3, 1, 2)
        y = F.conv2d(scaled, self.w.float().permute(3, 2, 0, 1), self.bias, padding=1)
        return F.leaky_relu(y + self.noise.float() * self.strength[:, None, None], 0.2).permute(0, 2, 3, 1)


def own_convolution(bench: Bench, case: Case) -> None:
    """Measure the kernel in several shapes and tiles, and record how far it is from PyTorch's result."""
    kernel = styled_convolution()
    dtype = torch.bfloat16 if bench.cuda else torch.float16
    smoke = bench.options.smoke
    for channels, pixels in ((16, 16),) if smoke else SHAPES:
        inputs = Inputs.draw(2 if smoke else 8, pixels, channels, dtype, bench.device)
        exact = inputs.exact()
        for tile in ((16, 8, 4, 1),) if smoke else TILES:
            facts: dict[str, Any] = {"channels": channels, "pixels": pixels, "tile": list(tile)}
            try:
                bench.record(case=case.name, **facts, **_measured(bench, kernel, inputs, exact, tile))
            except Exception as error:  # noqa: BLE001 - the next tile may do
                bench.record(case=case.name, **facts, error=type(error).__name__, reason=str(error)[:200])


def _measured(bench: Bench, kernel: Any, inputs: Inputs, exact: torch.Tensor, tile: Tile) -> dict[str, Any]:
    """Return the time of one shape with one tile, and its errors relative to PyTorch's result."""
    batch, pixels, _, channels = inputs.x.shape
    y = torch.full_like(inputs.x, float("nan"))
    grid = (pixels // tile[0], pixels // tile[1], batch)
    sums = torch.empty(grid[0] * grid[1] * batch, 2, channels, device=bench.device)
    run = _call(kernel, inputs, y, sums, tile, grid)
    run()
    bench.sync()
    error = float((y[:CHECKED].float() - exact).norm() / exact.norm())
    total = sums.view(batch, -1, 2, channels).sum(1)[:CHECKED, 0]
    sums_error = float((total - exact.sum((1, 2))).norm() / exact.abs().sum((1, 2)).norm())
    us = min(bench.timed(run, 20 if bench.cuda else 1, 3)) / batch * 1e6
    moved = 2 * inputs.x.numel() * inputs.x.element_size() / batch
    rate = round(moved / us / 1e3)
    return {"us": round(us, 2), "gb_s": rate, "relative_error": error, "sums_error": sums_error}


def _call(
    kernel: Any, inputs: Inputs, y: torch.Tensor, sums: torch.Tensor, tile: Tile, grid: tuple[int, int, int]
) -> Callable[[], object]:
    width, rows, warps, stages = tile
    pixels, channels = y.shape[1], y.shape[3]
    operands = (inputs.x, inputs.w, y, inputs.gain, inputs.shift, inputs.bias, inputs.noise, inputs.strength, sums)
    sizes = (pixels, pixels, channels, channels, width, rows)
    return lambda: kernel[grid](*operands, *sizes, num_warps=warps, num_stages=stages)


def styled_convolution() -> Any:
    """Return the Triton kernel. A program computes `ROWS` rows of `BW` pixels, all channels, of one image; NHWC."""
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(
        x, w, y, gain, shift, bias, noise, strength, sums, H, W,
        C: tl.constexpr, N: tl.constexpr, BW: tl.constexpr, ROWS: tl.constexpr,
    ):  # fmt: skip
        b = tl.program_id(2)
        h0 = tl.program_id(1) * ROWS
        cols = tl.program_id(0) * BW + tl.arange(0, BW)
        ci = tl.arange(0, C)
        co = tl.arange(0, N)
        base = x + b.to(tl.int64) * H * W * C
        a = tl.load(gain + b * C + ci)[None, :]
        s = tl.load(shift + b * C + ci)[None, :]
        bias_row = tl.load(bias + co)[None, :]
        strength_row = tl.load(strength + co)[None, :]
        total = tl.zeros([N], tl.float32)
        squares = tl.zeros([N], tl.float32)
        for r in range(ROWS):
            h = h0 + r
            acc = tl.zeros([BW, N], tl.float32)
            for dy in tl.static_range(3):
                hh = h + dy - 1
                for dx in tl.static_range(3):
                    ww = cols + dx - 1
                    inside = (ww >= 0) & (ww < W) & (hh >= 0) & (hh < H)
                    t = tl.load(base + (hh * W + ww)[:, None] * C + ci[None, :], mask=inside[:, None], other=0.0)
                    t = tl.where(inside[:, None], t.to(tl.float32) * a + s, 0.0).to(x.dtype.element_ty)
                    k = tl.load(w + ((dy * 3 + dx) * C + ci)[:, None] * N + co[None, :])
                    acc = tl.dot(t, k, acc)
            n = tl.load(noise + h * W + cols).to(tl.float32)
            v = acc + bias_row + n[:, None] * strength_row
            v = tl.where(v > 0, v, v * 0.2).to(x.dtype.element_ty)
            tl.store(y + b.to(tl.int64) * H * W * N + (h * W + cols)[:, None] * N + co[None, :], v)
            f = v.to(tl.float32)
            total += tl.sum(f, 0)
            squares += tl.sum(f * f, 0)
        place = (b * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
        tl.store(sums + place * 2 * N + co, total)
        tl.store(sums + (place * 2 + 1) * N + co, squares)

    return kernel
