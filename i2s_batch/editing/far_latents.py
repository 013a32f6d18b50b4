"""Warns of out-of-distribution latents: edits mean something for faces, not for everything that W+ can hold."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from i2s_batch.models import Generator
from i2s_batch.table.latent_reader import LatentIndex

# A latent is out of distribution when it lies farther from w_avg than all of so many latents of the generator's own.
# The paper's faces lie at 30 to 48, everything else at 70 and more.
OWN_LATENTS = 1000


def out_of_distribution_warning(index: LatentIndex, parents: Iterable[str], limit: float) -> str | None:
    """Return a warning if any of the parents lies farther from w_avg than `limit`, else None."""
    distances = {parent: d for parent in parents if (d := index.distance(parent)) is not None}
    far = sorted((d, parent) for parent, d in distances.items() if d > limit)
    if not far:
        return None
    distance, parent = far[-1]
    return (
        f"warning: {len(far)} of {len(distances)} latents are out of distribution: they lie farther from w_avg than "
        f"any of {OWN_LATENTS} latents of the generator's own ({limit:.1f}), {parent!r} at {distance:.1f}; "
        "edits of them mean little"
    )


def farthest_own_distance(generator: Generator) -> float:
    """Return the largest distance from w_avg, over all layers as in `w_distance`, of `OWN_LATENTS` seeded z."""
    z = torch.randn(OWN_LATENTS, generator.z_dim, generator=torch.Generator().manual_seed(0))
    labels = None
    if generator.c_dim:
        labels = torch.nn.functional.one_hot(torch.arange(OWN_LATENTS) % generator.c_dim, generator.c_dim).float()
    with torch.no_grad():
        ws = generator.map(z, labels)
    return float((ws - generator.w_avg).flatten(1).norm(dim=1).max())
