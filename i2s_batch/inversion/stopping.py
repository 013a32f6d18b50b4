"""Decides when an image ends before its last step: early stopping, and targets for loss and PSNR."""

from __future__ import annotations

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.plateau import EarlyStopping

# The squared range of pixels in [-1, 1], for PSNR.
PEAK_SQUARED = 4.0


class Stopping:
    """Ends images by the rules of the settings, from each image's own losses alone.

    Attributes:
        is_active: Whether any rule can end an image.
    """

    def __init__(self, config: EmbedConfig) -> None:
        percent, window = config.stop_plateau, config.plateau_steps
        self._early_stopping = None if percent is None else EarlyStopping(percent, window)
        self._target_loss = config.target_loss
        self._target_psnr = config.target_psnr
        self.is_active = percent is not None or self.has_target

    @property
    def has_target(self) -> bool:
        """Return whether a loss or a PSNR ends images."""
        return self._target_loss is not None or self._target_psnr is not None

    def is_reached(self, loss: torch.Tensor, pixel: torch.Tensor) -> torch.Tensor:
        """Return whether a target is reached, bool [B], at these losses [B] and pixel terms [B]."""
        reached = torch.zeros_like(loss, dtype=torch.bool)
        if self._target_loss is not None:
            reached = reached | (loss <= self._target_loss)
        if self._target_psnr is not None:
            reached = reached | (pixel <= PEAK_SQUARED / 10 ** (self._target_psnr / 10))
        return reached

    def judge(
        self,
        loss: torch.Tensor,
        pixel: torch.Tensor,
        step: torch.Tensor,
        least: torch.Tensor,
        before: torch.Tensor,
        better: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the new `least` [B] and `before` [B], and which images end now, bool [B].

        Args:
            loss: The losses [B] after `step` updates, without the prior.
            pixel: The pixel terms [B] there.
            step: The number of updates [B].
            least: The least loss so far [B].
            before: The least loss at the end of the last window of early stopping [B].
            better: Whether the optimiser has never been at a better point; a target counts only there.
        """
        ends = self.is_reached(loss, pixel) & better
        if self._early_stopping is None:
            return torch.minimum(least, loss), before, ends
        least, before, gained_little = self._early_stopping.judge(loss, step, least, before)
        return least, before, ends | gained_little

    def replay(self, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `least` and `before` after the losses [s] of steps 0 to s - 1, as scalars."""
        if self._early_stopping is not None:
            return self._early_stopping.replay(losses)
        infinite = losses.new_full((1,), torch.inf)
        return torch.cat([infinite, losses]).min(), infinite[0]

    def reason(self, steps: int, limit: int, loss: float, pixel: float) -> str:
        """Return the `stop_reason` of an image that ended after `steps` of `limit` updates, at this loss."""
        if self.has_target and bool(self.is_reached(torch.tensor([loss]), torch.tensor([pixel]))):
            return "target"
        return "steps" if steps == limit else "plateau"
