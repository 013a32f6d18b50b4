"""An optimiser of another program, in one file: plain gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import OptimizerDeclaration


@dataclass(frozen=True)
class Descent:
    """x - rate * gradient; the two tensors that a slot keeps for its optimiser stay as they are."""

    rate: float

    def start(self, x: torch.Tensor) -> torch.Tensor:
        """Return the first value of both tensors that a slot keeps: [B, *space]."""
        return torch.zeros_like(x)

    def update(
        self,
        x: torch.Tensor,
        gradient: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        t: torch.Tensor,
        better: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the next variable and the slot's two tensors; `t` [B] counts each slot's steps from 1."""
        return x - self.rate * gradient, m, v


def descent_of(config: EmbedConfig) -> Descent:
    """Return the optimiser that the settings ask for."""
    return Descent(config.learning_rate)


DESCENT = OptimizerDeclaration("descent", "Gradient descent.", "tests.extension.descent:descent_of", least_window=7)
