"""Images that stop gaining end early: at the same step whatever else happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder, EmbedResult, SlotState
from i2s_batch.inversion.metrics import to_uint8
from tests.inversion.linear import LinearGenerator, features

CONFIG = EmbedConfig(steps=600, stop_plateau=5.0, plateau_steps=20, batch_size=1)


@pytest.fixture
def generator() -> LinearGenerator:
    return LinearGenerator()


def pictures(count: int, generator: LinearGenerator) -> list[tuple[str, np.ndarray]]:
    """Codes ever farther from the mean, drawn with some noise: what is far takes longer."""
    stream = torch.Generator().manual_seed(5)
    found = []
    for i in range(count):
        distance = 0.1 * 40 ** (i / (count - 1))
        code = generator.w_avg + distance / 2 * torch.randn(3, 4, generator=stream, dtype=torch.float64)
        noise = 0.05 * torch.randn(3, 8, 8, generator=stream, dtype=torch.float64)
        found.append((f"{i}.png", to_uint8(generator.synthesize(code[None])[0] + noise)))
    return found


def embed(generator: LinearGenerator, images: list[tuple[str, np.ndarray]], config: EmbedConfig) -> list[EmbedResult]:
    return list(Embedder(generator, features, config).embed(images))


def expected_end(curve: np.ndarray, config: EmbedConfig) -> int:
    """By the definition, from the losses of a run that does not end early."""
    assert config.stop_plateau is not None
    best = np.minimum.accumulate(curve)
    for step in range(config.plateau_steps, config.steps, config.plateau_steps):
        if best[step] > best[step - config.plateau_steps] * (1 - config.stop_plateau / 100):
            return step
    return config.steps


def test_an_image_ends_where_its_own_losses_say(generator: LinearGenerator) -> None:
    for image in pictures(4, generator):
        (whole,) = embed(generator, [image], replace(CONFIG, stop_plateau=None))
        (early,) = embed(generator, [image], CONFIG)
        end = expected_end(whole.curve, CONFIG)
        assert end < CONFIG.steps and (early.steps, early.stop_reason) == (end, "plateau")
        np.testing.assert_array_equal(early.curve, whole.curve[: end + 1])
        assert early.loss == early.curve[-1] and early.term_curves.shape == (end + 1, 5)
        (just_so,) = embed(generator, [image], replace(CONFIG, stop_plateau=None, steps=end))
        np.testing.assert_array_equal(early.latent, just_so.latent)


def test_neighbours_and_batch_size_change_nothing(generator: LinearGenerator) -> None:
    images = pictures(5, generator)
    alone = {image[0]: embed(generator, [image], CONFIG)[0] for image in images}
    for size in (2, 4):
        for result in embed(generator, images[::-1], replace(CONFIG, batch_size=size)):
            assert result.steps == alone[result.image_id].steps
            np.testing.assert_allclose(result.latent, alone[result.image_id].latent, rtol=0, atol=1e-12)


def test_a_state_ends_where_the_undisturbed_image_does(generator: LinearGenerator) -> None:
    image = pictures(4, generator)[1]
    (undisturbed,) = embed(generator, [image], CONFIG)
    stops = (1, 19, 20, 21, undisturbed.steps - 1, undisturbed.steps)
    for stop in stops:
        first = Embedder(generator, features, CONFIG)
        first.put(*image)
        calls = iter(range(1, stop + 1))
        assert first.advance(stop=lambda calls=calls, stop=stop: next(calls) == stop) == []
        (state,) = first.snapshot()
        assert state.step == min(stop, undisturbed.steps)
        second = Embedder(generator, features, CONFIG)
        second.put(*image, SlotState.from_bytes(state.to_bytes()))
        (result,) = second.advance()
        assert (result.steps, result.stop_reason) == (undisturbed.steps, "plateau")
        np.testing.assert_array_equal(result.latent, undisturbed.latent)
        np.testing.assert_array_equal(result.curve, undisturbed.curve)


def test_slots_are_busy_though_lengths_differ_five_fold(generator: LinearGenerator) -> None:
    config = replace(CONFIG, batch_size=4)
    embedder = Embedder(generator, features, config)
    images = pictures(24, generator)
    advances: list[int] = []
    for image in images[:4]:
        embedder.put(*image)
    waiting, results = images[4:], []
    while waiting:  # until the last images: then slots have nothing to be filled with
        results += embedder.advance(stop=lambda: bool(advances.append(1)))
        while waiting and embedder.free:
            embedder.put(*waiting.pop(0))
    lengths = [result.steps for result in results]
    assert max(lengths) >= 5 * min(lengths), "lengths differ five-fold"
    evaluations = sum(length + 1 for length in lengths) + sum(state.step for state in embedder.snapshot())
    assert evaluations >= 0.95 * config.batch_size * (len(advances) + len(results))


def test_impossible_plateaus_are_refused() -> None:
    for settings, message in (({"stop_plateau": 0}, "above 0"), ({"stop_plateau": 100}, "below 100")):
        with pytest.raises(ConfigError, match=message):
            EmbedConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="patience is 0"):
        EmbedConfig(plateau_steps=0)


def test_a_run_without_it_is_the_same_run_as_before_there_was_one() -> None:
    assert not {"stop_plateau", "plateau_steps"} & EmbedConfig().identity().keys()
    assert EmbedConfig(stop_plateau=1).identity()["plateau_steps"] == 250
