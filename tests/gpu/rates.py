"""The rates of a machine: copying, matrix products, launches."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import torch

from tests.gpu.bench import Bench
from tests.gpu.cases import Case

# Name, dtype and whether products may be TF32.
_PRODUCTS = (("fp32", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False))


def rates(bench: Bench, case: Case) -> None:
    """Record what the machine is and what it can do."""
    facts: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__, "cpus": os.cpu_count()}
    if bench.cuda:
        facts |= _device()
    size, copied = (8192, 2 << 30) if bench.cuda else (512, 16 << 20)
    facts["copy_bytes_per_s"] = 2 * copied / _copy_seconds(bench, copied)
    for name, dtype, tf32 in _PRODUCTS:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        facts[f"matmul_{name}_flop_per_s"] = 2 * size**3 / _product_seconds(bench, size, dtype)
    # What a launch costs this host: a step of nothing but small kernels.
    x = torch.zeros(16, device=bench.device)
    facts["launch_s"] = min(bench.timed(lambda: x.add_(1), 2000 if bench.cuda else 100))
    bench.record(case=case.name, **facts)


def _device() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    facts: dict[str, Any] = {"device": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda}
    facts |= {"multiprocessors": properties.multi_processor_count}
    with contextlib.suppress(RuntimeError):  # a cuDNN of another version than PyTorch was built for
        facts["cudnn"] = torch.backends.cudnn.version()
    with contextlib.suppress(ImportError):
        import triton

        facts["triton"] = triton.__version__
    return facts


def _copy_seconds(bench: Bench, copied: int) -> float:
    source = torch.empty(copied, dtype=torch.uint8, device=bench.device).random_(0, 255)
    target = torch.empty_like(source)
    target.copy_(source)
    return min(bench.timed(lambda: target.copy_(source), 5))


def _product_seconds(bench: Bench, size: int, dtype: torch.dtype) -> float:
    a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
    a @ b
    return min(bench.timed(lambda: a @ b, 3))
