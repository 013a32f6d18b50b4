"""A check of another program: whether other work keeps the cores of this machine busy."""

from __future__ import annotations

import os
from collections.abc import Iterator

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, ok, warn
from i2s_batch.diagnosis.registered import Check


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    found = f"{load:.1f} processes want one of {cores} cores"
    if load > cores:
        yield warn("other work", found, "a run is slower beside them; wait until they end")
    else:
        yield ok("other work", found)


LOAD = Check("load", "Other work", "tests.extension.load_check:check", of_node=True)
