"""Implements L-BFGS with the learned curvature as its start matrix: it begins where L-BFGS arrives after long.

Its matrix before any pair is (2 B + damping + the prior's Hessian)^-1, one block for each layer (`learned.Learned`), so
that its first step is a Newton step of the average image. From then on it is L-BFGS.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion.lbfgs import curvature_pairs, with_point
from i2s_batch.inversion.learned import Learned

# Points that are kept, with the gradients at them; their differences are the pairs of which the memory consists.
POINTS = 41
# A step after which the loss is not less is tried again at the fraction at which the slope vanishes between the two
# slopes that are known, within these bounds.
_SHORTER = (0.1, 0.5)
# Below this step, root mean square of a coordinate, the memory's direction is of no use at this point.
_SHORTEST = 1e-7


@dataclass(frozen=True)
class LearnedLBFGS:
    """Makes one evaluation an update; its outcome decides the next step, so that no line search stops other slots.

    `m` [B, POINTS, L, w_dim] are the last points at which the loss was less than ever before, the best one last; `v`
    holds the gradients there. The result of an image is the last of `m` (`returns_best`).

    Attributes:
        start_matrix: [L, w_dim, w_dim].
    """

    start_matrix: torch.Tensor
    returns_best = True

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
        shape, points, gradients = x.shape, m.flatten(2), v.flatten(2)
        x, gradient = x.flatten(1), gradient.flatten(1)
        first = (t == 1)[:, None, None]
        points = torch.where(first, x[:, None], with_point(points, x, better))
        gradients = torch.where(first, gradient[:, None], with_point(gradients, gradient, better))
        best = points[:, -1]
        back = self._shorter(x - best, gradient, gradients[:, -1])
        lost = ~better & (back.square().mean(1).sqrt() < _SHORTEST)
        points = torch.where(lost[:, None, None], best[:, None], points)
        gradients = torch.where(lost[:, None, None], gradients[:, -1:], gradients)
        step = torch.where((better | lost)[:, None], self.direction(points, gradients), back)
        return (best + step).reshape(shape), points.reshape(m.shape), gradients.reshape(v.shape)

    @staticmethod
    def _shorter(step: torch.Tensor, gradient: torch.Tensor, best_gradient: torch.Tensor) -> torch.Tensor:
        """Return `step` [B, n], after which the loss was not less, times the fraction at which its slope vanishes."""
        before, after = ((g.double() * step.double()).sum(1) for g in (best_gradient, gradient))
        fraction = before / (before - after)
        fraction = torch.where(fraction.isfinite(), fraction, _SHORTER[1]).clamp(*_SHORTER)
        return step * fraction[:, None].to(step.dtype)

    def direction(self, points: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Return -H g at the best point [B, n], by two loops over the pairs (Nocedal and Wright, 2006, algorithm 7.4).

        In float64: differences of nearby values are small, and no setting for matrix products may round them. The
        loops are written out, so that nothing in them waits for the host: a CUDA graph may hold them.
        """
        pairs = curvature_pairs(points, gradients)
        g = gradients[:, -1].double()
        q, alphas = g, []
        for i in reversed(range(pairs.s.shape[1])):
            alpha = (pairs.s[:, i] * q).sum(1, keepdim=True) / pairs.sy[:, i : i + 1]
            q = q - alpha * pairs.y[:, i]
            alphas.append(alpha)
        r = self._scale(pairs.counts, pairs.y, pairs.sy) * self._times_start(q)
        for i in range(pairs.s.shape[1]):
            beta = (pairs.y[:, i] * r).sum(1, keepdim=True) / pairs.sy[:, i : i + 1]
            r = r + (alphas[-1 - i] - beta) * pairs.s[:, i]
        return -r.to(points.dtype)

    def _times_start(self, q: torch.Tensor) -> torch.Tensor:
        """Return the product of the start matrix and `q`: [B, n] -> [B, n]."""
        layers = q.reshape(len(q), *self.start_matrix.shape[:2])
        return torch.einsum("lij,blj->bli", self.start_matrix, layers).flatten(1)

    def _scale(self, counts: torch.Tensor, y: torch.Tensor, sy: torch.Tensor) -> torch.Tensor:
        """Return the factor of the start matrix [B, 1]: s'y / y'Hy of the newest pair; 1 where no pair `counts`."""
        newest = (counts * torch.arange(1, counts.shape[1] + 1, device=y.device)).argmax(1)
        each = torch.arange(len(y), device=y.device)
        y, sy = y[each, newest], sy[each, newest]
        scale = sy / (y * self._times_start(y)).sum(1)
        return torch.where(counts.any(1), scale, 1.0)[:, None]


def learned_lbfgs_of(config: EmbedConfig, learned: Learned, like: torch.Tensor) -> LearnedLBFGS:
    """Return L-BFGS with the start matrix of `learned` for the prior of `config`, on the device of `like`."""
    return LearnedLBFGS(learned.start_matrix(config.prior).to(like.device))
