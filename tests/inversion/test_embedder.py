"""The engine with a linear generator: a known minimum, independence of neighbours, exact resumption."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.errors import ConfigError, StorageError
from i2s_batch.inversion import Embedder, EmbedResult, SlotState
from i2s_batch.inversion.initialisation import random_generator_for
from i2s_batch.inversion.metrics import from_uint8
from tests.inversion.linear import LinearGenerator, features

STEPS = 40


@pytest.fixture
def generator() -> LinearGenerator:
    return LinearGenerator()


def pictures(count: int) -> list[tuple[str, np.ndarray]]:
    stream = np.random.default_rng(1)
    return [(f"{i}.png", stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(count)]


def embed(
    generator: LinearGenerator, images: list[tuple[str, np.ndarray]], **settings: object
) -> dict[str, EmbedResult]:
    config = EmbedConfig(**{"steps": STEPS, **settings})  # type: ignore[arg-type]
    results = list(Embedder(generator, features, config).embed(images))
    assert sorted(r.image_id for r in results) == sorted(image_id for image_id, _ in images)
    return {r.image_id: r for r in results}


def test_reaches_the_least_squares_minimum(generator: LinearGenerator) -> None:
    """With the pixel term alone the loss is quadratic and its minimum can be computed."""
    weights = LossWeights(pixel=1, conv1_1=0, conv1_2=0, conv3_2=0, conv4_2=0)
    (image,) = pictures(1)
    result = embed(generator, [image], steps=3000, loss_weights=weights)[image[0]]
    target = from_uint8(image[1], generator.w_avg).flatten()
    matrix = generator.matrix * 0.3
    best = torch.linalg.lstsq(matrix, target).solution
    least = (matrix @ best - target).square().mean().item()
    assert result.loss == pytest.approx(least, rel=1e-9)
    np.testing.assert_allclose(result.latent.ravel(), best.numpy(), atol=1e-4)


@pytest.mark.parametrize("space", ["w+", "w", "z"])
@pytest.mark.parametrize("init", ["mean", "random"])
def test_an_image_does_not_depend_on_its_neighbours(generator: LinearGenerator, space: str, init: str) -> None:
    images = pictures(8)
    alone = embed(generator, images[:1], space=space, init=init, batch_size=1)["0.png"]
    for count, order in ((4, 1), (8, -1)):
        among = embed(generator, images[:count][::order], space=space, init=init, batch_size=count)["0.png"]
        np.testing.assert_allclose(among.latent, alone.latent, rtol=0, atol=1e-12)
        np.testing.assert_allclose(among.curve, alone.curve, rtol=1e-12)


def test_slots_are_refilled_and_results_keep_their_names(generator: LinearGenerator) -> None:
    images = pictures(7)
    together = embed(generator, images, batch_size=3)
    for image_id, picture in images:
        alone = embed(generator, [(image_id, picture)])[image_id]
        np.testing.assert_allclose(together[image_id].latent, alone.latent, rtol=0, atol=1e-12)
        assert together[image_id].terms == pytest.approx(alone.terms, rel=1e-12)


def test_the_last_latent_is_judged_and_nothing_better_is_kept(generator: LinearGenerator) -> None:
    (image,) = pictures(1)
    result = embed(generator, [image])[image[0]]
    assert result.curve.shape == (STEPS + 1,) and result.term_curves.shape == (STEPS + 1, 5)
    assert result.loss == result.curve[-1] == pytest.approx(sum(result.terms.values()))
    shorter = embed(generator, [image], steps=STEPS - 1)[image[0]]
    np.testing.assert_array_equal(shorter.curve, result.curve[:-1])


def test_a_state_goes_on_exactly_as_before(generator: LinearGenerator) -> None:
    images = dict(pictures(2))
    undisturbed = embed(generator, list(images.items()))
    first = Embedder(generator, features, EmbedConfig(steps=STEPS, batch_size=2))
    for image_id, picture in images.items():
        first.put(image_id, picture)
    calls = iter(range(13))
    assert first.advance(stop=lambda: next(calls) == 12) == []
    states = [SlotState.from_bytes(state.to_bytes()) for state in first.snapshot()]
    assert [state.step for state in states] == [13, 13]

    second = Embedder(generator, features, EmbedConfig(steps=STEPS, batch_size=2))
    for state in states:
        second.put(state.image_id, images[state.image_id], state)
    for result in second.advance():
        np.testing.assert_array_equal(result.latent, undisturbed[result.image_id].latent)
        np.testing.assert_array_equal(result.curve, undisturbed[result.image_id].curve)
    assert second.updates == 2 * (STEPS - 13), "no step is made twice"


class Narrow(LinearGenerator):
    """A device whose memory holds `room` images."""

    room = 2

    def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
        if len(ws) > self.room:
            raise torch.OutOfMemoryError(f"no memory for {len(ws)} images")
        return super().synthesize(ws)


def test_too_little_memory_halves_the_batch_and_loses_nothing(generator: LinearGenerator) -> None:
    images = pictures(9)
    undisturbed = embed(generator, images)
    narrow = Narrow()
    embedder = Embedder(narrow, features, EmbedConfig(steps=STEPS, batch_size=8))
    results = list(embedder.embed(images))
    assert embedder.capacity == 2 and embedder.updates == 9 * STEPS, "no step is made twice"
    assert sorted(result.image_id for result in results) == sorted(undisturbed)
    for result in results:
        np.testing.assert_allclose(result.latent, undisturbed[result.image_id].latent, rtol=0, atol=1e-12)
    narrow.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        list(embedder.embed(images[:1]))


def test_too_little_memory_for_another_target_leaves_the_others_as_they_are(generator: LinearGenerator) -> None:
    images = pictures(5)
    undisturbed = embed(generator, images)
    holds = 0

    def crowded(pixels: torch.Tensor) -> list[torch.Tensor]:
        if not pixels.requires_grad and embedder.in_flight and len(embedder.in_flight) > holds:
            raise torch.OutOfMemoryError("no memory for another target")
        return features(pixels)

    embedder = Embedder(generator, crowded, EmbedConfig(steps=STEPS, batch_size=4))
    holds = 3  # the image that is put in counts
    results = list(embedder.embed(images))
    assert embedder.capacity == 3
    for result in results:
        np.testing.assert_allclose(result.latent, undisturbed[result.image_id].latent, rtol=0, atol=1e-12)
    assert sorted(result.image_id for result in results) == sorted(undisturbed)


def test_memory_that_runs_out_in_mid_run_is_no_loss_either(generator: LinearGenerator) -> None:
    images = dict(pictures(4))
    undisturbed = embed(generator, list(images.items()))
    narrow = Narrow()
    narrow.room = 4
    embedder = Embedder(narrow, features, EmbedConfig(steps=STEPS, batch_size=4))
    for image_id, picture in images.items():
        embedder.put(image_id, picture)
    for room, steps in ((4, 13), (1, 20)):
        narrow.room = room
        calls = iter(range(steps))
        assert embedder.advance(stop=lambda calls=calls, last=steps - 1: next(calls) == last) == []
    assert embedder.capacity == 1 and embedder.free == 0
    states = {state.image_id: state for state in embedder.snapshot()}
    assert {name: state.step for name, state in states.items()} == embedder.in_flight
    assert sorted(embedder.in_flight.values()) == [13, 13, 13, 33]
    results = []
    while embedder.in_flight:
        results += embedder.advance()
    for result in results:
        np.testing.assert_allclose(result.latent, undisturbed[result.image_id].latent, rtol=0, atol=1e-12)
        np.testing.assert_allclose(result.curve, undisturbed[result.image_id].curve, rtol=1e-12)
    assert len(results) == 4 and embedder.updates == 4 * STEPS


def test_a_nan_ends_its_slot_and_touches_no_other(generator: LinearGenerator) -> None:
    images = pictures(3)
    healthy = embed(generator, images, batch_size=3)

    class Poisoned(LinearGenerator):
        def synthesize(self, ws: torch.Tensor) -> torch.Tensor:
            made = super().synthesize(ws)
            bad = (ws.detach() - poison).abs().amax((1, 2)) < 1e-6
            return made * torch.where(bad, math.nan, 1.0)[:, None, None, None]

    # The code that image 1 passes through after ten updates, and no other image does.
    tracer = Embedder(generator, features, EmbedConfig(steps=10))
    poison = torch.from_numpy(next(tracer.embed(images[1:2])).latent)
    results = embed(Poisoned(), images, batch_size=3)
    assert [results[f"{i}.png"].status for i in range(3)] == ["ok", "diverged", "ok"]
    assert results["1.png"].latent is None and results["1.png"].steps == 10
    for name in ("0.png", "2.png"):
        np.testing.assert_allclose(results[name].latent, healthy[name].latent, rtol=0, atol=1e-12)


def test_random_starts_come_from_seed_and_image_alone(generator: LinearGenerator) -> None:
    assert random_generator_for(3, "a").uniform() == random_generator_for(3, "a").uniform()
    images = pictures(2)
    starts = {seed: embed(generator, images, steps=1, init="random", seed=seed) for seed in (0, 1)}
    latents = [starts[seed][image_id].latent for seed in (0, 1) for image_id, _ in images]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(latents) for b in latents[:i])
    assert all(np.abs(latent).max() <= 1.02 for latent in latents), "uniform in [-1, 1], one step of 0.01 later"


def test_space_w_repeats_one_vector_and_z_keeps_its_own(generator: LinearGenerator) -> None:
    (image,) = pictures(1)
    w = embed(generator, [image], space="w")[image[0]]
    assert np.ptp(w.latent, axis=0).max() == 0 and w.z is None
    z = embed(generator, [image], space="z")[image[0]]
    np.testing.assert_allclose(generator.map(torch.from_numpy(z.z)[None])[0].numpy(), z.latent, atol=1e-15)
    plus = embed(generator, [image], space="w+", steps=2000)[image[0]]
    assert plus.loss < embed(generator, [image], space="w", steps=2000)[image[0]].loss


def test_images_are_taken_one_by_one_as_slots_become_free(generator: LinearGenerator) -> None:
    taken = 0

    def source() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal taken
        for image in pictures(6):
            taken += 1
            yield image

    results = Embedder(generator, features, EmbedConfig(steps=5, batch_size=2)).embed(source())
    next(results)
    assert taken == 2
    assert len(list(results)) == 5


def test_misuse_is_told_in_one_line(generator: LinearGenerator) -> None:
    embedder = Embedder(generator, features, EmbedConfig(steps=5, batch_size=2))
    picture = np.zeros((8, 8, 3), np.uint8)
    embedder.put("a", picture)
    with pytest.raises(ConfigError, match="'a' is already in a slot"):
        embedder.put("a", picture)
    with pytest.raises(ConfigError, match=r"float32 \[8, 8, 3\]; it must be uint8"):
        embedder.put("b", picture.astype(np.float32))
    embedder.put("b", picture)
    with pytest.raises(ConfigError, match="all 2 slots are busy"):
        embedder.put("c", picture)
    with pytest.raises(StorageError, match="damaged"):
        SlotState.from_bytes(b"PK\x03\x04 not a checkpoint")
    state = Embedder(LinearGenerator(layers=4), features, EmbedConfig(steps=5))
    state.put("d", picture)
    other = Embedder(generator, features, EmbedConfig(steps=5))
    with pytest.raises(ConfigError, match=r"checkpoint of 'd' has shape \[4, 4\]"):
        other.put("d", picture, state.snapshot()[0])
