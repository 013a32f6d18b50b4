"""Defines the presets: settings of an embedding that belong together, under a name. Standard library only.

A preset gives the values of options that are not given: `--preset fast`, `embed(..., preset="fast")`, or for an
`Embedder` the settings themselves, `preset("fast")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from i2s_batch.config import EmbedConfig, Json
from i2s_batch.errors import ConfigError

_FAST = EmbedConfig(
    optimizer="lbfgs-learned", init="learned", prior=1e-3, steps=250, stop_plateau=4.0, plateau_steps=20
)


@dataclass(frozen=True)
class Preset:
    """Describes a preset.

    Attributes:
        name: Its name.
        summary: What it is for, one sentence.
        config: The settings.
    """

    name: str
    summary: str
    config: EmbedConfig

    @property
    def overrides(self) -> Mapping[str, Json]:
        """Return the settings in which it differs from the paper's, by the names of `EmbedConfig`."""
        usual = EmbedConfig()
        names = [each.name for each in fields(usual)]
        return {name: value for name in names if (value := getattr(self.config, name)) != getattr(usual, name)}


PRESETS = {
    each.name: each
    for each in (
        Preset("paper", "The recipe of Image2StyleGAN.", EmbedConfig()),
        Preset("fast", "The paper's loss with the fewest evaluations.", _FAST),
        Preset(
            "edit",
            "Latents that edit best, at a higher loss.",
            EmbedConfig(optimizer="lbfgs-learned", init="learned", prior=0.2, steps=40),
        ),
        Preset(
            "best", "The nearest images: noise maps are optimised, too.", replace(_FAST, steps=400, noise_steps=300)
        ),
    )
}


def preset(name: str) -> EmbedConfig:
    """Return the settings of a preset. Raises ConfigError for a name that there is not."""
    if name not in PRESETS:
        raise ConfigError(f"preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name].config
