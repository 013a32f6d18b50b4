"""Gives PyTorch's compiler a folder for its files that can be written to, where its own cannot.

Its own is in the folder for temporary files, or where TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR say. Without any
folder the compiler fails, and the plain step is used.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2s_batch.storage.cache_folder import can_write, user_id, writable_cache
from i2s_batch.storage.exclusive import try_lock

FIRST_COMPILER_S = 600.0
_LOOK_AGAIN_S = 0.2
_LOCK = "i2s_batch.lock"

_SETTINGS = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def use_writable_cache() -> Path | None:
    """Set the compiler's folders, in the environment, if those that it would use cannot be written to.

    Returns:
        The folder of what is compiled; None where there is none that can be written to.
    """
    inductor, triton = (os.environ.get(name) for name in _SETTINGS)
    usual = Path(inductor) if inductor else _default()
    if usual is not None and can_write(usual) and (triton is None or can_write(Path(triton))):
        return usual
    folder = writable_cache("compiled")
    if folder is not None:
        os.environ.update(zip(_SETTINGS, (str(folder), str(folder / "triton")), strict=True))
    return folder


@contextmanager
def after_the_first_compiler(folder: Path | None) -> Iterator[None]:
    """Let one process of this machine compile, and the others wait for its end: they find in `folder` what they need.

    Eight workers that start at the same time would otherwise compile the same step eight times, on the same cores.
    Those that have waited compile at the same time: it is quick, or they have other networks. A first one that takes
    longer than `FIRST_COMPILER_S` is not waited for.
    """
    try:
        file = None if folder is None else (folder / _LOCK).open("wb")
    except OSError:
        file = None
    if file is None:
        yield
        return
    with file:
        deadline, first = time.monotonic() + FIRST_COMPILER_S, True
        while not try_lock(file) and time.monotonic() < deadline:
            first = False
            time.sleep(_LOOK_AGAIN_S)
        if not first:
            file.close()  # which releases it
        yield


def _default() -> Path | None:
    """Return the compiler's folder where no setting names one; None where there is none for temporary files."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without an entry in the user database; Windows
        user = f"uid_{user_id()}"
    try:
        return Path(tempfile.gettempdir()) / f"torchinductor_{user}"
    except FileNotFoundError:
        return None
