"""Defines what a check finds: a name, a state, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from i2s_batch.config import Json
from i2s_batch.errors import I2SError

OK, WARN, FAIL = "ok", "warn", "fail"
_WORST = (OK, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """Holds one finding of a check.

    Attributes:
        name: What was looked at, in a few words.
        state: ok; warn where a run works, but slower or less safely; fail where it would fail.
        found: What was found.
        advice: What to do about it; empty where nothing is to be done.
    """

    name: str
    state: str
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        """Return the finding in one line."""
        return f"{self.name}: {self.found}" + (f"; {self.advice}" if self.advice else "")

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {"name": self.name, "state": self.state, "found": self.found, "advice": self.advice}


def ok(name: str, found: str, advice: str = "") -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(name, OK, found, advice)


def warn(name: str, found: str, advice: str = "") -> Finding:
    """Return a finding that makes a run slower, or less safe."""
    return Finding(name, WARN, found, advice)


def fail(name: str, found: str, advice: str = "") -> Finding:
    """Return a finding with which a run would fail."""
    return Finding(name, FAIL, found, advice)


def fault(name: str, error: I2SError) -> Finding:
    """Return a finding from an error, whose message says what to do after the first semicolon."""
    found, _, advice = str(error).partition("; ")
    return fail(name, found, advice)


@dataclass(frozen=True)
class Section:
    """Holds the findings of one group of checks."""

    name: str
    title: str
    findings: tuple[Finding, ...]

    @property
    def state(self) -> str:
        """Return the worst state of the findings."""
        return worst(each.state for each in self.findings)

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        findings: list[Json] = [each.to_json() for each in self.findings]
        return {"name": self.name, "title": self.title, "findings": findings}


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states; ok if there are none."""
    return max(states, key=_WORST.index, default=OK)
