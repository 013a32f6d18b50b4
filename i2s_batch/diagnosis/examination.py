"""Carries out the checks, one group after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import FAIL, OK, Finding, Section, fail, fault, warn
from i2s_batch.diagnosis.registered import CHECKS, Check
from i2s_batch.errors import I2SError, described

# What a check raises where it could not be carried out; anything else is an error of this program.
_RAISED = (I2SError, OSError, RuntimeError, ValueError, ImportError, MemoryError)


def examine(asked: Asked, known: Known, chosen: Callable[[Check], bool] = lambda check: True) -> Iterator[Section]:
    """Yield the findings of each group of checks that is `chosen`, as soon as they are known."""
    for check in CHECKS:
        if not chosen(check) or not all(getattr(asked, name) for name in check.needs):
            continue
        known.show(f"looking at: {check.summary}")
        section = Section(check.name, check.summary, tuple(_findings(check, asked, known)))
        if section.state == FAIL:
            known.failed.add(check.name)
        yield section


def _findings(check: Check, asked: Asked, known: Known) -> Iterator[Finding]:
    missing = [CHECKS.get(name).summary for name in check.after if name in known.failed]
    if missing:
        yield warn("not checked", f"it needs what failed above ({', '.join(missing)})", "mend that first")
        return
    try:
        yield from check.resolve()(asked, known)
    except I2SError as error:
        yield fault(check.name, error)
    except _RAISED as error:
        yield fail(check.name, f"could not be checked: {described(error)}")


def what_is_wrong(asked: Asked) -> list[Finding]:
    """Return what the cheap checks find to be wrong, with which each run begins. It takes some milliseconds."""
    sections = examine(asked, Known(), lambda check: check.cheap)
    return [each for section in sections for each in section.findings if each.state != OK]
