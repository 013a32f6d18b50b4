"""The studies: each a list of variants of a picture and of the settings it is embedded with as in Image2StyleGAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

from i2s_batch.config import TERMS, EmbedConfig, ImageSettings, LossWeights
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.errors import ConfigError
from i2s_batch.images.alterations import DEFECTS, TRANSFORMS
from i2s_batch.schema.settings import RunSettings

# The paper embeds its own reconstructions seven times.
ROUNDS = 7
# Where the steps study looks; --steps is the last.
LOOKED_AT = (1, 10, 100, 300, 1000, 3000, 5000)


@dataclass(frozen=True)
class Variant:
    """One way to embed a picture. `name` is a part of image ids, `title` is for people.

    `alteration`: what is done to the picture first, one of `alterations.ALTERATIONS`, '' for nothing. `untrained`: with
    random weights in place of the generator's. `round` counts from 1. A variant may need another of the same picture:
    `redoes` names the one whose reconstruction is its input, `continues` the one whose last state is its start.
    """

    name: str
    title: str
    embed: EmbedConfig
    alteration: str = ""
    untrained: bool = False
    round: int = 1
    redoes: str = ""
    continues: str = ""

    @property
    def after(self) -> str:
        """The variant of the same picture that has to be finished first, '' if none."""
        return self.redoes or self.continues


@dataclass(frozen=True)
class Study:
    """`baseline` names the variant that the others are compared with; `paper`: loss x 1e5 and distance to the mean that
    the paper gives, by variant or class and variant, as remembered: to be compared in ranking only."""

    name: str
    question: str
    variants: tuple[Variant, ...]
    baseline: str
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Variant]:
        """The variants by name."""
        return {variant.name: variant for variant in self.variants}

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return self.by_name[name]

    @property
    def mean_steps(self) -> int:
        """Updates that a row costs, on average: what a variant continues was made before."""
        made = [v.embed.steps - (self.variant(v.continues).embed.steps if v.continues else 0) for v in self.variants]
        return max(1, round(sum(made) / len(made)))


def study_of(name: str, embed: EmbedConfig) -> Study:
    """The study of that name, with `embed` for whatever it does not vary. Raises ConfigError for settings that leave
    it nothing to compare."""
    if name not in _STUDIES:
        raise ConfigError(f"study is {name!r}; it must be one of {', '.join(_STUDIES)}")
    return _STUDIES[name](embed)


def variant_settings(settings: RunSettings) -> dict[str, ImageSettings]:
    """Return what the images of each variant of a study were embedded with, by the variant's name, from the settings of
    a run; none for a run that is no study. Raises ConfigError for a study that there is not."""
    if settings.study is None:
        return {}
    study = study_of(settings.study, settings.embed_config())
    return {variant.name: ImageSettings(variant.embed, variant.untrained) for variant in study.variants}


def _transforms(embed: EmbedConfig) -> Study:
    altered = tuple(Variant(name, title, embed, alteration=name) for name, title in TRANSFORMS.items())
    return Study(
        "transforms",
        "Must the pictures be aligned?",
        (Variant("original", "original", embed), *altered),
        "original",
        {
            "right-140": (0.782, 48.56),
            "left-160": (0.406, 44.12),
            "zoom-out-2x": (0.225, 38.04),
            "zoom-in-2x": (0.718, 40.55),
            "rotate-90": (0.622, 47.21),
            "rotate-180": (0.599, 42.93),
        },
    )


def _init(embed: EmbedConfig) -> Study:
    variants = tuple(Variant(init, f"{init} start", replace(embed, init=init)) for init in ("mean", "random"))
    paper = {
        "face": ((0.309, 30.67), (0.351, 35.60)),
        "cat": ((0.752, 70.86), (0.740, 70.97)),
        "dog": ((0.922, 74.78), (0.845, 75.14)),
        "painting": ((3.530, 103.61), (3.451, 105.29)),
        "car": ((1.390, 82.53), (1.269, 82.60)),
    }
    named = {f"{kind}/{v.name}": value for kind, pair in paper.items() for v, value in zip(variants, pair, strict=True)}
    return Study("init", "Which start: the mean latent or a random one?", variants, "mean", named)


def _space(embed: EmbedConfig) -> Study:
    spaces = {"z": "Z", "w": "W", "w+": "W+"}
    variants = [Variant(space, title, replace(embed, space=space)) for space, title in spaces.items()]
    untrained = Variant("w+untrained", "W+, random weights", replace(embed, space="w+"), untrained=True)
    return Study(
        "space", "Which latent space, and does the training of the generator matter?", (*variants, untrained), "w+"
    )


def _loss(embed: EmbedConfig) -> Study:
    base = asdict(embed.loss_weights)

    def variant(name: str, title: str, *terms: str) -> Variant:
        weights = LossWeights(**{term: (base[term] or 1.0) if term in terms else 0.0 for term in TERMS})
        return Variant(name, title, replace(embed, loss_weights=weights))

    layers = TERMS[1:]
    variants = (
        variant("pixel", "pixel term alone", "pixel"),
        *(variant(layer, f"{layer} alone", layer) for layer in layers),
        variant("perceptual", "all layers, no pixel term", *layers),
        variant("everything", "everything", *TERMS),
    )
    return Study("loss", "Which terms of the loss are needed?", variants, "everything")


def _steps(embed: EmbedConfig) -> Study:
    if embed.steps < 10:
        raise ConfigError(f"steps is {embed.steps}; the steps study needs at least 10 to compare anything")
    counts = [*(n for n in LOOKED_AT if n < embed.steps), embed.steps]
    continued = OPTIMIZERS.get(embed.optimizer).continues
    variants = tuple(
        Variant(
            f"steps-{n}",
            "1 step" if n == 1 else f"{n} steps",
            replace(embed, steps=n),
            continues=f"steps-{before}" if before and continued else "",
        )
        for before, n in zip([0, *counts], counts, strict=False)
    )
    return Study("steps", "How many steps are enough?", variants, variants[-1].name)


def _iterate(embed: EmbedConfig) -> Study:
    variants = tuple(
        Variant(f"round-{n}", f"round {n}", embed, round=n, redoes=f"round-{n - 1}" if n > 1 else "")
        for n in range(1, ROUNDS + 1)
    )
    return Study("iterate", "What remains when a reconstruction is embedded again and again?", variants, "round-1")


def _defects(embed: EmbedConfig) -> Study:
    damaged = tuple(Variant(name, title, embed, alteration=name) for name, title in DEFECTS.items())
    whole = Variant("undamaged", "undamaged", embed)
    return Study("defects", "What does damage in a picture do to the rest of it?", (whole, *damaged), whole.name)


_STUDIES: dict[str, Callable[[EmbedConfig], Study]] = {
    "transforms": _transforms,
    "init": _init,
    "space": _space,
    "loss": _loss,
    "steps": _steps,
    "iterate": _iterate,
    "defects": _defects,
}
