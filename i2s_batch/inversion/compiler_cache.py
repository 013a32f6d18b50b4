"""Gives PyTorch's compiler a folder for its files that can be written to, where its own cannot.

Its own is in the folder for temporary files, or where TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR say. Without any
folder the compiler fails, and the plain step is used.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from i2s_batch.storage.cache_folder import can_write, user_id, writable_cache

_SETTINGS = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def use_writable_cache() -> None:
    """Set the compiler's folders, in the environment, if those that it would use cannot be written to."""
    inductor, triton = (os.environ.get(name) for name in _SETTINGS)
    usual = Path(inductor) if inductor else _default()
    if usual is not None and can_write(usual) and (triton is None or can_write(Path(triton))):
        return
    folder = writable_cache("compiled")
    if folder is not None:
        os.environ.update(zip(_SETTINGS, (str(folder), str(folder / "triton")), strict=True))


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
