"""What a machine whose GPU PyTorch cannot use says."""

from __future__ import annotations

import pytest
import torch

from i2s_batch.errors import RunFailedError
from i2s_batch.run.device import device_errors


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU\nand installed"),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."),
        AssertionError("Torch not compiled with CUDA enabled"),
        torch.AcceleratorError("CUDA error: CUDA driver version is insufficient for CUDA runtime version"),
    ],
)
def test_a_missing_driver_is_the_worker_s_and_one_line(error: Exception) -> None:
    with pytest.raises(RunFailedError, match="the worker's machine has no GPU that PyTorch can use") as told:
        _raise(error)
    assert "\n" not in str(told.value) and "--device cpu" in str(told.value)


def _raise(error: Exception) -> None:
    with device_errors(None):
        raise error


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_pytorch_s_own_message_on_a_machine_without_a_gpu_is_known() -> None:
    with pytest.raises(RunFailedError, match="no GPU that PyTorch can use"), device_errors(None):
        torch.zeros(1, device="cuda")


def test_other_errors_are_bugs() -> None:
    with pytest.raises(AssertionError, match="of ours"):
        _raise(AssertionError("of ours"))
