"""This module holds the settings of a generator that do not follow from the shapes of its variables, by family.

They come from files: `settings_of` checks stored values and constructs them; `to_json` returns the stored values
again, which are part of the fingerprint. A whole number stays one, as 1 and 1.0 are stored differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeVar

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError

STYLEGAN1 = "stylegan1"
STYLEGAN2 = "stylegan2"
STYLEGAN3 = "stylegan3"
ARCHITECTURES = ("skip", "resnet", "orig")
# Where the demodulation's 1e-8 is added: to the sum over the raw weight, or over the weight / sqrt(fan_in).
DEMODULATIONS = ("raw", "scaled")
MAX_RESOLUTION = 4096
MAX_PIXELS = 16_384
_LABEL_NORMALIZATIONS = ("joint", "separate")
_KERNELS = (1, 3)
_MOST_LAYERS = 64
_MOST_FACTOR = 8
_MOST_TAPS = 128


def num_layers(resolution: int) -> int:
    """Return L, the number of style vectors of a StyleGAN1 or StyleGAN2 generator."""
    return 2 * (resolution.bit_length() - 1) - 2


def resolutions(resolution: int) -> list[int]:
    """Return 4, 8, .. up to and with `resolution`."""
    return [1 << k for k in range(2, resolution.bit_length())]


S = TypeVar("S", bound="GeneratorSettings")


@dataclass(frozen=True)
class GeneratorSettings:
    """Holds settings of every family: `c_dim` classes (0 if unconditional), the mapping's depth and learning rate."""

    family: ClassVar[str]

    resolution: int
    c_dim: int
    mapping_layers: int
    mapping_lr_multiplier: float

    @classmethod
    def of(cls: type[S], settings: GeneratorSettings) -> S:
        """Return `settings`, which are those of this family; CheckpointError if they are of another."""
        if isinstance(settings, cls):
            return settings
        raise CheckpointError(f"these weights are of the family {settings.family}; {cls.family} is needed")

    @property
    def latents(self) -> int:
        """Return the number of latents that a W+ latent consists of."""
        return num_layers(self.resolution)

    @property
    def has_joint_labels(self) -> bool:
        """Return whether z and the embedded label are normalised together, the embedding being a plain matrix."""
        return False

    def to_json(self) -> dict[str, Json]:
        """Return the values as they are stored."""
        return asdict(self)


@dataclass(frozen=True)
class StyleGAN1Settings(GeneratorSettings):
    """Holds the settings of a StyleGAN1 generator.

    `fading`: True if it was saved while its last resolution was fading in, so that its image is the sum of the colours
    of the last two, the lower one enlarged to the nearest pixel; stored only if set.
    """

    family = STYLEGAN1

    fading: bool | None = None

    @property
    def has_joint_labels(self) -> bool:
        """Return True: its mapping normalises z and label together."""
        return True

    def to_json(self) -> dict[str, Json]:
        """Return the values as they are stored: `fading` only if it is set."""
        return {name: value for name, value in asdict(self).items() if name != "fading" or value is not None}


@dataclass(frozen=True)
class StyleGAN2Settings(GeneratorSettings):
    """Holds the settings of a StyleGAN2 generator. Those that may be None are the TensorFlow program's, stored if set.

    `style_offset`: a number added to every style, 0 if None; `label_normalization` "joint": z and the embedded label
    are normalised together, each alone if None or "separate"; `fading`: as of StyleGAN1.
    """

    family = STYLEGAN2

    architecture: str
    conv_clamp: float | None
    demodulation: str
    style_offset: float | None = None
    label_normalization: str | None = None
    fading: bool | None = None

    @property
    def has_joint_labels(self) -> bool:
        """Return whether z and the embedded label are normalised together."""
        return self.label_normalization == "joint"

    @property
    def rgb_resolutions(self) -> list[int]:
        """Return where it makes colours: everywhere with skip, else at the last resolution, or the last two."""
        every = resolutions(self.resolution)
        return every if self.architecture == "skip" else every[-2:] if self.fading else every[-1:]

    def to_json(self) -> dict[str, Json]:
        """Return the values as they are stored: of those that may be left out, the ones that are set."""
        may_lack = ("style_offset", "label_normalization", "fading")
        return {name: value for name, value in asdict(self).items() if value is not None or name not in may_lack}


