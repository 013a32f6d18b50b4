"""Computes the edits of Image2StyleGAN as formulas on W+ latents.

Latents are [..., L, w_dim]: leading axes are a batch and broadcast. NumPy arrays and PyTorch tensors are taken, and the
result has the same type, dtype and device; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from i2s_batch.errors import ConfigError

# An array of NumPy or PyTorch: only arithmetic that both have is used here.
Latents = Any

NORM_THRESHOLD = 1.0  # of the paper: layers of a direction with a smaller norm hold no expression


def morph(w1: Latents, w2: Latents, a: Latents) -> Latents:
    """Return a * w1 + (1 - a) * w2: `w2` at a = 0, `w1` at a = 1.

    Args:
        w1: Latents [..., L, w_dim].
        w2: Latents [..., L, w_dim].
        a: A number, or an array that broadcasts against the latents ([B, 1, 1] gives each pair its own). Outside [0, 1]
            the line continues beyond the two latents.
    """
    _check_alike(w1, w2)
    return a * w1 + (1 - a) * w2


def style_layers(layers: int, k: int | None = None) -> range:
    """Return the layers that a crossover takes from the style: all but the first `k`, half of them by default."""
    k = layers // 2 if k is None else k
    if not 0 <= k <= layers:
        raise ConfigError(f"the content would keep {k} layers; it must keep between 0 and {layers}")
    return range(k, layers)


def crossover(content: Latents, style: Latents, k: int | None = None, layers: Collection[int] | None = None) -> Latents:
    """Return the content's latents with some layers replaced by the style's (style transfer).

    Args:
        content: Latents [..., L, w_dim].
        style: Latents [..., L, w_dim].
        k: The first k layers stay the content's, L / 2 by default (9 of 18 in the paper).
        layers: The numbers of the layers that come from the style, in place of k; 0 is the coarsest.

    Raises:
        ConfigError: A layer does not exist, or both `k` and `layers` are given.
    """
    _check_alike(content, style)
    count = content.shape[-2]
    if k is not None and layers is not None:
        raise ConfigError("a crossover takes either k or layers, not both")
    chosen = style_layers(count, k) if layers is None else sorted(set(layers))
    for layer in chosen:
        if not 0 <= layer < count:
            raise ConfigError(f"layer {layer} is to come from the style; the layers are 0 to {count - 1}")
    mixed = content + 0 * style  # a copy, of the shape that the two broadcast to
    for layer in chosen:
        mixed[..., layer, :] = style[..., layer, :]
    return mixed


def expression_direction(
    neutral: Latents, expressive: Latents, threshold: float = NORM_THRESHOLD, normalise: bool = True
) -> Latents:
    """Return the direction of an expression, expressive - neutral, cleaned.

    Layers of the difference whose Euclidean norm is below `threshold` are set to zero. With `normalise` the rest is
    divided by its norm over all layers, so that the strength of `add_direction` is a length in W+; without, a strength
    of 1 is the difference itself. A direction of which nothing is left is zero.

    Args:
        neutral: A face without the expression, [..., L, w_dim].
        expressive: The same face with the expression.
        threshold: The smallest norm of a layer that is kept.
        normalise: Divides the direction by its norm.
    """
    _check_alike(neutral, expressive)
    difference = expressive - neutral
    lengths = (difference**2).sum(-1) ** 0.5  # [..., L]
    cleaned = difference * (lengths >= threshold)[..., None]
    if not normalise:
        return cleaned
    whole = ((cleaned**2).sum(-1).sum(-1) ** 0.5)[..., None, None]
    return cleaned / (whole + (whole == 0))  # a zero direction stays zero


def add_direction(w: Latents, direction: Latents, strength: Latents) -> Latents:
    """Return w + strength * direction; `strength` is a number, or an array that broadcasts ([B, 1, 1])."""
    _check_alike(w, direction)
    return w + strength * direction


def _check_alike(first: Latents, second: Latents) -> None:
    if first.ndim < 2 or first.shape[-2:] != second.shape[-2:]:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise ConfigError(f"the latents have the shapes {shapes}; both must end in the same [L, w_dim]")
