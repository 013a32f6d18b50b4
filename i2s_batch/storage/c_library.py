"""Finds functions of the C library for which Python has no name."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library that this process has loaded, which sets `ctypes.get_errno()`.

    The result is None where the library has no such function, or where there is no such library, as on Windows.
    """
    try:
        library = ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None
    found: Callable[..., int] | None = getattr(library, name, None)
    return found
