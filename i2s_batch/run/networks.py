"""The networks that made a table: those that are given, or those that the run recorded."""

from __future__ import annotations

from typing import TypeVar

from i2s_batch.errors import RunConflictError
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.run.recorded import recorded_generator, recorded_vgg

_Weights = TypeVar("_Weights", GeneratorWeights, VGGWeights)


def generator_of(out: str, made_by: str, given: str | None) -> tuple[GeneratorWeights | None, str]:
    """The generator of the table at `out`, or None and why there is none. `made_by`: its fingerprint; `given`: a path
    or URL, None to look where the run read it. Raises RunConflictError if the given one did not make the table."""
    weights, why_none = recorded_generator(out) if given is None else (generator_weights(given), "")
    return _the_same(out, "generator", weights, made_by), why_none


def vgg_of(out: str, made_by: str, given: str | None) -> tuple[VGGWeights | None, str]:
    """As `generator_of`, for the VGG-16; `given` may be `imagenet` or `random` too."""
    weights, why_none = recorded_vgg(out) if given is None else (vgg_weights(given), "")
    return _the_same(out, "VGG-16", weights, made_by), why_none


def _the_same(out: str, what: str, weights: _Weights | None, made_by: str) -> _Weights | None:
    if weights is not None and weights.fingerprint != made_by:
        raise RunConflictError(
            f"{out} was made by the {what} {made_by[:12]}..., not by this one, "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the one that made it"
        )
    return weights
