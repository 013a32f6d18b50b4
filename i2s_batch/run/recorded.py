"""What the run record adds to the table: where the networks are, and the command that goes on with the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from i2s_batch.errors import I2SError, ObjectNotFoundError
from i2s_batch.models import GeneratorWeights, VGGWeights
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.run_record import given_networks, parse_record, resume_command
from i2s_batch.storage import open_store

_Weights = TypeVar("_Weights", GeneratorWeights, VGGWeights)


def recorded_generator(out: str) -> tuple[GeneratorWeights | None, str]:
    """The generator that made the run at `out`, from where the run read it; or None, and why there is none."""
    return _recorded(out, "generator", "generator", generator_weights)


def recorded_vgg(out: str) -> tuple[VGGWeights | None, str]:
    """As `recorded_generator`, for the VGG-16."""
    return _recorded(out, "vgg", "VGG-16", vgg_weights)


def _recorded(out: str, role: str, what: str, read: Callable[[str], _Weights]) -> tuple[_Weights | None, str]:
    record, advice = _record(out), f"give it with --{role}"
    if record is None:
        return None, f"there is no run.json that says where the {what} is; {advice}"
    place = given_networks(record).get(role)
    if not place:
        return None, f"run.json does not say where the {what} is; {advice}"
    try:
        weights = read(place)
    except I2SError as error:
        return None, f"the {what} is not to be had here ({error}); {advice}"
    if weights.fingerprint != record[role]["fingerprint"]:
        return None, f"{place} is another {what} now; give the one that made the run with --{role}"
    return weights, ""


def recorded_command(out: str) -> str | None:
    """The command that goes on with the run at `out`, if its record can say it."""
    record = _record(out)
    return None if record is None else resume_command(record, open_store(out).url)


def _record(out: str) -> dict[str, Any] | None:
    store = open_store(out)
    try:
        return parse_record(store.get(RunLayout.run_json), store.uri(RunLayout.run_json))
    except ObjectNotFoundError:
        return None


def recorded_place(out: str) -> str | None:
    """Where the generator of the run at `out` lies, as the run was given it."""
    record = _record(out)
    return None if record is None else given_networks(record).get("generator")


def recorded_tables(out: str) -> list[str]:
    """The tables whose codes the run at `out` edited; none of a run that embedded pictures."""
    record = _record(out)
    source = None if record is None else record["source"]
    return source if isinstance(source, list) else []
