"""A check of the doctor from outside the package, in one file (load_check.py)."""

from __future__ import annotations

import pytest

from i2s_batch.config import EmbedRunConfig
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.examination import examine
from i2s_batch.diagnosis.registered import CHECKS
from tests.extension.load_check import LOAD


@pytest.mark.parametrize(("load", "state"), [(0.0, "ok"), (10_000.0, "warn")])
def test_the_doctor_carries_it_out(load: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    with CHECKS.added(LOAD):
        (section,) = examine(Asked(EmbedRunConfig()), Known(), lambda check: check.name == LOAD.name)
    (finding,) = section.findings
    assert (
        section.title == "Other work" and finding.state == state and finding.found.startswith(f"{load:.1f} processes")
    )
    assert LOAD.name not in CHECKS.names