@dataclass(frozen=True)
class AliasFreeLayer:
    """Describes a layer of a StyleGAN3.

    It has the size of its `kernel`, factors `up` and `down`, taps of their filters, `radial` or not, and `padding`
    (left, right, above, below) of the zero-inserted image.
    """

    kernel: int
    up: int
    down: int
    up_taps: int
    down_taps: int
    radial: bool
    padding: tuple[int, int, int, int]


TO_RGB = AliasFreeLayer(kernel=1, up=1, down=1, up_taps=1, down_taps=1, radial=False, padding=(0, 0, 0, 0))


@dataclass(frozen=True)
class StyleGAN3Settings(GeneratorSettings):
    """Holds the settings of a StyleGAN3 generator.

    They are `input_size` pixels at `sampling_rate` an image width, `bandwidth` in periods an image width, and its
    `layers`, of which only the last makes colours.
    """

    family = STYLEGAN3

    conv_clamp: float | None
    output_scale: float
    input_size: int
    sampling_rate: float
    bandwidth: float
    layers: tuple[AliasFreeLayer, ...]

    @property
    def latents(self) -> int:
        """Return the number of latents that a W+ latent consists of: one for the input, and one a layer."""
        return len(self.layers) + 1

    def to_json(self) -> dict[str, Json]:
        """Return the values as they are stored."""
        layers: list[Json] = [asdict(layer) | {"padding": list(layer.padding)} for layer in self.layers]
        return super().to_json() | {"layers": layers}


def settings_of(family: str, stored: Mapping[str, Json]) -> GeneratorSettings:
    """Return the settings of a generator; CheckpointError unless `stored` is complete and in range for `family`."""
    if family not in _READERS:
        known = ", ".join(_READERS)
        raise CheckpointError(f"the family {family[:40]!r} is unknown; known: {known}")
    values = _Stored(family, stored)
    settings = _READERS[family](values)
    if unknown := sorted(set(stored) - values.known):
        raise CheckpointError(f"the setting {unknown[0][:40]!r} is unknown for a {family} generator")
    return settings


def check_settings(settings: GeneratorSettings) -> None:
    """Raise CheckpointError unless settings that no file has brought are in range."""
    settings_of(settings.family, settings.to_json())


