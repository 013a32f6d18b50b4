from __future__ import annotations

import numpy as np
import pytest

from i2s_batch.runtime import progress as progress_module
from i2s_batch.runtime.progress import Progress
from i2s_batch.runtime.run_state import RunState


def test_rate_and_time_left_count_the_images_in_flight_and_not_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    state = RunState(done=np.zeros(10, bool), logged={}, published=set(), checkpointed=set(), deaths={})
    lines: list[str] = []
    progress = Progress(state, steps=100, say=lines.append)
    now[0] = 20.0  # workers load their networks
    progress.reported("a", 10, {"x": 5, "y": 5})
    now[0] = 29.0
    progress.reported("a", 90, {"x": 50, "y": 50})
    progress.tick()
    assert lines == [], "a line every 30 s"
    now[0] = 30.0
    progress.tick()
    # 90 updates in 10 s; 1000 - 100 are left, at 9 a second.
    assert lines == ["0/10 images done (0 failed), 2 in flight, 9.0 steps/s, 324 images/h, 2 min left"]
    state.done[:2] = True
    state.statuses.update(ok=1, unreadable=1)
    progress.lost("a")
    assert progress.line().startswith("2/10 images done (1 failed), 0 in flight")
    summary = progress.summary(finished=False)
    assert (summary["done"], summary["this_session"]["steps"]) == (2, 100) and not summary["finished"]
