"""Tries PyTorch's devices, in a process of its own: a broken driver may hang or end the process that calls it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from i2s_batch.errors import described

_DRIVER_LIMIT_S = 20.0
_SIDE = 64
_TOLERANCE = 1e-2  # of a product in TF32


@dataclass(frozen=True)
class Device:
    """Holds what is known of a device: its memory in bytes, and why no kernel runs on it; empty if one does."""

    name: str
    total_bytes: int
    free_bytes: int
    fault: str


@dataclass(frozen=True)
class Devices:
    """Holds what PyTorch sees.

    Attributes:
        built_for: The CUDA that PyTorch is built for; empty for a build without.
        driver: The version of NVIDIA's driver; empty where there is none.
        why_none: Why PyTorch can use no GPU; empty if it can.
        gpus: The GPUs.
        cpu_fault: Why no kernel runs on the CPU; empty if one does.
        torchvision_fault: Why torchvision cannot be imported; empty if it can, or is not installed.
    """

    built_for: str
    driver: str
    why_none: str
    gpus: tuple[Device, ...]
    cpu_fault: str
    torchvision_fault: str


def probe_devices() -> Devices:
    """Return what PyTorch sees; to be called in a process of its own."""
    import torch

    gpus: tuple[Device, ...] = ()
    why_none = ""
    try:
        torch.cuda.init()
        gpus = tuple(_gpu(index) for index in range(torch.cuda.device_count()))
    except (RuntimeError, AssertionError, OSError) as error:
        why_none = " ".join(described(error).split())[:200]
    built_for = torch.version.cuda or ""
    return Devices(built_for, _driver(), why_none, gpus, _kernel_fault("cpu"), _torchvision_fault())


def _gpu(index: int) -> Device:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return Device(properties.name, total, free, _kernel_fault(f"cuda:{index}"))


def _kernel_fault(device: str) -> str:
    """Return why a convolution, forward and backward, does not run or is wrong; empty if it is right."""
    import torch

    try:
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, 8, _SIDE, _SIDE, generator=generator, dtype=torch.float32)
        kernel = torch.randn(8, 8, 3, 3, generator=generator, dtype=torch.float32)
        there = image.detach().clone().to(device).requires_grad_()
        torch.nn.functional.conv2d(there, kernel.to(device), padding=1).square().sum().backward()
        assert there.grad is not None
        exact = image.double().requires_grad_()
        torch.nn.functional.conv2d(exact, kernel.double(), padding=1).square().sum().backward()
        assert exact.grad is not None
        distance = (there.grad.cpu().double() - exact.grad).norm() / exact.grad.norm()
        return "" if float(distance) <= _TOLERANCE else f"a gradient is wrong by {float(distance):.1%}"
    except (RuntimeError, AssertionError, OSError) as error:
        return " ".join(described(error).split())[:200]


def _torchvision_fault() -> str:
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return ""
    except (ImportError, RuntimeError, OSError) as error:
        return " ".join(described(error).split())[:200]
    return ""


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DRIVER_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.split("\n")), "").strip()
