"""Holds the device tensors of the images in flight, and makes one step of all of them.

Nothing here knows where images come from or when an image is finished; a step never waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.compiled import CompiledStep
from i2s_batch.inversion.graph import GraphedStep
from i2s_batch.inversion.initialisation import Target, start_of
from i2s_batch.inversion.learned import Learned, prior_of
from i2s_batch.inversion.loss import Features, loss_weight_vector
from i2s_batch.inversion.objective import Evaluate, Objective, evaluate
from i2s_batch.inversion.optimizer import optimizer_of, returns_best
from i2s_batch.inversion.slot_state import SlotState
from i2s_batch.inversion.spaces import GeneratorLike, LatentSpace
from i2s_batch.inversion.step_program import PLAIN, StepProgram
from i2s_batch.inversion.stopping import Stopping

# Per-slot tensors that are joined, refilled in place, and dropped together.
_STATE = ("variable", "m", "v", "step", "limit", "best", "least", "least_before", "finite")
_TENSORS = (*_STATE, "history", "target")


class Slots:
    """Holds B images in a batch. All tensors have the slot as their first dimension.

    A step replaces these tensors. Where the step program is a graph, it changes them in place: they have their full
    size from the first image on and never move, `put` fills a slot, and slots without an image have no updates left.

    Attributes:
        variable: [B, *space shape].
        m: The optimiser's first state tensor, [B, ...].
        v: The optimiser's second state tensor, [B, ...].
        step: [B] int64, updates made.
        limit: [B] int64, updates after which the image ends.
        best: [B], the least sum of loss and prior so far: what the optimiser makes less.
        least: [B], the least loss so far, without the prior.
        least_before: [B], the least loss that `EarlyStopping` compares it with.
        finite: [B] bool, whether every loss so far was finite.
        history: [B, steps + 1, 5], loss terms at each evaluation; with a prior [B, steps + 1, 6].
        target: [B, 3, R, R] in [-1, 1].
        target_features: The feature maps of the targets, computed once an image.
    """

    variable: torch.Tensor
    m: torch.Tensor
    v: torch.Tensor
    step: torch.Tensor
    limit: torch.Tensor
    best: torch.Tensor
    least: torch.Tensor
    least_before: torch.Tensor
    finite: torch.Tensor
    history: torch.Tensor
    target: torch.Tensor

    def __init__(
        self,
        generator: GeneratorLike,
        features: Features,
        space: LatentSpace,
        config: EmbedConfig,
        program: StepProgram = PLAIN,
        learned: Learned | None = None,
    ) -> None:
        self._features, self._config = features, config
        self.program = program
        self.optimizer = optimizer_of(config, learned, generator.w_avg)
        self._returns_best = returns_best(self.optimizer)
        self._start = start_of(space, config, learned)
        self._stopping = Stopping(config)
        self._weights = loss_weight_vector(config.loss_weights, generator.w_avg)
        prior = prior_of(config.prior, learned, generator.w_avg)
        # The weights of the terms of the objective: the prior's has its weight already.
        self._all_weights = self._weights if prior is None else torch.cat([self._weights, self._weights.new_ones(1)])
        self.objective = Objective(generator.synthesize, features, space, self._all_weights, prior)
        self._compiled = self._compiled_step(generator) if program.compiled else None
        self._graph: GraphedStep | None = None
        self._replays = program.graph and self._weights.device.type == "cuda"  # only a GPU has graphs
        self._graph_warning = ""
        self.target_features: list[torch.Tensor] = []
        self.size = 0

    def _compiled_step(self, generator: GeneratorLike) -> CompiledStep:
        if self.program.layout == "nhwc" and isinstance(self._features, torch.nn.Module):
            self._features.to(memory_format=torch.channels_last)  # values stay the same
        fast = self.objective
        if self.program.fused and generator.build_fused is not None:
            fast = replace(fast, synthesis=generator.build_fused(self.program.layout))
        activations = generator.activations or generator.w_avg.dtype
        return CompiledStep(self.objective, fast, self._updated, activations, self.program.backend)

    def put(self, position: int, target: torch.Tensor, state: SlotState | None, image_id: str) -> None:
        """Fill slot `position` (0 to size; size adds a slot) with a target [3, R, R], from `state` or at step 0."""
        pixels = self._laid_out(target[None])
        with torch.no_grad():
            fresh_features = [self._laid_out(f.detach()) for f in self._features(pixels)]
            fresh = self._tensors_of(Target(image_id, pixels, fresh_features), state)
        if self.size == 0:
            vars(self).update(fresh)
            self.target_features, self.size = fresh_features, 1
        elif position == self.size:
            self._join(fresh, fresh_features)
        else:
            for name, value in fresh.items():
                getattr(self, name)[position] = value[0]
            for kept, new in zip(self.target_features, fresh_features, strict=True):
                kept[position] = new[0]

    def _join(self, fresh: dict[str, torch.Tensor], fresh_features: list[torch.Tensor]) -> None:
        """Add slots. Nothing is changed before all memory is allocated: if that fails, the others stay as they are."""
        joined = {name: self._laid_out(torch.cat([getattr(self, name), value])) for name, value in fresh.items()}
        pairs = zip(self.target_features, fresh_features, strict=True)
        joined_features = [self._laid_out(torch.cat(pair)) for pair in pairs]
        vars(self).update(joined)
        self.target_features = joined_features
        self.size = len(self.step)
        self._graph = None

    def fill_up(self, size: int) -> None:
        """Add slots without an image up to `size`: copies of the first one that have no updates left."""
        missing = size - self.size
        if missing > 0:
            idle = {name: self._repeated(getattr(self, name), missing) for name in _TENSORS}
            idle["limit"] = torch.zeros_like(idle["limit"])
            idle["step"] = torch.zeros_like(idle["step"])
            self._join(idle, [self._repeated(features, missing) for features in self.target_features])

    def _repeated(self, value: torch.Tensor, times: int) -> torch.Tensor:
        return self._laid_out(value[:1].repeat(times, *[1] * (value.ndim - 1)))

    def _laid_out(self, value: torch.Tensor) -> torch.Tensor:
        """Return `value`, in the memory layout of the step program if it has four dimensions."""
        last = self.program.layout == "nhwc" and value.ndim == 4
        return value.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def keep(self, positions: Sequence[int]) -> None:
        """Drop every slot that is not in `positions`."""
        index = torch.tensor(positions, device=self._weights.device, dtype=torch.long)
        for name in _TENSORS:
            setattr(self, name, self._laid_out(getattr(self, name)[index]))
        self.target_features = [self._laid_out(f[index]) for f in self.target_features]
        self.size = len(positions)
        self._graph = None

    def advance(self, full: bool = True) -> None:
        """Evaluate the latent of every slot, then update those that have updates left. No host sync.

        A step is made whole or not at all: if the device's memory is not enough, every slot is as it was. Only a `full`
        batch is worth a compiled program: while it fills, and at a dataset's end, each size would need one of its own.
        """
        if not full or self._compiled is None or self._compiled.failed:
            return self._advance(partial(evaluate, self.objective.losses), self._updated)
        step = partial(self._advance, self._compiled.evaluate, self._compiled.update)
        if not self._replays:
            return step()
        if self._graph is None:
            self._graph = GraphedStep(step)
        try:
            return self._graph()
        except torch.OutOfMemoryError:
            self._graph = None
            raise
        except RuntimeError as error:  # no slot has changed: the kernels of a failed capture do not run
            self._graph, self._replays = None, False
            self._graph_warning = f"the step could not be captured as a CUDA graph and runs slower ({error})"
            return step()

    def _advance(self, judge: Evaluate, update: Callable[..., dict[str, torch.Tensor]]) -> None:
        """Make one step. All that may take much memory comes before the first change."""
        gradient, terms, loss = judge(self.variable, self.target, self.target_features)
        with torch.no_grad():
            state = (getattr(self, name) for name in _STATE)
            after = update(*state, gradient, terms, loss)
            self.history.scatter_(1, self.step[:, None, None].expand(-1, 1, terms.shape[1]), terms[:, None])
            if not self.program.graph:
                vars(self).update(after)  # all at once: another thread may save them meanwhile
                return
            for name, value in after.items():
                getattr(self, name).copy_(value)

    @property
    def compiled_sizes(self) -> tuple[int, ...]:
        """Return the batch sizes for which the step has been compiled so far."""
        return () if self._compiled is None else self._compiled.sizes

    def take_warning(self) -> str:
        """Return a message for the user about the compiler, once; else an empty text."""
        warning, self._graph_warning = self._graph_warning, ""
        return warning or ("" if self._compiled is None else self._compiled.take_warning())

    def _updated(
        self,
        variable: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        step: torch.Tensor,
        limit: torch.Tensor,
        best: torch.Tensor,
        least: torch.Tensor,
        least_before: torch.Tensor,
        finite: torch.Tensor,
        gradient: torch.Tensor,
        terms: torch.Tensor,
        loss: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Return the state of every slot after this step, by name. Changes nothing.

        An image that ends now has had its last update; one that has ended is evaluated again, which changes nothing.
        Where the optimiser returns its best point, an image that should end elsewhere has one more update, to there.
        """
        better, running = loss < best, step < limit
        after = {"finite": finite & loss.isfinite(), "best": torch.minimum(best, loss)}
        if self._stopping.is_active:
            pure = loss if self.objective.prior is None else terms[:, : len(self._weights)] @ self._weights
            least, before, ends = self._stopping.judge(pure, terms[:, 0], step, least, least_before, better)
            end = torch.where(better, step, step + 1) if self._returns_best else step
            limit = torch.where(running & ends, torch.minimum(end, limit), limit)
            after |= {"least": least, "least_before": torch.where(running, before, least_before), "limit": limit}
            running = step < limit
        new, *memory = self.optimizer.update(variable, gradient, m, v, step + 1, better)
        if self._returns_best:
            new = torch.where(_like(step + 1 == limit, new), memory[0][:, -1], new)
        for name, value, old in zip(("variable", "m", "v"), (new, *memory), (variable, m, v), strict=True):
            after[name] = torch.where(_like(running, value), value, old)
        return after | {"step": step + running}

    def losses(self, position: int) -> torch.Tensor:
        """Return the weighted loss, without the prior, at each of the steps + 1 evaluations of a slot: [steps + 1]."""
        return self.history[position, :, : len(self._weights)] @ self._weights

    def _tensors_of(self, target: Target, state: SlotState | None) -> dict[str, torch.Tensor]:
        like = self._weights
        shape = (self._config.steps + 1, len(self._all_weights))
        history = torch.full(shape, torch.nan, dtype=like.dtype, device=like.device)
        if state is None:
            variable = self._start(target).to(like)
            m, v, step = self.optimizer.start(variable), self.optimizer.start(variable), 0
        else:
            variable, m, v = (torch.from_numpy(a.copy()).to(like) for a in (state.variable, state.m, state.v))
            step = state.step
            history[:step] = torch.from_numpy(state.history.copy()).to(like)
        infinite = like.new_full((1,), torch.inf)
        least, least_before = self._stopping.replay(history[:step, : len(like)] @ like)
        values = {
            "variable": variable,
            "m": m,
            "v": v,
            "step": torch.tensor(step, device=like.device),
            "limit": torch.tensor(self._config.steps, device=like.device),
            "best": torch.cat([infinite, history[:step] @ self._all_weights]).min(),
            "least": least,
            "least_before": least_before,
            "finite": torch.tensor(True, device=like.device),
            "history": history,
        }
        return {name: self._laid_out(value[None]) for name, value in values.items()} | {"target": target.pixels}


def _like(which: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return `which` [B] in a shape that goes with `value` [B, ...]."""
    return which.reshape(-1, *[1] * (value.ndim - 1))
