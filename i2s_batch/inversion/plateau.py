"""When an image's optimisation has stopped gaining: decided on the device, from its own losses alone."""

from __future__ import annotations

import torch


class EarlyStopping:
    """An image ends when its best loss gained less than `percent` % in `window` steps.

    Looked at after every `window` steps of the image itself, so that what its neighbours do, or when somebody looks,
    changes nothing.
    """

    def __init__(self, percent: float, window: int) -> None:
        self._fraction = 1 - percent / 100
        self._window = window

    def judge(
        self, loss: torch.Tensor, step: torch.Tensor, best: torch.Tensor, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`loss` [B] after `step` [B] updates; `best` [B], the least so far; `before` [B], the least at the end of the
        last window (infinite at the start). The new `best` and `before`, and which images end now [B]."""
        best = torch.minimum(best, loss)
        window_ends = step % self._window == 0
        return best, torch.where(window_ends, best, before), window_ends & (best > before * self._fraction)

    def replay(self, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`best` and `before` after the losses [s] of steps 0 to s - 1, as scalars."""
        infinite = losses.new_full((1,), torch.inf)
        ends = (max(len(losses) - 1, 0) // self._window) * self._window + 1
        return torch.cat([infinite, losses]).min(), torch.cat([infinite, losses[:ends]]).min()
