"""Counts the kernels of a step of each optimiser at 1024 x 1024, on the stand-in for a GPU.

    tests/gpu/standin/build.sh PYTHON BUILD
    STANDIN_BUILD=BUILD PYTHONPATH=. tests/gpu/standin/run.sh PYTHON tests/gpu/step_counts.py adam counts.txt

It prints a JSON line: launches and host syncs are in the first line of the file that it writes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

import numpy as np
import torch

from i2s_batch import EmbedConfig, Embedder
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg
from tests.gpu.materials import neutral_learned

BATCH = 2
SETTINGS = {
    "adam": EmbedConfig(steps=100, batch_size=BATCH),
    "lbfgs": EmbedConfig(steps=100, batch_size=BATCH, optimizer="lbfgs"),
    "lbfgs-learned": EmbedConfig(steps=100, batch_size=BATCH, optimizer="lbfgs-learned", init="learned", prior=1e-3),
}


def main() -> None:
    """Step the optimiser that the first argument names once, and write what was counted to the second."""
    name, file = sys.argv[1:]
    counters = ctypes.CDLL("libstandin_cudart.so")
    set_numerics("fp32")
    generator = build_generator(random_generator("stylegan2", 1024), torch.device("cuda"))
    vgg = build_vgg(random_vgg(), torch.device("cuda"))
    learned = neutral_learned(generator, vgg)
    config = SETTINGS[name]
    embedder = Embedder(generator, vgg, config, learned=learned if config.uses_learned else None)
    for number in range(BATCH):
        embedder.put(str(number), np.zeros((1024, 1024, 3), np.uint8))
    embedder.advance(stop=lambda: True)
    counters.standin_reset()
    embedder.slots.advance(full=True)
    counters.standin_dump(file.encode())
    memory = (embedder.slots.m.nbytes + embedder.slots.v.nbytes) / BATCH / 2**20
    print(json.dumps({"optimizer": name, "optimizer_MiB_per_slot": memory}), flush=True)
    os._exit(0)  # PyTorch's threads for the backward pass sometimes abort when Python ends


if __name__ == "__main__":
    main()
