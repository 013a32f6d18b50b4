"""Checks the devices that workers would compute on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from i2s_batch.diagnosis.apart import ApartError, call_apart
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.device_probe import Device, Devices, probe_devices
from i2s_batch.diagnosis.findings import Finding, fail, ok, warn
from i2s_batch.diagnosis.machine import size
from i2s_batch.plurals import counted

LIMIT_S = 180.0
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # vendor and class of a device on the PCI bus
_CROWDED = 0.5  # of a GPU's memory that is free: below, something else is likely to use it


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield what PyTorch can compute on."""
    try:
        found = call_apart(probe_devices, limit_s=LIMIT_S)
    except ApartError as error:
        yield fail("PyTorch", f"it cannot be used: {error}", "install it again, and the driver of the GPU")
        return
    known.has_gpu = bool(found.gpus)
    yield from findings(found, asked, cards(Path(asked.root)))


def findings(found: Devices, asked: Asked, present: int) -> Iterator[Finding]:
    """Yield the findings about devices, of which `present` are NVIDIA cards of this machine."""
    if found.torchvision_fault:
        advice = "install the pair in one command, `pip install --upgrade torch torchvision`"
        yield fail("torchvision", f"it cannot be imported: {found.torchvision_fault}", advice)
    built = f"PyTorch is built for CUDA {found.built_for}" if found.built_for else "PyTorch is built without CUDA"
    if not found.gpus:
        yield _without_gpu(found, asked, present, built)
    for number, gpu in enumerate(found.gpus):
        driver = f", driver {found.driver}" if found.driver else ""
        yield _gpu(f"GPU {number}", gpu, f"{built}{driver}")
    missing = (asked.gpus or 0) - len(found.gpus)
    if found.gpus and missing > 0:
        counts = f"Ray counts {counted(asked.gpus or 0, 'GPU')} here, PyTorch sees {len(found.gpus)}"
        yield fail("GPUs", counts, "start this node with as many GPUs as work: ray start --num-gpus")
    yield fail("CPU", found.cpu_fault, "install PyTorch again") if found.cpu_fault else ok("CPU", "a kernel runs")


def cards(root: Path) -> int:
    """Return how many NVIDIA cards are on the PCI bus, whether or not there is a driver for them."""
    count = 0
    for folder in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((folder / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        count += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return count


def _without_gpu(found: Devices, asked: Asked, present: int, built: str) -> Finding:
    """Return the finding of a machine on which PyTorch sees no GPU: a fault only where there should be one."""
    reason = f"{built}; {found.why_none or 'it sees no GPU'}"
    driver = "install NVIDIA's driver" if found.built_for else "install a PyTorch with CUDA, and NVIDIA's driver"
    if asked.gpus:
        counts = f"Ray counts {counted(asked.gpus, 'GPU')} here, PyTorch can use none: {reason}"
        return fail("GPU", counts, f"{driver} on this node, or start it with --num-gpus=0")
    if asked.config.device == "cuda":
        return fail("GPU", f"--device cuda, and none can be used: {reason}", f"{driver}, or give --device cpu")
    if present:
        cards_there = f"{counted(present, 'NVIDIA card')} on the bus, none can be used: {reason}"
        return warn("GPU", cards_there, f"{driver} (in a container: docker run --gpus all)")
    return ok("GPU", f"none; {built}")


def _gpu(name: str, gpu: Device, versions: str) -> Finding:
    memory = f"{size(gpu.free_bytes)} free of {size(gpu.total_bytes)}"
    if gpu.fault:
        return fail(
            name, f"{gpu.name}: no kernel runs ({gpu.fault}); {versions}", "install a driver that suits PyTorch"
        )
    found = f"{gpu.name}, {memory}, a kernel runs; {versions}"
    if gpu.free_bytes < _CROWDED * gpu.total_bytes:
        return warn(name, found, "another program uses its memory: end it, or give a smaller --batch-size")
    return ok(name, found)
