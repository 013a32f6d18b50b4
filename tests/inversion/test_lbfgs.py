"""L-BFGS for every slot: against the formulas it stands for, known minima, and the same whatever else happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder, EmbedResult, SlotState
from i2s_batch.inversion.adam import Adam
from i2s_batch.inversion.lbfgs import LBFGS, POINTS
from i2s_batch.inversion.metrics import from_uint8
from i2s_batch.schema.settings import RunSettings
from tests.conftest import WARM_UP
from tests.inversion.linear import LinearGenerator, features

pytestmark = pytest.mark.usefixtures("short_warm_up")
CONFIG = EmbedConfig(steps=60, optimizer="lbfgs", batch_size=1)
Images = list[tuple[str, np.ndarray]]


class BentGenerator(LinearGenerator):
    """Its loss is no quadratic: some steps are too long."""

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
        return (3 * super().synthesize(ws)).sin()


def own_steps(steps: int) -> LBFGS:
    """Without any of Adam's."""
    return LBFGS(Adam(0.01, 0.9, 0.999, 1e-8), 0, steps)


def pictures(count: int) -> Images:
    stream = np.random.default_rng(1)
    return [(f"{i}.png", stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(count)]


def embed(images: Images, config: EmbedConfig) -> dict[str, EmbedResult]:
    return {r.image_id: r for r in Embedder(LinearGenerator(), features, config).embed(images)}


def minimised(
    loss_of: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, rule: LBFGS
) -> tuple[torch.Tensor, torch.Tensor]:
    """The last point [n] and the losses [steps + 1] of one slot, without the engine."""
    x = x[None]
    m, v = rule.start(x[0])[None], rule.start(x[0])[None]
    losses: list[torch.Tensor] = []
    for t in range(1, rule.steps + 2):
        x = x.detach().requires_grad_()
        loss = loss_of(x[0])
        (gradient,) = torch.autograd.grad(loss, x)
        better = torch.tensor([all(loss < before for before in losses)])
        losses.append(loss.detach())
        if t <= rule.steps:
            x, m, v = rule.update(x.detach(), gradient, m, v, torch.tensor([t]), better)
    return x[0].detach(), torch.stack(losses)


def test_the_direction_is_that_of_the_matrix_of_bfgs() -> None:
    """H <- (I - rho s y') H (I - rho y s') + rho s s', written out, on pairs of which two do not count."""
    torch.manual_seed(0)
    n = 6
    curvature = torch.diag(torch.linspace(0.5, 3, n, dtype=torch.float64))
    points = torch.randn(POINTS, n, dtype=torch.float64)
    points[4] = points[3]  # no step
    gradients = points @ curvature
    gradients[20:] -= 50 * (points[20] - points[19])  # the loss curves downwards along one
    s, y = points.diff(dim=0), gradients.diff(dim=0)
    counting = [i for i in range(POINTS - 1) if s[i] @ y[i] > 0]
    assert len(counting) == POINTS - 3
    one = torch.eye(n, dtype=torch.float64)
    h = (s[counting[-1]] @ y[counting[-1]]) / (y[counting[-1]] @ y[counting[-1]]) * one
    for i in counting:
        rho = 1 / (s[i] @ y[i])
        h = (one - rho * torch.outer(s[i], y[i])) @ h @ (one - rho * torch.outer(y[i], s[i]))
        h = h + rho * torch.outer(s[i], s[i])
    found = own_steps(100).direction(points[None], gradients[None])[0]
    torch.testing.assert_close(found, -h @ gradients[-1], rtol=1e-9, atol=1e-9)


def test_reaches_the_least_squares_minimum_that_adam_needs_thousands_of_steps_for() -> None:
    weights = LossWeights(pixel=1, conv1_1=0, conv1_2=0, conv3_2=0, conv4_2=0)
    (image,) = pictures(1)
    generator = LinearGenerator()
    result = embed([image], replace(CONFIG, loss_weights=weights))[image[0]]
    target = from_uint8(image[1], generator.w_avg).flatten()
    matrix = generator.matrix * 0.3
    best = torch.linalg.lstsq(matrix, target).solution
    assert result.loss == pytest.approx((matrix @ best - target).square().mean().item(), rel=1e-12)
    np.testing.assert_allclose(result.latent.ravel(), best.numpy(), atol=1e-6)


def test_follows_a_bent_valley_to_its_end() -> None:
    """Rosenbrock's function: steps that are too long are shortened until the loss is less."""
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    x, losses = minimised(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, start, own_steps(150))
    torch.testing.assert_close(x, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (losses[1:] > losses.cummin(0).values[:-1]).any() and losses[-1] == losses.min()


def test_goes_on_where_the_loss_has_a_kink() -> None:
    start = torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64)
    sizes = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
    _, losses = minimised(lambda x: (sizes * x).abs().sum() + 0.1 * x.square().sum(), start, own_steps(200))
    assert losses[-1] == losses.min() < 1e-4 * losses[0]


def test_where_halving_comes_to_nothing_the_memory_is_given_up() -> None:
    torch.manual_seed(0)
    rule, n = own_steps(1000), 5
    m = torch.randn(1, POINTS, n, dtype=torch.float64)
    v = m * torch.linspace(1, 4, n, dtype=torch.float64)
    best, gradient = m[0, -1].clone(), v[0, -1].clone()
    x = best[None] + 1
    lengths = []
    for t in range(2, 20):  # whatever is tried, the loss is no less
        x, m, v = rule.update(x, torch.ones_like(x), m, v, torch.tensor([t]), torch.tensor([False]))
        lengths.append(float((x - best).norm()))
        if len(lengths) > 1 and lengths[-1] > lengths[-2]:
            break
        assert lengths[-1] == pytest.approx(5**0.5 / 2 ** len(lengths))
    torch.testing.assert_close(x[0] - best, -0.01 * n**0.5 * gradient / gradient.norm())
    assert (m == best).all() and (v == gradient).all() and len(lengths) > 10


def test_a_gradient_of_zero_is_an_end_and_no_division_by_it() -> None:
    x, losses = minimised(lambda x: x.square().sum(), torch.zeros(3), own_steps(5))
    assert not x.any() and not losses.any()


@pytest.mark.parametrize("space", ["w+", "w", "z"])
def test_the_last_latent_is_the_best_one_and_better_than_adams(space: str) -> None:
    image = pictures(1)
    for init in ("mean", "random"):
        config = replace(CONFIG, space=space, init=init, steps=25)
        result, adam = (embed(image, one)["0.png"] for one in (config, replace(config, optimizer="adam")))
        assert result.steps == 25 and result.stop_reason == "steps"
        assert result.loss == pytest.approx(result.curve.min(), rel=1e-12) and result.loss < adam.loss


def test_the_first_steps_are_adams() -> None:
    (image,) = pictures(1)
    warm = embed([image], replace(CONFIG, steps=WARM_UP))["0.png"]
    adam, whole = (embed([image], replace(CONFIG, optimizer=name))["0.png"] for name in ("adam", "lbfgs"))
    np.testing.assert_array_equal(whole.curve[: WARM_UP + 1], adam.curve[: WARM_UP + 1])
    np.testing.assert_array_equal(warm.curve, adam.curve[: WARM_UP + 1])
    assert whole.curve[WARM_UP + 2] != adam.curve[WARM_UP + 2]
    assert warm.loss == adam.curve[WARM_UP]  # nobody goes back to a best point before there are any


def test_interrupted_is_as_uninterrupted() -> None:
    generator, (image,) = BentGenerator(), pictures(1)
    (whole,) = Embedder(generator, features, CONFIG).embed([image])
    assert (whole.curve[1:] > np.minimum.accumulate(whole.curve)[:-1]).any(), "a step was refused"
    for stop in (1, 2, *range(5, 60, 6), 59, 60):
        first = Embedder(generator, features, CONFIG)
        first.put(*image)
        calls = iter(range(1, stop + 1))
        assert first.advance(stop=lambda calls=calls, stop=stop: next(calls) == stop) == []
        (state,) = first.snapshot()
        second = Embedder(generator, features, CONFIG)
        second.put(*image, SlotState.from_bytes(state.to_bytes()))
        (result,) = second.advance()
        np.testing.assert_array_equal(result.latent, whole.latent)
        np.testing.assert_array_equal(result.curve, whole.curve)


def test_neighbours_order_and_batch_size_change_nothing() -> None:
    images = pictures(7)

    def latents(images: Images, batch_size: int) -> dict[str, np.ndarray]:
        embedder = Embedder(BentGenerator(), features, replace(CONFIG, steps=12, batch_size=batch_size))
        return {r.image_id: r.latent for r in embedder.embed(images)}

    alone = latents(images, 1)
    for size in (3, 7):  # slots are filled anew, or not
        for image_id, latent in latents(images[::-1], size).items():
            np.testing.assert_allclose(latent, alone[image_id], rtol=0, atol=1e-9)


def test_a_plateau_ends_at_the_best_point() -> None:
    config = replace(CONFIG, steps=200, stop_plateau=1.0, plateau_steps=25)
    for result in embed(pictures(3), config).values():
        assert result.stop_reason == "plateau" and result.steps % 25 == 0
        assert result.loss == pytest.approx(result.curve.min(), rel=1e-12)


def test_a_slot_of_the_other_optimizer_is_refused() -> None:
    (image,) = pictures(1)
    for one, other in (("adam", "lbfgs"), ("lbfgs", "adam")):
        first = Embedder(LinearGenerator(), features, replace(CONFIG, optimizer=one))
        first.put(*image)
        first.advance(stop=lambda: True)
        (state,) = first.snapshot()
        with pytest.raises(ConfigError, match=f"of another optimizer than {other}"):
            Embedder(LinearGenerator(), features, replace(CONFIG, optimizer=other)).put(*image, state)


def test_what_cannot_be_is_refused_and_the_default_is_the_run_that_it_was() -> None:
    with pytest.raises(ConfigError, match="optimizer is 'sgd'; it must be one of adam, lbfgs"):
        EmbedConfig(optimizer="sgd")
    with pytest.raises(ConfigError, match="patience is 4 steps; with the optimizer lbfgs it must be at least 25"):
        EmbedConfig(optimizer="lbfgs", stop_plateau=1, plateau_steps=4)
    assert "optimizer" not in EmbedConfig().identity()
    assert RunSettings.of(CONFIG.identity()).embed_config().optimizer == "lbfgs"
