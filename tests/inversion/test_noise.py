"""The noise stage: gradients of the maps, exact resuming, independence, and the latent's result untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder, EmbedResult, SlotState
from i2s_batch.inversion.loss import loss_weight_vector
from i2s_batch.inversion.noise_slots import NoiseObjective
from i2s_batch.models import Generator, build_generator, random_generator
from tests.inversion.linear import LinearGenerator, features

R = 16
CONFIG = EmbedConfig(steps=6, batch_size=3, noise_steps=9)


def network(family: str) -> Generator:
    weights = random_generator(family, R, seed=4, width=8, channel_base=64)
    return build_generator(weights, dtype=torch.float64)


@pytest.fixture(scope="module", params=["stylegan1", "stylegan2"])
def generator(request: pytest.FixtureRequest) -> Generator:
    return network(request.param)


def images(count: int) -> list[tuple[str, np.ndarray]]:
    stream = np.random.default_rng(5)
    return [(f"{i}.png", stream.integers(0, 256, (R, R, 3), np.uint8)) for i in range(count)]


def embedded(generator: Generator, config: EmbedConfig, count: int) -> dict[str, EmbedResult]:
    return {result.image_id: result for result in Embedder(generator, features, config).embed(images(count))}


def maps_of(result: EmbedResult) -> np.ndarray:
    assert result.noise is not None
    return result.noise.maps


@pytest.mark.parametrize("whole", [False, True])
def test_the_gradient_of_the_maps_is_that_of_finite_differences(generator: Generator, whole: bool) -> None:
    weights = loss_weight_vector(LossWeights(), generator.w_avg)
    objective = NoiseObjective(generator, features, weights, penalty_weight=0.1, whole=whole)
    stream = torch.Generator().manual_seed(1)
    ws = torch.randn((2, generator.num_layers, generator.w_dim), generator=stream, dtype=torch.float64)
    target = torch.rand((2, 3, R, R), generator=stream, dtype=torch.float64) * 2 - 1
    maps = torch.randn((2, generator.noise_layout.size), generator=stream, dtype=torch.float64)
    target_features = objective.target_features_of(target)
    assert len(target_features) == 4 * whole
    gradient, _ = objective.gradient(maps, ws, target, target_features)
    for _ in range(4):
        direction = torch.randn(maps.shape, generator=stream, dtype=torch.float64)
        step = 1e-5
        ahead, behind = (
            objective.losses(maps + sign * step * direction, ws, target, target_features)[0] for sign in (1, -1)
        )
        slope = float(ahead - behind) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_given_the_stored_maps_the_image_is_the_stored_one(generator: Generator) -> None:
    ws = generator.w_avg.expand(2, generator.num_layers, -1)
    maps = generator.stored_noise.expand(2, -1)
    with torch.no_grad():
        given, stored = generator.synthesize_with_noise(ws, maps), generator.synthesize(ws)
        other = generator.synthesize_with_noise(ws, -maps)
    torch.testing.assert_close(given, stored, rtol=0, atol=1e-12)
    assert (other - stored).abs().max() > 1e-3


def test_the_result_of_the_latent_is_that_of_a_run_without_the_stage(generator: Generator) -> None:
    with_stage = embedded(generator, CONFIG, 4)
    without = embedded(generator, EmbedConfig(steps=6, batch_size=3), 4)
    assert with_stage.keys() == without.keys()
    for image_id, plain in without.items():
        result = with_stage[image_id]
        np.testing.assert_array_equal(result.latent, plain.latent)
        np.testing.assert_array_equal(result.curve, plain.curve)
        assert result.metrics == plain.metrics and result.loss == plain.loss and result.steps == plain.steps
        assert plain.noise is None and result.noise is not None
        assert result.noise.steps == 9 and result.noise.loss < result.loss


def test_maps_do_not_depend_on_the_neighbours(generator: Generator) -> None:
    among = embedded(generator, CONFIG, 4)
    for image in images(4):
        (alone,) = Embedder(generator, features, EmbedConfig(steps=6, batch_size=1, noise_steps=9)).embed([image])
        np.testing.assert_allclose(maps_of(among[image[0]]), maps_of(alone), rtol=0, atol=2e-3)  # a step of float16
        assert among[image[0]].noise.loss == pytest.approx(alone.noise.loss, rel=1e-5)


def interrupted(generator: Generator, config: EmbedConfig, after: Callable[[Embedder], bool]) -> list[SlotState]:
    embedder = Embedder(generator, features, config)
    for image_id, image in images(2):
        embedder.put(image_id, image, sha256=f"hash of {image_id}")
    assert embedder.advance(lambda: after(embedder)) == []
    return [SlotState.from_bytes(state.to_bytes()) for state in embedder.snapshot()]


@pytest.mark.parametrize("made", [3, 6 + 4])
@pytest.mark.parametrize(
    "settings", [{}, {"stop_plateau": 99.0, "plateau_steps": 4, "noise_objective": "loss"}, {"optimizer": "lbfgs"}]
)
def test_an_interrupted_stage_resumes_exactly(generator: Generator, made: int, settings: dict[str, Any]) -> None:
    config = EmbedConfig(steps=6, batch_size=2, noise_steps=9, **settings)
    undisturbed = embedded(generator, config, 2)
    states = interrupted(generator, config, lambda e: min(e.in_flight.values()) >= made)
    assert any(state.noise is not None for state in states) == (made > 6)
    resumed = Embedder(generator, features, config)
    for state, (image_id, image) in zip(states, images(2), strict=True):
        resumed.put(image_id, image, state, sha256=f"hash of {image_id}")
        expected = state.step + (0 if state.noise is None else state.noise.step)
        assert resumed.in_flight[image_id] == expected
    again = [SlotState.from_bytes(state.to_bytes()) for state in resumed.snapshot()]
    assert [state.noise is None for state in again] == [state.noise is None for state in states]
    results = []
    while resumed.in_flight:
        results += resumed.advance()
    assert len(results) == 2
    for result in results:
        expected_result = undisturbed[result.image_id]
        np.testing.assert_array_equal(result.latent, expected_result.latent)
        np.testing.assert_array_equal(maps_of(result), maps_of(expected_result))
        assert result.noise is not None and expected_result.noise is not None
        assert (result.noise.loss, result.noise.mse) == (expected_result.noise.loss, expected_result.noise.mse)
        assert result.metrics == expected_result.metrics


class Changed:
    """A generator whose images of given noise maps are changed, or refused."""

    def __init__(self, generator: Generator, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.generator, self.change = generator, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def synthesize_with_noise(self, ws: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return self.change(self.generator.synthesize_with_noise(ws, noise))


def test_a_loss_that_is_not_finite_ends_the_stage_of_its_image_alone(generator: Generator) -> None:
    healthy = embedded(generator, CONFIG, 3)
    calls: list[int] = []

    def broken(drawn: torch.Tensor) -> torch.Tensor:
        calls.append(len(drawn))
        return drawn * torch.tensor([torch.nan if len(calls) == 4 else 1.0, 1.0, 1.0])[: len(drawn), None, None, None]

    changed = embedded(Changed(generator, broken), CONFIG, 3)
    assert changed["0.png"].noise is None and changed["0.png"].status == "ok"
    np.testing.assert_array_equal(changed["0.png"].latent, healthy["0.png"].latent)
    assert changed["0.png"].metrics == healthy["0.png"].metrics
    for image_id in ("1.png", "2.png"):
        np.testing.assert_array_equal(maps_of(changed[image_id]), maps_of(healthy[image_id]))


def test_too_little_memory_computes_fewer_images_at_once(generator: Generator) -> None:
    undisturbed = embedded(generator, CONFIG, 3)
    sizes: list[int] = []

    def small(drawn: torch.Tensor) -> torch.Tensor:
        sizes.append(len(drawn))
        if len(drawn) > 1:
            raise torch.OutOfMemoryError("no memory")
        return drawn

    for image_id, result in embedded(Changed(generator, small), CONFIG, 3).items():
        np.testing.assert_allclose(maps_of(result), maps_of(undisturbed[image_id]), rtol=0, atol=2e-3)
    assert sizes[:3] == [3, 2, 1] and set(sizes[3:]) == {1}


def test_generators_without_noise_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="a stylegan3 generator has no noise maps; leave them out"):
        Embedder(network("stylegan3"), features, CONFIG)
    with pytest.raises(ConfigError, match="LinearGenerator generator has no noise maps"):
        Embedder(LinearGenerator(), features, CONFIG)
    with pytest.raises(ConfigError, match="noise steps are -1; they must be between 0 and 1000000"):
        EmbedConfig(noise_steps=-1)
    assert "noise_steps" not in EmbedConfig().identity()
    assert EmbedConfig(noise_steps=5).identity()["noise_steps"] == 5


def test_a_checkpoint_of_the_stage_is_refused_where_it_does_not_fit(generator: Generator) -> None:
    (state, _) = interrupted(generator, CONFIG, lambda e: min(e.in_flight.values()) >= 8)
    image_id, image = images(1)[0]
    with pytest.raises(ConfigError, match="has noise maps, and no noise stage"):
        Embedder(generator, features, EmbedConfig(steps=6)).put(image_id, image, state)
    fewer = Embedder(generator, features, EmbedConfig(steps=6, noise_steps=1))
    with pytest.raises(ConfigError, match=r"has noise of shape \[\d+\] at step 2; expected \[\d+\], 0 to 1"):
        fewer.put(image_id, image, state)
