"""What must be true of an output at every moment, whatever was killed: looked at from outside, as a reader does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.schema.codec import decode_rows, table_schema
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_shard
from tests.runs import state_in


@dataclass
class Witness:
    """Looks at the output of a run again and again, and remembers what it saw.

    `finished`: when each picture was finished, by id; `shards`: what each file of the table held.
    """

    out: str
    latent_size: int
    shard_size: int
    finished: dict[str, datetime] = field(default_factory=dict)
    shards: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Every file is whole; no picture is begun anew that was finished; no shard has changed."""
        store = open_store(self.out)
        for name in (RunLayout.run_json, RunLayout.summary, RunLayout.deaths, RunLayout.lease):
            if (Path(self.out) / name).exists():
                json.loads(store.get(name))
        if not (Path(self.out) / RunLayout.run_json).exists():
            assert not self.finished, "the run's record is gone"
            return
        plan = Plan.load(store, self.shard_size)
        seen: dict[str, datetime] = {}
        for info in store.list(RunLayout.all_rows_prefix):
            rows = decode_rows([store.get(info.key)], table_schema(self.latent_size))
            seen |= zip(rows["image_id"].to_pylist(), rows["embedded_at"].to_pylist(), strict=True)
        for info in store.list(RunLayout.checkpoints_prefix):
            state_in(store.get(info.key))
        for info in store.list(RunLayout.shards_prefix):
            shard = RunLayout.shard_index(info.key)
            assert shard is not None, info.key
            rows = read_shard(store, info.key)
            assert rows["image_id"].to_pylist() == plan.shard_images(shard)["image_id"].to_pylist()
            seen |= zip(rows["image_id"].to_pylist(), rows["embedded_at"].to_pylist(), strict=True)
            digest = hashlib.sha256(store.get(info.key)).hexdigest()
            assert self.shards.setdefault(info.key, digest) == digest, f"{info.key} was written again"
        for image_id, when in self.finished.items():
            assert seen[image_id] == when, f"{image_id} was finished and is made again"
        self.finished = seen
