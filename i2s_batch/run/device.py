"""Names the device that computes, and translates its errors for a run."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from i2s_batch.errors import RunFailedError
from i2s_batch.output.run_record import code_version
from i2s_batch.run.pools import DeviceLostError, Fleet

# Messages of the libraries that PyTorch calls about a device that no longer works; PyTorch has no type for them.
_LOST = re.compile(r"(CUDA|HIP|CUDA driver|cuDNN|cuBLAS|miopen) error\b", re.IGNORECASE)
# Messages of PyTorch about a machine whose GPU it cannot use: no driver, one too old, or a build without CUDA.
_NO_DRIVER = re.compile(
    r"Found no NVIDIA driver|The NVIDIA driver on your system is too old|No CUDA GPUs are available"
    r"|not compiled with CUDA|Can't initialize NVML|CUDA driver version is insufficient"
    r"|Unexpected error from cudaGetDeviceCount"
)
# The message of PyTorch, which has no type for it, about a machine without enough memory.
_REASON_CHARACTERS = 200
_NO_CPU_MEMORY = "DefaultCPUAllocator: can't allocate memory"


def has_gpu() -> bool:
    """Return whether PyTorch sees a GPU on this machine."""
    return torch.cuda.is_available()


def device_name(device: torch.device) -> str:
    """Return the name of a device as in the table's column `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def is_of(name: str, fleet: Fleet) -> bool:
    """Return whether a device of this name is one that the workers of a fleet compute on."""
    if fleet.device == "cuda":
        on_gpu = not name.startswith("cpu (")
        return on_gpu and (not torch.cuda.is_available() or name == torch.cuda.get_device_name())
    return name == f"cpu ({platform.machine()}, {fleet.threads or torch.get_num_threads()} threads)"


def _too_little_memory(error: Exception, batch_size: int | None) -> RunFailedError:
    reason = " ".join(str(error).split()) or type(error).__name__
    doing, advice = "for one image", "run the same command again on a larger device"
    if batch_size is None:
        doing = "for the networks"
    elif batch_size > 1:
        doing = f"for {batch_size} images in a batch"
        advice = "run the same command again with a smaller --batch-size"
    return RunFailedError(f"the device has too little memory {doing}; {advice} ({reason})")


def software() -> str:
    """Return the versions that a measured speed depends on."""
    return f"torch {torch.__version__}, cudnn {torch.backends.cudnn.version()}, i2s_batch {code_version()}"


@contextmanager
def device_errors(batch_size: int | None) -> Iterator[None]:
    """Translate the device's errors while a worker computes at least `batch_size` images in a batch.

    `batch_size` is None while it loads its networks.

    Raises:
        DeviceLostError: The process has no working device any more; a new process may continue.
        RunFailedError: The device has too little memory, or no driver; a new process would fail again.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        # `from None`: this is not a bug, so its traceback is of no use.
        raise _too_little_memory(error, batch_size) from None
    except (RuntimeError, AssertionError) as error:
        if _NO_DRIVER.search(str(error)):
            reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
            raise RunFailedError(
                f"the worker's machine has no GPU that PyTorch can use ({reason}); install a driver for it, or use "
                "--device cpu"
            ) from None
        if _NO_CPU_MEMORY in str(error):
            raise _too_little_memory(error, batch_size) from None
        if isinstance(error, torch.AcceleratorError) or _LOST.match(str(error)):
            raise DeviceLostError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
        raise
