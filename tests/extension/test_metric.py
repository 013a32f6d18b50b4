"""A metric from outside the package, in one file (largest_error.py). It is a column of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2s_batch.api.verification import verify
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.engine_registries import METRICS
from i2s_batch.inversion import Embedder
from i2s_batch.reporting.facts import gather
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.table.shards import read_table
from tests.extension.largest_error import LARGEST_ERROR
from tests.inversion.linear import LinearGenerator, features
from tests.runs import embed, job_over


def test_the_engine_measures_it() -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    with METRICS.added(LARGEST_ERROR):
        (result,) = Embedder(LinearGenerator(), features, EmbedConfig(steps=5)).embed([("a", image)])
        measured = dict(result.metrics)  # by the metrics that are registered when they are read first
    assert result.picture is not None
    assert measured["largest_error"] == np.abs(result.picture.astype(int) - image.astype(int)).max()
    (without,) = Embedder(LinearGenerator(), features, EmbedConfig(steps=5)).embed([("a", image)])
    assert without.metrics == {name: value for name, value in measured.items() if name != "largest_error"}


def test_a_run_writes_reports_and_verifies_it(tmp_path: Path, generator: Path, vgg: Path) -> None:
    config = EmbedRunConfig(embed=EmbedConfig(steps=3), batch_size=2)
    with METRICS.added(LARGEST_ERROR):
        job = job_over(tmp_path, ["00.png", "01.png"], generator, vgg, config)
        embed(job)
        assert COLUMNS[-1].name == "largest_error"
        values = read_table(job.out)["largest_error"].to_pylist()
        assert len(values) == 2 and all(0 < value <= 255 and value == int(value) for value in values)
        assert gather(job.out).metrics["largest_error"].tolist() == values
        assert verify(job.out).findings == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.extension.largest_error.largest_error", lambda reconstruction: 7.25)
            found = [str(finding) for finding in verify(job.out).findings]
        assert len(found) == 2 and all("its largest_error is" in one and "gives 7.25" in one for one in found)
    assert "largest_error" not in [column.name for column in COLUMNS]
    assert "largest_error" not in gather(job.out).metrics
    assert read_table(job.out)["largest_error"].to_pylist() == values  # as a column that a list carries
