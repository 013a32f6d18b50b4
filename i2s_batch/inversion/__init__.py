"""Embeds images: the loss, latent spaces and initialisations, optimisers, slots, metrics.

Comes in: a generator, the perceptual network, and images as uint8 [H, W, 3]. Goes out: an `EmbedResult` for each image.
It needs torch, numpy and Pillow alone, and never imports stores, tables, runs or Ray.
"""

from i2s_batch.inversion.embedder import Embedder
from i2s_batch.inversion.result import EmbedResult, NoiseResult
from i2s_batch.inversion.slot_state import SlotState

__all__ = ["EmbedResult", "Embedder", "NoiseResult", "SlotState"]
