"""One step that changes the slots' tensors in place, as a CUDA graph needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.gpu.cases import Case

_NAMES = ("variable", "m", "v", "step", "best", "finite")


def in_place_step(slots: Any, case: Case, smoke: bool) -> Callable[[], None]:
    """Return the step. `aot`: the objective is compiled alone, so that its backward pass is a program of its own, which
    recomputes what is cheap instead of storing it."""
    objective, update = _objective(slots), _update(slots)
    if case.step == "aot":
        how: dict[str, Any] = {"backend": "aot_eager"} if smoke else {"options": dict(case.options) or None}
        objective = torch.compile(objective, fullgraph=True, dynamic=False, **how)
        update = torch.compile(update, fullgraph=True, dynamic=False, backend="aot_eager" if smoke else "inductor")

    def step() -> None:
        leaf = slots.variable.detach().requires_grad_()
        value, terms, loss = objective(leaf, slots.target, slots.target_features)
        (gradient,) = torch.autograd.grad(value, leaf)
        with torch.no_grad():
            terms, loss = terms.detach(), loss.detach()
            positions = slots.step[:, None, None].expand(-1, 1, terms.shape[1])
            slots.history.scatter_(1, positions, terms[:, None].to(slots.history.dtype))
            state = (slots.variable, gradient, slots.m, slots.v, slots.step, slots.limit, slots.best, slots.finite)
            for name, new in zip(_NAMES, update(*state, loss), strict=True):
                getattr(slots, name).copy_(new)

    return step


def _objective(slots: Any) -> Callable[..., Any]:
    from i2s_batch.inversion.loss import loss_terms

    plain = slots.objective
    synthesis, features, space, weights = plain.synthesis, plain.features, plain.space, plain.weights

    def objective(x: Any, target: Any, target_features: Any) -> Any:
        images = synthesis(space.to_ws(x))
        terms = loss_terms(images, target, features(images), target_features)
        loss = terms @ weights
        return loss.sum(), terms, loss

    return objective


def _update(slots: Any) -> Callable[..., Any]:
    def update(x: Any, gradient: Any, m: Any, v: Any, step: Any, limit: Any, best: Any, finite: Any, loss: Any) -> Any:
        better, running = loss < best, step < limit
        updated = slots.optimizer.update(x, gradient, m, v, step + 1, better)
        kept = [
            torch.where(running.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(updated, (x, m, v), strict=True)
        ]
        return (*kept, step + running, torch.minimum(best, loss), finite & loss.isfinite())

    return update
