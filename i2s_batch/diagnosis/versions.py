"""Names the versions of this program, Python and the libraries, and finds a torchvision that is of another PyTorch."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from i2s_batch.diagnosis.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from i2s_batch.diagnosis.asked import Asked, Known

PACKAGES = ("i2s_batch", "torch", "numpy", "pillow", "pyarrow", "ray", "boto3", "duckdb", "lpips", "click", "jinja2")
_WITHOUT = {
    "torchvision": "the ImageNet weights of VGG-16 and the metric LPIPS need it",
    "ray": "pip install 'ray[default]', or work with one worker",
}
_NEEDS_TORCH = re.compile(r"torch\s*\(?\s*(==|>=)\s*([\d.]+)")


def installed(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield the versions that matter to a run."""
    yield ok("i2s_batch", f"{installed('i2s_batch')}, Python {platform.python_version()}, {platform.platform()}")
    torch = installed("torch")
    yield ok("PyTorch", torch) if torch != "not installed" else fail("PyTorch", torch, "pip install torch")
    yield torchvision_pair(torch)
    found = installed("ray")
    asks_for_ray = (asked.config.actors or 1) > 1 or asked.config.in_process is False
    lacks = found == "not installed" and asks_for_ray
    yield warn("Ray", found, _WITHOUT["ray"]) if lacks else ok("Ray", found)


def torchvision_pair(torch: str) -> Finding:
    """Return whether the torchvision that is installed was built for this PyTorch, by what it says of itself."""
    found = installed("torchvision")
    if found == "not installed":
        return warn("torchvision", found, _WITHOUT["torchvision"])
    for requirement in requires("torchvision") or ():
        needed = _NEEDS_TORCH.match(requirement)
        if needed is not None and not _fits(torch, *needed.groups()):
            return fail(
                "torchvision",
                f"{found} is for torch {needed[1]} {needed[2]}, and torch is {torch}: it cannot be imported",
                "install both in one command, `pip install --upgrade torch torchvision`",
            )
    return ok("torchvision", found)


def _fits(torch: str, comparison: str, needed: str) -> bool:
    """Return whether a version of PyTorch, such as 2.11.0+cu130, fulfils a requirement."""
    have, want = (_numbers(each) for each in (torch.partition("+")[0], needed))
    return have == want if comparison == "==" else have >= want


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(found[0]) for part in text.split(".") if (found := re.match(r"\d+", part))]
    return (*numbers, 0, 0, 0)[:3]
