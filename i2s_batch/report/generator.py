"""Which generator renders the pictures of a run."""

from __future__ import annotations

from i2s_batch.errors import I2SError, ObjectNotFoundError
from i2s_batch.models import GeneratorWeights
from i2s_batch.runtime.run_record import parse_record
from i2s_batch.runtime.weights import generator_weights
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import open_store


def recorded_generator(out: str) -> tuple[GeneratorWeights | None, str]:
    """The generator that made the run at `out`, from where the run read it; or None, and why there is none."""
    store = open_store(out)
    try:
        record = parse_record(store.get(RunLayout.run_json), store.uri(RunLayout.run_json))
    except ObjectNotFoundError:
        return None, "there is no run.json that says where the generator is; give it with --generator"
    place = record.get("checkpoint")
    if not place:
        return None, "run.json does not say where the generator is; give it with --generator"
    try:
        weights = generator_weights(place)
    except I2SError as error:
        return None, f"the generator is not to be had here ({error}); give it with --generator"
    if weights.fingerprint != record["generator"]["fingerprint"]:
        return None, f"{place} is another generator now; give the one that made the run with --generator"
    return weights, ""
