"""Checks the networks: that they can be fetched, read and fit together, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fault, ok
from i2s_batch.diagnosis.machine import size
from i2s_batch.errors import CheckpointError
from i2s_batch.models.loading import generator_weights, vgg_weights


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield what the generator and the VGG-16 are."""
    began = time.monotonic()
    try:
        known.generator = generator_weights(asked.generator)
    except CheckpointError as error:
        yield fault("generator", error)
    else:
        weights = known.generator
        layers, width = weights.latent_shape
        shape = f"{weights.family} at {weights.settings.resolution} pixels, latents of {layers} x {width}"
        volume = size(sum(each.nbytes for each in weights.tensors.values()))
        yield ok("generator", f"{shape}, {volume}, read in {time.monotonic() - began:.1f} s")
        known.load_s += time.monotonic() - began
    began = time.monotonic()
    try:
        known.vgg = vgg_weights(asked.vgg)
    except CheckpointError as error:
        yield fault("VGG-16", error)
        return
    known.load_s += time.monotonic() - began
    metric = "" if known.vgg.has_lpips_trunk else "; these are not ImageNet's weights: there is no metric LPIPS"
    yield ok("VGG-16", f"read in {time.monotonic() - began:.1f} s{metric}")
