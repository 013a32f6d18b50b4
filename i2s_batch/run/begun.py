"""Records which units have just been begun, where the death of their worker is the death of the driver.

A driver whose workers are other processes counts their deaths. One whose worker lives in its own process dies with it,
so the count of each unit is raised before it is handed out, and lowered once the unit has proved harmless: when all
that the worker holds is read and has made a step. Whoever resumes the run finds counts as after deaths of workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from i2s_batch.output.layout import RunLayout
from i2s_batch.output.run_state import RunState, save_deaths
from i2s_batch.storage import Store


class BegunUnits:
    """Holds the units whose counts are raised. A driver that is stopped settles them from another thread.

    Args:
        store: The output.
        state: What is done; its counts are those that are raised.
    """

    def __init__(self, store: Store, state: RunState) -> None:
        self._store, self._state = store, state
        self._raised: set[int] = set()
        self._lock = threading.Lock()

    def begin(self, units: Iterable[int]) -> None:
        """Raise the counts of units that are about to be handed out, durably."""
        with self._lock:
            if new := set(units) - self._raised:
                for unit in new:
                    self._state.deaths[unit] = self._state.deaths.get(unit, 0) + 1
                self._raised |= new
                self._save()

    def settle(self, units: Iterable[int] | None = None) -> None:
        """Lower the counts of units that are harmless, or done; None: of all, because the driver ends as it should."""
        with self._lock:
            if harmless := self._raised & set(self._raised if units is None else units):
                for unit in harmless:
                    self._state.deaths[unit] -= 1
                    if not self._state.deaths[unit]:
                        del self._state.deaths[unit]
                self._raised -= harmless
                self._save()

    def _save(self) -> None:
        if self._state.deaths:
            save_deaths(self._store, self._state.deaths)
        else:
            self._store.delete([RunLayout.deaths])
