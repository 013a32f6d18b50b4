"""Defines the interface of an optimiser, as the slots use it, and builds optimisers by name.

The names are those of `engine_registries.OPTIMIZERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.inversion.adam import Adam
from i2s_batch.inversion.lbfgs import LBFGS
from i2s_batch.inversion.learned import Learned

# Steps of Adam before those of L-BFGS (docs/speed.md reports the losses without them).
WARM_UP = 100


class Optimizer(Protocol):
    """Represents a rule that makes the next point of each slot; its memory is two tensors of the slot, `m` and `v`."""

    def start(self, x: torch.Tensor) -> torch.Tensor:
        """Return `m`, which is also `v`, before the first update of a point [*space shape]."""
        ...

    def update(
        self,
        x: torch.Tensor,
        gradient: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        t: torch.Tensor,
        better: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the new (x, m, v) for the `t`-th update of each slot.

        `t` [B] counts from 1; `better` [B]: whether the loss at `x` is less than at any point before.
        """
        ...


BuildOptimizer = Callable[[EmbedConfig], Optimizer]
# Of those that need a learned file; the last argument has the device of the slots.
BuildLearnedOptimizer = Callable[[EmbedConfig, Learned, torch.Tensor], Optimizer]


def adam_of(config: EmbedConfig) -> Adam:
    """Return Adam with the rates of `config`."""
    return Adam(config.learning_rate, config.beta1, config.beta2, config.epsilon)


def lbfgs_of(config: EmbedConfig) -> LBFGS:
    """Return L-BFGS, after some steps of Adam, for the steps and the early stopping of `config`."""
    return LBFGS(adam_of(config), WARM_UP, config.steps, config.plateau_steps if config.stop_plateau else None)


def optimizer_of(config: EmbedConfig, learned: Learned | None, like: torch.Tensor) -> Optimizer:
    """Return the optimiser that `config` names, for slots on the device of `like`."""
    declaration = OPTIMIZERS.get(config.optimizer)
    if declaration.needs_learned:
        assert learned is not None
        build_learned: BuildLearnedOptimizer = declaration.resolve()
        return build_learned(config, learned, like)
    build: BuildOptimizer = declaration.resolve()
    return build(config)


def returns_best(optimizer: Optimizer) -> bool:
    """Return whether the result of an image is the last point of the optimiser's `m`, not its last point."""
    return bool(getattr(optimizer, "returns_best", False))
