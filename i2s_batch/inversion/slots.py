"""The slots: the device tensors of the pictures in flight, and one step of all of them.

Nothing here knows where pictures come from or when a picture is finished; a step never waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.compiled import CompiledStep
from i2s_batch.inversion.loss import Features, lambdas, loss_terms
from i2s_batch.inversion.optimizer import optimizer_of
from i2s_batch.inversion.plateau import Plateau
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.inversion.spaces import GeneratorLike, LatentSpace
from i2s_batch.records import TERMS

# Per-slot tensors that are joined, refilled in place, and dropped together.
_STATE = ("variable", "m", "v", "step", "limit", "best", "best_before", "finite")
_TENSORS = (*_STATE, "history", "target")


class Slots:
    """B pictures side by side. All tensors have the slot as their first dimension.

    variable: [B, *space shape]; m, v: what the optimiser remembers; step: [B] int64, updates made; limit: [B] int64,
    updates after which it ends; best: [B], the least loss so far; best_before: [B], what `Plateau` compares it with;
    finite: [B] bool, every loss so far was;
    history: [B, steps + 1, 5], loss terms at each evaluation; target: [B, 3, R, R] in [-1, 1];
    target_features: the perceptual features of the targets, computed once a picture.
    """

    variable: torch.Tensor
    m: torch.Tensor
    v: torch.Tensor
    step: torch.Tensor
    limit: torch.Tensor
    best: torch.Tensor
    best_before: torch.Tensor
    finite: torch.Tensor
    history: torch.Tensor
    target: torch.Tensor

    def __init__(self, generator: GeneratorLike, features: Features, space: LatentSpace, config: EmbedConfig) -> None:
        self._generator, self._features, self._space, self._config = generator, features, space, config
        self.optimizer = optimizer_of(config)
        self._plateau = None if config.stop_plateau is None else Plateau(config.stop_plateau, config.plateau_steps)
        self._lambdas = lambdas(config.loss_weights, generator.w_avg)
        self._compiled = CompiledStep(self._after) if config.compile else None
        self.target_features: list[torch.Tensor] = []
        self.size = 0

    def put(self, place: int, target: torch.Tensor, state: SlotState | None, image_id: str) -> None:
        """Fill slot `place` (0 to size; size adds a slot) with a target [3, R, R], from `state` or afresh."""
        fresh = self._tensors_of(target, state, image_id)
        with torch.no_grad():
            fresh_features = [f.detach() for f in self._features(target[None])]
        if self.size == 0:
            vars(self).update(fresh)
            self.target_features, self.size = fresh_features, 1
        elif place == self.size:
            joined = {name: torch.cat([getattr(self, name), value]) for name, value in fresh.items()}
            pairs = zip(self.target_features, fresh_features, strict=True)
            joined_features = [torch.cat(pair) for pair in pairs]
            # Nothing is changed before all memory is there: without it, the others stay as they are.
            vars(self).update(joined)
            self.target_features = joined_features
            self.size += 1
        else:
            for name, value in fresh.items():
                getattr(self, name)[place] = value[0]
            for kept, new in zip(self.target_features, fresh_features, strict=True):
                kept[place] = new[0]

    def keep(self, places: Sequence[int]) -> None:
        """Drop every slot that is not in `places`."""
        index = torch.tensor(places, device=self._lambdas.device, dtype=torch.long)
        for name in _TENSORS:
            setattr(self, name, getattr(self, name)[index])
        self.target_features = [f[index] for f in self.target_features]
        self.size = len(places)

    def advance(self, full: bool = True) -> None:
        """Judge the latent of every slot, then update those that have updates left. No host sync.

        Whole or not at all: if the device's memory is not enough, every slot is as it was. Only a `full` batch is worth
        a compiled program: while it fills, and at a dataset's end, each size would need one of its own.
        """
        step: Callable[..., Any] = self._after if self._compiled is None or not full else self._compiled
        terms, after = step(*(getattr(self, name) for name in _STATE), self.target, self.target_features)
        # Here and not in the step: a program that changes what it is given can be no CUDA graph.
        self.history.scatter_(1, self.step[:, None, None].expand(-1, 1, len(TERMS)), terms[:, None])
        vars(self).update(after)

    def take_warning(self) -> str:
        """What the user should know of the compiler, once; else empty."""
        return "" if self._compiled is None else self._compiled.take_warning()

    def _after(
        self,
        variable: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        step: torch.Tensor,
        limit: torch.Tensor,
        best: torch.Tensor,
        best_before: torch.Tensor,
        finite: torch.Tensor,
        target: torch.Tensor,
        target_features: list[torch.Tensor],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss terms [B, 5] of every slot, and its tensors after this step. Changes nothing."""

        def total(x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
            images = self._generator.synthesize(self._space.to_ws(x))
            terms = loss_terms(images, target, self._features(images), target_features)
            loss = terms @ self._lambdas  # [B]
            # The sum over images: each image's gradient is that of its own loss.
            return loss.sum(), (terms, loss)

        # A compiler takes only the first of the two, and the first imports a compiler: seconds that the other spares.
        gradient_of = torch.func.grad(total, has_aux=True) if torch.compiler.is_compiling() else _with_gradient(total)
        gradient, (terms, loss) = gradient_of(variable)
        better = loss < best
        after = {"finite": finite & loss.isfinite(), "best": torch.minimum(best, loss)}
        if self._plateau is not None:
            after |= self._after_plateau(self._plateau, loss, step, limit, best, best_before)
        running = step < after.get("limit", limit)
        updated = self.optimizer.update(variable, gradient, m, v, step + 1, better)
        for name, new, old in zip(("variable", "m", "v"), updated, (variable, m, v), strict=True):
            after[name] = torch.where(running.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        return terms, after | {"step": step + running}

    @staticmethod
    def _after_plateau(
        plateau: Plateau,
        loss: torch.Tensor,
        step: torch.Tensor,
        limit: torch.Tensor,
        best: torch.Tensor,
        best_before: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """An image that ends now has had its last update. One that has ended is judged again, which changes nothing."""
        best, before, ends = plateau.judge(loss, step, best, best_before)
        running = step < limit
        ended = torch.where(running & ends, step, limit)
        return {"best": best, "best_before": torch.where(running, before, best_before), "limit": ended}

    def losses(self, place: int) -> torch.Tensor:
        """The weighted loss at each of the steps + 1 evaluations of a slot: [steps + 1]."""
        return self.history[place] @ self._lambdas

    def _tensors_of(self, target: torch.Tensor, state: SlotState | None, image_id: str) -> dict[str, torch.Tensor]:
        like = self._lambdas
        history = torch.full((self._config.steps + 1, len(TERMS)), torch.nan, dtype=like.dtype, device=like.device)
        if state is None:
            variable = self._space.start(image_id).to(like)
            m, v, step = self.optimizer.start(variable), self.optimizer.start(variable), 0
        else:
            variable, m, v = (torch.from_numpy(a.copy()).to(like) for a in (state.variable, state.m, state.v))
            step = state.step
            history[:step] = torch.from_numpy(state.history.copy()).to(like)
        losses = history[:step] @ like
        best_before = like.new_tensor(torch.inf)
        best = torch.cat([best_before[None], losses]).min()
        if self._plateau is not None:
            best, best_before = self._plateau.replay(losses)
        values = {
            "variable": variable,
            "m": m,
            "v": v,
            "step": torch.tensor(step, device=like.device),
            "limit": torch.tensor(self._config.steps, device=like.device),
            "best": best,
            "best_before": best_before,
            "finite": torch.tensor(True, device=like.device),
            "history": history,
            "target": target,
        }
        return {name: value[None] for name, value in values.items()}


def _with_gradient(
    total: Callable[[torch.Tensor], tuple[torch.Tensor, tuple[torch.Tensor, ...]]],
) -> Callable[..., Any]:
    """As `torch.func.grad` with `has_aux`: a function that gives the gradient of `total`, and what else it gives."""

    def gradient_of(x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value, others = total(leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        return gradient, tuple(other.detach() for other in others)

    return gradient_of
