"""Checks what compiling the step needs: a C++ compiler, and a compiled step that gives what the plain one does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

from i2s_batch.config import EmbedConfig
from i2s_batch.diagnosis.apart import ApartError, call_apart
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, ok, warn

LIMIT_S = 600.0
_COMPILERS = ("g++", "c++", "clang++")
_SIDE = 16


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield whether steps can be compiled; where they cannot, a run takes the plain step."""
    path = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "", *_COMPILERS))), None)
    if path is None:
        looked = ", ".join(("CXX", *_COMPILERS))
        advice = "install one, such as the package g++; until then steps run uncompiled, on a GPU half as fast"
        yield warn("C++ compiler", f"none was found ({looked})", advice)
        return
    yield ok("C++ compiler", path)
    wanted = asked.config.embed.compile
    on_gpu = known.has_gpu and asked.config.device != "cpu"
    if wanted is False or (wanted is None and not on_gpu):
        reason = "on a CPU only --compile compiles it" if wanted is None else "--no-compile"
        yield ok("compiled step", f"not tried: {reason}")
        return
    try:
        warning = call_apart(compiled_step, "cuda" if on_gpu else "cpu", limit_s=LIMIT_S)
    except ApartError as error:
        yield warn("compiled step", f"it fails: {error}", "give --no-compile")
        return
    if warning:
        yield warn("compiled step", warning, "give --no-compile, or mend the compiler")
    else:
        yield ok("compiled step", "its loss and gradient are those of the plain step")


def compiled_step(device: str) -> str:
    """Return what is wrong with a compiled step of a small generator; empty if nothing is.

    To be called in a process of its own.
    """
    import numpy as np
    import torch

    from i2s_batch.inversion import Embedder
    from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg

    where = torch.device(device)
    generator = build_generator(random_generator("stylegan1", _SIDE, seed=0, width=16, channel_base=256), where)
    config = replace(EmbedConfig(), steps=10, batch_size=1, compile=True)
    embedder = Embedder(generator, build_vgg(random_vgg(), where), config)
    embedder.put("one", np.zeros((_SIDE, _SIDE, 3), np.uint8))
    embedder.advance(stop=lambda: True)
    return embedder.take_warning()
