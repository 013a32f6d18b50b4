"""Finds the networks that made a table: those that are given, or those that the run recorded."""

from __future__ import annotations

from typing import TypeVar

from i2s_batch.errors import RunConflictError
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.run.recorded import recorded_generator, recorded_learned, recorded_vgg

_Weights = TypeVar("_Weights", GeneratorWeights, VGGWeights, Learned)


def generator_of(out: str, fingerprint: str, given: str | None) -> tuple[GeneratorWeights | None, str]:
    """Return the generator of the table at `out`; or None, and the reason.

    Args:
        out: The output of a run.
        fingerprint: The fingerprint of the generator that made the table, sha256 hex.
        given: A path or URL; None to read it from where the run read it.

    Raises:
        RunConflictError: The given generator did not make the table.
    """
    weights, why_none = recorded_generator(out) if given is None else (generator_weights(given), "")
    return _the_same(out, "generator", weights, fingerprint), why_none


def vgg_of(out: str, fingerprint: str, given: str | None) -> tuple[VGGWeights | None, str]:
    """Return the VGG-16 of the table at `out`, as `generator_of` does the generator.

    `given` may be `imagenet` or `random` too.
    """
    weights, why_none = recorded_vgg(out) if given is None else (vgg_weights(given), "")
    return _the_same(out, "VGG-16", weights, fingerprint), why_none


def learned_of(out: str, fingerprint: str, given: str | None) -> tuple[Learned | None, str]:
    """Return the learned file of the run at `out`, as `generator_of` does the generator."""
    learned, why_none = recorded_learned(out) if given is None else (load_learned(given), "")
    return _the_same(out, "learned file", learned, fingerprint), why_none


def _the_same(out: str, what: str, weights: _Weights | None, fingerprint: str) -> _Weights | None:
    if weights is not None and weights.fingerprint != fingerprint:
        raise RunConflictError(
            f"{out} was made by the {what} {fingerprint[:12]}..., not by this one, "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the one that made it"
        )
    return weights
