"""A table of convolutions: forward and gradient of the input, as the engine needs them, of shapes that matter."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any

import torch

from tests.gpu.bench import Bench
from tests.gpu.cases import Case

SPARE_S = 10.0  # of a case's limit, left for the end


@dataclass(frozen=True)
class Convolution:
    """A kind of convolution: side of the kernel, padding, whether it doubles the side, whether it is depthwise."""

    side: int
    padding: int
    up: bool = False
    depthwise: bool = False


KINDS = {
    "3x3": Convolution(3, 1),
    "1x1": Convolution(1, 0),
    "up4": Convolution(4, 1, up=True),
    "up3": Convolution(3, 0, up=True),
    "blur3": Convolution(3, 1, depthwise=True),
    "blur4": Convolution(4, 1, depthwise=True),
    "rgb_up": Convolution(4, 1, up=True),
}
#   kind, inputs, outputs, pixels of a side of the input
SHAPES = (
    ("3x3", 16, 16, 1024), ("up4", 32, 16, 512), ("3x3", 32, 32, 512), ("up4", 64, 32, 256),
    ("3x3", 64, 64, 256), ("up4", 128, 64, 128), ("3x3", 128, 128, 128), ("3x3", 256, 256, 64),
    ("up4", 256, 128, 64), ("3x3", 512, 512, 32), ("up4", 512, 256, 32), ("blur3", 16, 16, 1024),
    ("blur3", 64, 64, 256), ("blur4", 32, 32, 1025), ("3x3", 32, 32, 1024), ("up3", 64, 32, 512),
    ("3x3", 64, 64, 512), ("3x3", 32, 64, 512), ("3x3", 64, 128, 256), ("3x3", 3, 64, 256),
    ("rgb_up", 1, 1, 512), ("1x1", 16, 3, 1024), ("3x3", 512, 512, 4),
)  # fmt: skip
SETTINGS = (("bf16", "nhwc"), ("bf16", "nchw"), ("tf32", "nhwc"), ("fp32", "nchw"))

Shape = tuple[str, int, int, int]


def convolutions(bench: Bench, case: Case) -> None:
    """Record a line for each shape, precision and layout, until the case's time is over."""
    began = time.time()
    torch.backends.cudnn.benchmark = True
    shapes, settings = list(SHAPES), list(SETTINGS)
    if bench.options.smoke:
        shapes = [(kind, i, o, max(4, pixels // 64)) for kind, i, o, pixels in shapes if i < 64]
        settings = settings[::3]
    for precision, layout in settings:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        for shape in shapes:
            if time.time() - began > case.limit_s - SPARE_S:
                bench.record(case="convolutions", error="its time is over", at=[precision, layout, *shape])
                return
            if shape[0] == "rgb_up" and precision == "bf16":
                continue
            _record(bench, shape, precision, layout)
            gc.collect()


def _record(bench: Bench, shape: Shape, precision: str, layout: str) -> None:
    kind, inputs, outputs, pixels = shape
    row = {"conv": kind, "inputs": inputs, "outputs": outputs, "pixels": pixels, "precision": precision}
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    try:
        found = _measured(bench, shape, dtype, memory)
        bench.record(case="convolutions", layout=layout, **row, **found)
    except Exception as error:  # noqa: BLE001 - one shape must not end the table
        bench.record(case="convolutions", layout=layout, **row, error=str(error)[:200])


def _measured(bench: Bench, shape: Shape, dtype: torch.dtype, memory: torch.memory_format) -> dict[str, Any]:
    """Return the times and rates of one convolution, for each image."""
    kind, inputs, outputs, pixels = shape
    how = KINDS[kind]
    batch = (1 if bench.options.smoke else 8) * (3 if kind == "rgb_up" else 1)
    groups = inputs if how.depthwise else 1
    weights = (inputs, outputs) if how.up else (outputs, inputs // groups)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, device=bench.device, dtype=dtype).contiguous(memory_format=memory)

    x, w = normal(batch, inputs, pixels, pixels), normal(*weights, how.side, how.side)
    tail = ([2 if how.up else 1] * 2, [how.padding] * 2, [1, 1], how.up, [0, 0], groups)

    def forward() -> torch.Tensor:
        return torch.ops.aten.convolution(x, w, None, *tail)

    y = forward()
    g = torch.randn_like(y)

    def gradient() -> object:
        return torch.ops.aten.convolution_backward(g, x, w, None, *tail, [True, False, False])

    gradient()
    positions = pixels * pixels if how.up else y.shape[2] * y.shape[3]
    flop = 2 * positions * weights[0] * weights[1] * how.side**2
    moved = (x.numel() + y.numel()) * x.element_size() / batch
    facts: dict[str, Any] = {"batch": batch, "gflop": flop / 1e9, "mb": moved / 1e6}
    for name, work in (("forward", forward), ("gradient", gradient)):
        work()
        bench.sync()
        began = time.perf_counter()
        work()
        bench.sync()
        times = max(1, min(20, int(0.02 / (time.perf_counter() - began + 1e-9))))
        seconds = min(bench.timed(work, times, 2)) / batch
        facts |= {f"{name}_us": round(seconds * 1e6, 2), f"{name}_tflops": round(flop / seconds / 1e12, 1)}
        facts[f"{name}_gb_s"] = round(moved / seconds / 1e9)
    return facts
