"""The embedding engine: loss, latent spaces and starts, optimiser, slots, metrics. Needs torch and numpy."""

from i2s_batch.inversion.embedder import Embedder, EmbedResult
from i2s_batch.inversion.slot_state import SlotState

__all__ = ["EmbedResult", "Embedder", "SlotState"]
