"""The generator that made a table: the one that is given, or the one that the run recorded."""

from __future__ import annotations

import pyarrow as pa

from i2s_batch.errors import RunConflictError
from i2s_batch.models import GeneratorWeights
from i2s_batch.runtime.recorded import recorded_generator
from i2s_batch.runtime.weights import generator_weights
from i2s_batch.storage.table import META_GENERATOR


def generator_of(out: str, schema: pa.Schema, given: str | None) -> tuple[GeneratorWeights | None, str]:
    """The generator of the table at `out`, or None and why there is none. `schema`: of a shard; `given`: a path or
    URL, None to look where the run read it. Raises RunConflictError if the given one did not make the table."""
    weights, why_none = recorded_generator(out) if given is None else (generator_weights(given), "")
    made_by = (schema.metadata or {}).get(META_GENERATOR.encode(), b"").decode()
    if weights is not None and weights.fingerprint != made_by:
        raise RunConflictError(
            f"{out} was made by the generator {made_by[:12]}..., not by this one, "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the one that made it"
        )
    return weights, why_none
