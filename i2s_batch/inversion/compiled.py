"""Runs the step of a batch by compiled programs, checked against the plain step before the first use."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from i2s_batch.inversion.compiler_cache import after_the_first_compiler, use_writable_cache
from i2s_batch.inversion.objective import Evaluate, Objective, evaluate

# How far a compiled program's loss may be from the plain step's, and how far its gradient may turn (cosine), for each
# dtype of the activations. bfloat16 rounds differently where operators are fused; a program that lost its gradient,
# which can happen in PyTorch 2.11 without an error, has a cosine of 0.
LOSS_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 2e-2}
LEAST_COSINE = {torch.float64: 0.999999, torch.float32: 0.999, torch.bfloat16: 0.98}


class DisagreementError(RuntimeError):
    """Reports that a compiled program's loss or gradient differs from the plain step's."""


class CompiledStep:
    """Compiles loss and gradient, and the update, at the first call for each batch size.

    A compiler that is missing or fails, or a program that disagrees with the plain step on the images at hand, costs
    speed, not images: the plain step is used from then on, and `take_warning` reports it once. Running out of memory is
    left to the caller.

    Args:
        plain: The objective that is right, in plain operators.
        fast: The objective to compile.
        update: The step's second half; see `Slots`.
        activations: The dtype of activations, which decides the tolerance.
        backend: The compiler, by PyTorch's name for it.
    """

    def __init__(
        self,
        plain: Objective,
        fast: Objective,
        update: Callable[..., Any],
        activations: torch.dtype,
        backend: str = "inductor",
    ) -> None:
        self._plain, self._fast, self._plain_update = plain, fast, update
        self._activations, self._backend = activations, backend
        self._programs: dict[int, tuple[Evaluate, Callable[..., Any]]] = {}
        self.failed = False
        self._warning = ""

    def evaluate(
        self, variable: torch.Tensor, target: torch.Tensor, target_features: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the gradient, the terms [B, 5] and the loss [B]."""
        arguments = (variable, target, target_features)
        if not self.failed and len(variable) not in self._programs:
            try:
                self._programs[len(variable)] = self._compile(*arguments)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, OSError, ImportError) as error:
                # These are what compilers raise; a bug of ours would show in the plain step too.
                self.give_up(error)
        if self.failed:
            return evaluate(self._plain.losses, *arguments)
        return self._programs[len(variable)][0](*arguments)

    def update(self, variable: torch.Tensor, *state: torch.Tensor) -> Any:
        """Return the state after the update."""
        if self.failed or len(variable) not in self._programs:
            return self._plain_update(variable, *state)
        return self._programs[len(variable)][1](variable, *state)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the batch sizes that have a compiled program."""
        return tuple(self._programs)

    def give_up(self, error: Exception) -> None:
        """Use the plain step from now on, and keep the reason for `take_warning`."""
        self.failed = True
        reason = " ".join(str(error).split())[:200]
        self._warning = f"the step could not be compiled and runs uncompiled, slower ({reason})"

    def take_warning(self) -> str:
        """Return a message for the user, once; else an empty text."""
        warning, self._warning = self._warning, ""
        return warning

    def _compile(self, *arguments: Any) -> tuple[Evaluate, Callable[..., Any]]:
        """Compile both programs for this batch size and compare the first one's outcome with the plain step's."""
        with after_the_first_compiler(use_writable_cache()):
            return self._compiled(*arguments)

    def _compiled(self, *arguments: Any) -> tuple[Evaluate, Callable[..., Any]]:
        losses, update = (
            torch.compile(_fresh(function), fullgraph=True, dynamic=False, backend=self._backend)
            for function in (self._fast.losses, self._plain_update)
        )
        program = partial(evaluate, losses)
        self.check(program(*arguments), *arguments)
        return program, update

    def check(
        self,
        outcome: tuple[torch.Tensor, ...],
        variable: torch.Tensor,
        target: torch.Tensor,
        target_features: list[torch.Tensor],
    ) -> None:
        """Raise DisagreementError unless the first image's loss and gradient are the plain step's.

        One image, because the plain step needs more memory for each. An image whose plain loss is not finite, or
        whose plain gradient is zero, shows nothing and passes.
        """
        one = (variable[:1], target[:1], [features[:1] for features in target_features])
        plain_gradient, _, plain_loss = evaluate(self._plain.losses, *one)
        a, b = outcome[0][0].flatten().double(), plain_gradient.flatten().double()
        loss, plain = float(outcome[2][0]), float(plain_loss)
        if not math.isfinite(plain) or not float(b.norm()):
            return
        difference = abs(loss - plain) / max(abs(plain), 1e-300)
        cosine = float(torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-300))
        if not difference <= LOSS_TOLERANCE[self._activations]:
            raise DisagreementError(f"its loss is {loss:.6g} where the plain step's is {plain:.6g}")
        if not cosine >= LEAST_COSINE[self._activations]:
            raise DisagreementError(f"its gradient disagrees with the plain step's: their cosine is {cosine:.3f}")


def _fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function with a code object of its own.

    Torch compiles one code object 8 times and then no more, however many embedders and batch sizes a worker goes
    through.
    """

    def one(*arguments: Any) -> Any:
        return function(*arguments)

    one.__code__ = one.__code__.replace()
    return one
