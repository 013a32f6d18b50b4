"""What computes, by name."""

from __future__ import annotations

import platform

import torch


def device_name(device: torch.device) -> str:
    """As the table's column `device` says it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
