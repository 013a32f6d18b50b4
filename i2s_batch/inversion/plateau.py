"""Decides when an image stops early: on the device, from its own losses alone."""

from __future__ import annotations

import torch


class EarlyStopping:
    """Ends an image when its best loss has improved by less than `percent` % in `window` steps.

    It is checked after every `window` steps of the image itself, so that neither its neighbours nor the moment of
    reading make a difference.
    """

    def __init__(self, percent: float, window: int) -> None:
        self._fraction = 1 - percent / 100
        self._window = window

    def judge(
        self, loss: torch.Tensor, step: torch.Tensor, best: torch.Tensor, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the new `best` [B] and `before` [B], and which images end now, bool [B].

        Args:
            loss: The losses [B] after `step` updates.
            step: The number of updates [B].
            best: The least loss so far [B].
            before: The least loss at the end of the last window [B]; infinite at the start.
        """
        best = torch.minimum(best, loss)
        window_ends = step % self._window == 0
        return best, torch.where(window_ends, best, before), window_ends & (best > before * self._fraction)

    def replay(self, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `best` and `before` after the losses [s] of steps 0 to s - 1, as scalars."""
        infinite = losses.new_full((1,), torch.inf)
        ends = (max(len(losses) - 1, 0) // self._window) * self._window + 1
        return torch.cat([infinite, losses]).min(), torch.cat([infinite, losses[:ends]]).min()
