"""Implements Adam (Kingma and Ba, 2015, algorithm 1) with a step count of its own for every slot of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Adam:
    """Holds the learning rate, decay rates and epsilon; the moments belong to the slots."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float

    def start(self, x: torch.Tensor) -> torch.Tensor:
        """Return either moment before the first update."""
        return torch.zeros_like(x)

    def update(
        self,
        x: torch.Tensor,
        gradient: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        t: torch.Tensor,
        better: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the new (x, m, v), each [B, ...], for the `t`-th update of each slot.

        `t` [B] counts from 1. `better`, whether the loss has improved, makes no difference to Adam.
        """
        m = self.beta1 * m + (1 - self.beta1) * gradient
        v = self.beta2 * v + (1 - self.beta2) * gradient.square()
        t = t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        m_hat = m / (1 - self.beta1**t)
        v_hat = v / (1 - self.beta2**t)
        return x - self.learning_rate * m_hat / (v_hat.sqrt() + self.epsilon), m, v
