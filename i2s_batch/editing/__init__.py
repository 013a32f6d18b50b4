"""Edits of W+ codes: pure functions on arrays, for numpy and torch alike."""

from i2s_batch.editing.latents import add_direction, crossover, expression_direction, morph

__all__ = ["add_direction", "crossover", "expression_direction", "morph"]
