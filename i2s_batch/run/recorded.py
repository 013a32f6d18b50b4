"""Reads from run.json what the table lacks: where the networks are, and the command that resumes the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from i2s_batch.errors import I2SError
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.output.ownership import find_record
from i2s_batch.output.run_record import RunRecord
from i2s_batch.schema.settings import GeneratorRecord, VGGRecord
from i2s_batch.storage import open_store

_Weights = TypeVar("_Weights", GeneratorWeights, VGGWeights, Learned)


def generator_record(weights: GeneratorWeights) -> GeneratorRecord:
    """Return what run.json holds of a generator."""
    return GeneratorRecord(weights.fingerprint, weights.family, weights.origin, weights.latent_shape)


def vgg_record(weights: VGGWeights) -> VGGRecord:
    """Return what run.json holds of a VGG-16."""
    return VGGRecord(weights.fingerprint, weights.origin)


def recorded_generator(out: str) -> tuple[GeneratorWeights | None, str]:
    """Return the generator that made the run at `out`, from where the run read it; or None, and why there is none."""
    record = find_record(open_store(out))
    fingerprint = "" if record is None else record.generator.fingerprint
    return _recorded(record, "generator", "generator", fingerprint, generator_weights)


def recorded_vgg(out: str) -> tuple[VGGWeights | None, str]:
    """Return the VGG-16 of the run at `out`, as `recorded_generator` does the generator."""
    record = find_record(open_store(out))
    fingerprint = "" if record is None or record.vgg is None else record.vgg.fingerprint
    return _recorded(record, "vgg", "VGG-16", fingerprint, vgg_weights)


def recorded_learned(out: str) -> tuple[Learned | None, str]:
    """Return the learned file of the run at `out`, as `recorded_generator` does the generator."""
    record = find_record(open_store(out))
    fingerprint = "" if record is None else record.settings.learned or ""
    return _recorded(record, "learned", "learned file", fingerprint, load_learned)


def _recorded(
    record: RunRecord | None, role: str, what: str, fingerprint: str, read: Callable[[str], _Weights]
) -> tuple[_Weights | None, str]:
    advice = f"give it with --{role}"
    if record is None:
        return None, f"there is no run.json that records where the {what} is; {advice}"
    path = record.given.get(role)
    if not path:
        return None, f"run.json does not record where the {what} is; {advice}"
    try:
        weights = read(path)
    except I2SError as error:
        return None, f"the {what} is not available here ({error}); {advice}"
    if weights.fingerprint != fingerprint:
        return None, f"{path} is now another {what}; give the one that made the run with --{role}"
    return weights, ""


def recorded_command(out: str) -> str | None:
    """Return the command that resumes the run at `out`; None if its record cannot express it."""
    store = open_store(out)
    record = find_record(store)
    return None if record is None else record.resume_command(store.url)


def present_uris(out: str) -> Callable[[str], str]:
    """Return what tells where an image is now that the run at `out` read at a uri: its source may have moved."""
    record = find_record(open_store(out))
    return (lambda uri: uri) if record is None else record.present_uri


def recorded_generator_path(out: str) -> str | None:
    """Return where the generator of the run at `out` is, as the run was given it."""
    record = find_record(open_store(out))
    return None if record is None else record.given.get("generator")


def recorded_tables(out: str) -> list[str]:
    """Return the tables whose latents the run at `out` edited; none of a run that embedded images."""
    record = find_record(open_store(out))
    return list(record.source) if record is not None and record.is_edit else []
