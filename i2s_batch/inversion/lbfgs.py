"""Implements L-BFGS (Nocedal, 1980; Liu and Nocedal, 1989) with a memory and a step length of its own for every slot.

The loss of an image is deterministic: the noise of the generator is stored, and there is no batch to sample from. So
differences of gradients measure the curvature of the loss, which Adam does not use. Far from a minimum that leads
into the nearest local minimum, whichever it is: so the first steps are Adam's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from i2s_batch.inversion.adam import Adam

# Points that are kept, with the gradients at them; their differences are the pairs of which the memory consists.
POINTS = 41
# A pair counts only if the loss curves upwards along it, s'y above this fraction of |s||y|: H stays positive definite.
_CURVED = 1e-8
# A step that was too long is tried again at this fraction. After ten of these the memory's direction is of no use at
# this point.
_SHORTER = 0.5
_SHORTEST = _SHORTER**10


@dataclass(frozen=True)
class LBFGS:
    """Makes one evaluation an update; its outcome decides the next step, so that no line search stops other slots.

    Where the loss is less than ever before, a new direction is taken from there; where it is not, half the way back is
    tried. The update after which the point is read, the last of `steps` and every `window`-th if there is one, returns
    to the best point.

    After the warm-up `m` [B, POINTS, *shape] are the last points at which the loss was less than ever before, the best
    one last; `v` holds the gradients there.

    Attributes:
        adam: Makes the first `warm_up` updates; its moments are the first of `m` and of `v` meanwhile. The first update
            after them moves a coordinate as far as Adam's rate, root mean square.
        warm_up: Number of those updates.
        steps: Updates of an image.
        window: The patience of early stopping, in steps; None without early stopping.
    """

    adam: Adam
    warm_up: int
    steps: int
    window: int | None = None

    def start(self, x: torch.Tensor) -> torch.Tensor:
        """Return the points, and the gradients, before the first update: none yet."""
        return x.new_zeros(POINTS, *x.shape)

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
        own = self._update(x, gradient, m, v, t, better)
        new_x, *moments = self.adam.update(x, gradient, m[:, 0], v[:, 0], t)
        kept = (torch.cat([new[:, None], old[:, 1:]], dim=1) for new, old in zip(moments, (m, v), strict=True))
        warming = t <= self.warm_up
        first, second, third = (
            torch.where(warming.reshape(-1, *[1] * (value.ndim - 1)), value, other)
            for value, other in zip((new_x, *kept), own, strict=True)
        )
        return first, second, third

    def _update(
        self,
        x: torch.Tensor,
        gradient: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        t: torch.Tensor,
        better: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what `update` does after the warm-up."""
        shape, points, gradients = x.shape, m.flatten(2), v.flatten(2)
        x, gradient = x.flatten(1), gradient.flatten(1)
        first = (t == self.warm_up + 1)[:, None, None]
        points = torch.where(first, x[:, None], with_point(points, x, better))
        gradients = torch.where(first, gradient[:, None], with_point(gradients, gradient, better))
        best = points[:, -1]
        back = _SHORTER * (x - best)
        # A new direction is taken also after a return to the best point, and where halving has reached its limit.
        lost = ~better & (_rms(back) < self.adam.learning_rate * _SHORTEST)
        stuck = lost & back.any(1)
        points = torch.where(stuck[:, None, None], best[:, None], points)
        gradients = torch.where(stuck[:, None, None], gradients[:, -1:], gradients)
        step = torch.where((better | lost)[:, None], self.direction(points, gradients), back)
        is_inspected = t == self.steps if self.window is None else (t == self.steps) | (t % self.window == 0)
        new = torch.where(is_inspected[:, None], best, best + step)
        return new.reshape(shape), points.reshape(m.shape), gradients.reshape(v.shape)

    def direction(self, points: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Return -H g at the best point [B, n], by two loops over the pairs (Nocedal and Wright, 2006, algorithm 7.4).

        Each loop is a substitution into the triangle of the s'y, so each is one call. In float64: differences of nearby
        values are small, and no setting for matrix products may round them.
        """
        pairs, g = curvature_pairs(points, gradients), gradients[:, -1].double()
        s, y, d = pairs.s, pairs.y, pairs.sy
        triangle = (s @ y.mT).triu(1) + d.diag_embed()
        alpha = torch.linalg.solve_triangular(triangle, s @ g[..., None], upper=True)
        q = self._scale(pairs.counts, pairs.quotients, g) * (g - (y.mT @ alpha)[..., 0])
        rest = d[..., None] * alpha - y @ q[..., None]
        product: torch.Tensor = q + (s.mT @ torch.linalg.solve_triangular(triangle.mT, rest, upper=False))[..., 0]
        return -product.to(points.dtype)

    def _scale(self, counts: torch.Tensor, quotients: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Return H_0 [B, 1], a multiple of the identity: the newest quotient s'y / y'y [B, pairs] that `counts`.

        Without any, it gives the first step its length.
        """
        newest = (counts * torch.arange(1, POINTS, device=g.device)).argmax(1, keepdim=True)
        length = g.norm(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
        first = self.adam.learning_rate * g.shape[1] ** 0.5 / length
        return torch.where(counts.any(1, keepdim=True), quotients.gather(1, newest), first)


class CurvaturePairs(NamedTuple):
    """Holds the pairs of a memory in float64; those that do not count are 0.

    Attributes:
        s: Differences of the points, [B, pairs, n].
        y: Differences of their gradients, [B, pairs, n].
        sy: s'y, [B, pairs]; 1 where a pair does not count.
        quotients: s'y / y'y, [B, pairs].
        counts: Whether the loss curves upwards along a pair, bool [B, pairs].
    """

    s: torch.Tensor
    y: torch.Tensor
    sy: torch.Tensor
    quotients: torch.Tensor
    counts: torch.Tensor


def curvature_pairs(points: torch.Tensor, gradients: torch.Tensor) -> CurvaturePairs:
    """Return the pairs of points [B, pairs + 1, n] and the gradients at them."""
    s, y = points.double().diff(dim=1), gradients.double().diff(dim=1)
    sy, yy = (s * y).sum(-1), y.square().sum(-1)
    counts = sy > _CURVED * s.norm(dim=-1) * yy.sqrt()
    s, y = (torch.where(counts[..., None], each, 0.0) for each in (s, y))
    return CurvaturePairs(s, y, torch.where(counts, sy, 1.0), sy / yy, counts)


def with_point(kept: torch.Tensor, new: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return `kept` [B, POINTS, n] with `new` [B, n] in place of the oldest point, in the slots `which` [B]."""
    return torch.where(which[:, None, None], torch.cat([kept[:, 1:], new[:, None]], dim=1), kept)


def _rms(x: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of each row: [B, n] -> [B]."""
    return x.square().mean(1).sqrt()
