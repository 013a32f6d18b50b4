"""What the run record adds to the table: where the generator is, and the command that goes on with the run."""

from __future__ import annotations

from typing import Any

from i2s_batch.errors import I2SError, ObjectNotFoundError
from i2s_batch.models import GeneratorWeights
from i2s_batch.runtime.run_record import given_networks, parse_record, resume_command
from i2s_batch.runtime.weights import generator_weights
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import open_store


def recorded_generator(out: str) -> tuple[GeneratorWeights | None, str]:
    """The generator that made the run at `out`, from where the run read it; or None, and why there is none."""
    record = _record(out)
    if record is None:
        return None, "there is no run.json that says where the generator is; give it with --generator"
    place = given_networks(record).get("generator")
    if not place:
        return None, "run.json does not say where the generator is; give it with --generator"
    try:
        weights = generator_weights(place)
    except I2SError as error:
        return None, f"the generator is not to be had here ({error}); give it with --generator"
    if weights.fingerprint != record["generator"]["fingerprint"]:
        return None, f"{place} is another generator now; give the one that made the run with --generator"
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
