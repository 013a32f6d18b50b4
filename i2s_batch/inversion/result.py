"""Defines the result of embedding one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from i2s_batch.config import TERMS
from i2s_batch.inversion.slot_state import SlotState


@dataclass(frozen=True)
class NoiseResult:
    """Holds the noise maps of an image, and what the image that they give measures with the same latent.

    Attributes:
        steps: Updates that were made.
        maps: The maps as one vector, float16 [noise_layout.size] (`models.noise_maps`).
        loss: The weighted loss, without the penalty of the maps.
        mse: The mean squared error of the 8-bit image.
        psnr: Its peak signal-to-noise ratio in dB.
        ssim: Its mean structural similarity.
    """

    steps: int
    maps: np.ndarray
    loss: float
    mse: float
    psnr: float
    ssim: float


@dataclass(frozen=True)
class EmbedResult:
    """Holds the result of embedding one image.

    Attributes:
        image_id: The image's id.
        status: `ok` or `diverged`.
        steps: Updates that were made.
        stop_reason: `steps`, `plateau` (early stopping), `target` (of loss or PSNR) or `diverged`.
        loss: The weighted loss at `latent`, without the prior.
        curve: The loss at each evaluation, [steps + 1].
        term_curves: The loss terms before their weights at each evaluation, [steps + 1, 5].
        seconds: Wall time in a slot.
        latent: The W+ latent [L, w_dim] in the generator's dtype; None when diverged.
        z: The optimised vector in space z; None in other spaces.
        picture: The 8-bit image of `latent`, uint8 [R, R, 3].
        state: The state from which an embedding of more steps resumes.
        prior: The penalty of the prior at `latent`; None without one.
        metrics: Metrics of `picture`, by the names of `engine_registries.METRICS`; computed when they are first read.
        noise: The noise maps, beside all that is said above of the latent with the stored noise; None without a noise
            stage, or if its loss was not finite.
    """

    image_id: str
    status: str
    steps: int
    stop_reason: str
    loss: float
    curve: np.ndarray
    term_curves: np.ndarray
    seconds: float
    latent: np.ndarray | None = None
    z: np.ndarray | None = None
    picture: np.ndarray | None = None
    state: SlotState | None = None
    prior: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    noise: NoiseResult | None = None

    @property
    def terms(self) -> dict[str, float]:
        """Return the loss terms at `latent`, by name."""
        return dict(zip(TERMS, self.term_curves[-1].tolist(), strict=True))
