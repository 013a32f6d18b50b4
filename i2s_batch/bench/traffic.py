"""Measures how many bytes a piece of work moves, how fast this machine moves them, and how long work takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_COPIED = {"cuda": 2 << 30, "cpu": 256 << 20}  # bytes, well above the caches


class CountedBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operators take and return, but views: what passes if nothing is fused."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    # `Any`: PyTorch's signature; an operator takes anything.
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, result))
            seen = {id(leaf): leaf for leaf in leaves if isinstance(leaf, torch.Tensor)}
            self.total += sum(leaf.numel() * leaf.element_size() for leaf in seen.values())
        return result


def memory_rate(device: torch.device) -> float:
    """Return the bytes per second, read and written, of a large copy: the median of seven."""
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.numel() / statistics.median(timed(lambda: target.copy_(source), device) for _ in range(7))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes, until the device has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
