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
from i2s_batch.config import LossWeights
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg

BATCH = 2
FEATURES = 15_104  # of the regression, at VGG-16's widths
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
    layers, w_dim = generator.num_layers, generator.w_dim
    one = torch.eye(w_dim)
    learned = Learned(
        generator=generator.fingerprint,
        vgg=vgg.fingerprint,
        weights=LossWeights(),
        blocks=one.expand(layers, w_dim, w_dim).clone(),
        covariance=one,
        feature_mean=torch.zeros(FEATURES),
        feature_scale=torch.ones(FEATURES),
        coefficients=torch.zeros(FEATURES, w_dim),
        start_mean=torch.zeros(w_dim),
        samples=1,
        origin="",
    )
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
