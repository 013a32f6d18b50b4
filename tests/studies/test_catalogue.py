"""The lists of variants."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from i2s_batch.config import TERMS, EmbedConfig, LossWeights
from i2s_batch.errors import ConfigError
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.registered import STUDIES

IMAGE = np.random.default_rng(0).integers(1, 256, (64, 64, 3), np.uint8)
EMBED = EmbedConfig(steps=5000, seed=3, fit="pad")


@pytest.mark.parametrize("name", STUDIES.names)
def test_what_a_study_does_not_vary_stays(name: str) -> None:
    study = study_of(name, EMBED)
    assert study.name == name and study.baseline in study.by_name
    assert len(study.by_name) == len(study.variants) == len({variant.title for variant in study.variants})
    for variant in study.variants:
        assert (variant.embed.seed, variant.embed.fit) == (3, "pad")
        assert "/" not in variant.name
        if variant.alter is not None:
            altered = variant.alter(IMAGE, "a.png", 3)
            assert altered.shape == IMAGE.shape and altered.dtype == np.uint8 and not np.array_equal(altered, IMAGE)
        if variant.after:
            before = study.variant(variant.after)
            assert before.embed.steps < variant.embed.steps or before.round == variant.round - 1


def test_settings_that_differ() -> None:
    space = study_of("space", EMBED)
    assert [(v.embed.space, v.untrained) for v in space.variants] == [
        ("z", False),
        ("w", False),
        ("w+", False),
        ("w+", True),
    ]
    assert [v.embed.init for v in study_of("init", EMBED).variants] == ["mean", "random"]
    assert [v.round for v in study_of("iterate", EMBED).variants] == list(range(1, 8))
    loss = {v.name: dataclasses.asdict(v.embed.loss_weights) for v in study_of("loss", EMBED).variants}
    assert loss["pixel"] == {term: float(term == "pixel") for term in TERMS}
    assert loss["conv3_2"] == {term: float(term == "conv3_2") for term in TERMS}
    assert loss["perceptual"] == {term: float(term != "pixel") for term in TERMS}
    assert loss["everything"] == dataclasses.asdict(LossWeights())


def test_a_longer_embedding_goes_on_from_a_shorter_one() -> None:
    study = study_of("steps", EMBED)
    assert [v.embed.steps for v in study.variants] == [1, 10, 100, 300, 1000, 3000, 5000]
    assert [v.continues for v in study.variants] == ["", *(v.name for v in study.variants[:-1])]
    assert study.mean_steps == round(5000 / 7)  # not 9411 / 7
    assert [v.embed.steps for v in study_of("steps", EmbedConfig(steps=100)).variants] == [1, 10, 100]


def test_an_optimizer_that_prepares_for_its_last_step_begins_anew_each_time() -> None:
    study = study_of("steps", EmbedConfig(steps=1000, optimizer="lbfgs"))
    assert not any(variant.continues for variant in study.variants)


def test_too_few_steps_to_compare() -> None:
    with pytest.raises(ConfigError, match="steps is 5; the steps study needs at least 10"):
        study_of("steps", EmbedConfig(steps=5))
