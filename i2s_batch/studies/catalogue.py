"""Finds studies by name."""

from __future__ import annotations

from i2s_batch.config import EmbedConfig, ImageSettings
from i2s_batch.errors import ConfigError
from i2s_batch.schema.settings import RunSettings
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study import Study


def study_of(name: str, embed: EmbedConfig) -> Study:
    """Return the study of that name, with `embed` for whatever it does not vary.

    Raises:
        ConfigError: No such study is registered, or the settings leave it nothing to compare.
    """
    declared = STUDIES.get(name)
    study = declared.resolve()(embed)
    if study.name != name:
        raise ConfigError(f"study {name!r} is declared as {declared.target!r}, which makes the study {study.name!r}")
    return study


def variant_settings(settings: RunSettings) -> dict[str, ImageSettings]:
    """Return the settings with which the images of each variant of a study were embedded, by the variant's name.

    Args:
        settings: Those of a run; a run that is no study has no variants.

    Raises:
        ConfigError: The study is not registered.
    """
    if settings.study is None:
        return {}
    study = study_of(settings.study, settings.embed_config())
    return {variant.name: ImageSettings(variant.embed, variant.untrained) for variant in study.variants}