class _Stored:
    """Holds stored values of a family, each checked as it is taken; `known` are the names that have been taken.

    Each raises CheckpointError, which names the setting, for a value that is missing or out of range.
    """

    def __init__(self, family: str, values: Mapping[str, Json]) -> None:
        self._family, self._values = family, values
        self.known: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str) -> Json:
        """Return a value as it is, None if it is missing."""
        self.known.add(name)
        return self._values.get(name)

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.take(name)
        if type(value) is int and low <= value <= high:
            return value
        raise self.refusal(name)

    def positive(self, name: str) -> float:
        """Return a finite number above 0."""
        value = self.take(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self.refusal(name)
        return value

    def positive_or_none(self, name: str) -> float | None:
        """Return a finite number above 0, or a None that is stored."""
        return None if name in self and self.take(name) is None else self.positive(name)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of `choices`."""
        value = self.take(name)
        if isinstance(value, str) and value in choices:
            return value
        raise self.refusal(name)

    def zero_or_one(self, name: str) -> float:
        """Return 0 or 1."""
        value = self.take(name)
        if isinstance(value, int | float) and value in (0, 1):
            return value
        raise self.refusal(name)

    def true_or_missing(self, name: str) -> bool | None:
        """Return True, or None where nothing is stored."""
        value = self.take(name)
        if name in self and value is not True:
            raise self.refusal(name)
        return True if name in self else None

    def refusal(self, name: str) -> CheckpointError:
        """Return the error that names a setting."""
        return CheckpointError(f"the setting {name} is missing or out of range for a {self._family} generator")


def _common(stored: _Stored) -> tuple[int, int, int, float]:
    """Return the settings of every family, in their order."""
    resolution = stored.whole("resolution", 8, MAX_RESOLUTION)
    if resolution.bit_count() != 1:
        raise stored.refusal("resolution")
    classes, depth = stored.whole("c_dim", 0, 1_000_000), stored.whole("mapping_layers", 1, 64)
    return resolution, classes, depth, stored.positive("mapping_lr_multiplier")


def _stylegan1(stored: _Stored) -> StyleGAN1Settings:
    return StyleGAN1Settings(*_common(stored), stored.true_or_missing("fading"))


def _stylegan2(stored: _Stored) -> StyleGAN2Settings:
    common = _common(stored)
    architecture = stored.choice("architecture", ARCHITECTURES)
    demodulation = stored.choice("demodulation", DEMODULATIONS)
    clamp = stored.positive_or_none("conv_clamp")
    offset = stored.zero_or_one("style_offset") if "style_offset" in stored else None
    name = "label_normalization"
    labels = stored.choice(name, _LABEL_NORMALIZATIONS) if name in stored else None
    fading = stored.true_or_missing("fading")
    if fading and architecture != "orig":
        raise stored.refusal("fading")
    return StyleGAN2Settings(*common, architecture, clamp, demodulation, offset, labels, fading)


def _stylegan3(stored: _Stored) -> StyleGAN3Settings:
    common = _common(stored)
    clamp, size = stored.positive_or_none("conv_clamp"), stored.whole("input_size", 1, MAX_RESOLUTION)
    rate, bandwidth, scale = (stored.positive(name) for name in ("sampling_rate", "bandwidth", "output_scale"))
    layers = _layers(stored.take("layers"))
    if layers is None:
        raise stored.refusal("layers")
    return StyleGAN3Settings(*common, clamp, scale, size, rate, bandwidth, layers)


def _layers(stored: Json) -> tuple[AliasFreeLayer, ...] | None:
    """Return the layers; None unless they are a list of complete ones, of which only the last makes colours."""
    if not isinstance(stored, list) or not 2 <= len(stored) <= _MOST_LAYERS:
        return None
    layers = [layer for layer in map(_layer, stored) if layer is not None]
    whole = len(layers) == len(stored) and layers[-1] == TO_RGB
    return tuple(layers) if whole else None


def _layer(stored: Json) -> AliasFreeLayer | None:
    match stored:
        case {
            "kernel": int() as kernel,
            "up": int() as up,
            "down": int() as down,
            "up_taps": int() as up_taps,
            "down_taps": int() as down_taps,
            "radial": bool() as radial,
            "padding": list([int() as left, int() as right, int() as above, int() as below]),
            **more,
        } if not more:
            layer = AliasFreeLayer(kernel, up, down, up_taps, down_taps, radial, (left, right, above, below))
            return layer if _is_in_range(layer) else None
    return None


def _is_in_range(layer: AliasFreeLayer) -> bool:
    factors, taps = (layer.up, layer.down), (layer.up_taps, layer.down_taps)
    return (
        layer.kernel in _KERNELS
        and all(1 <= factor <= _MOST_FACTOR for factor in factors)
        and all(1 <= count <= _MOST_TAPS for count in taps)
        and all(abs(pixels) < MAX_PIXELS for pixels in layer.padding)
        and not any(isinstance(number, bool) for number in (layer.kernel, *factors, *taps, *layer.padding))
    )


_READERS: Mapping[str, Callable[[_Stored], GeneratorSettings]] = {
    STYLEGAN1: _stylegan1,
    STYLEGAN2: _stylegan2,
    STYLEGAN3: _stylegan3,
}
